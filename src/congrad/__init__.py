"""ConGrad: filter multilingual preference data by the update direction that the languages agree on."""
