"""ConGrad: filter multilingual preference data by the update direction that the languages agree on.

Three calls from a notebook, each usable alone (everything below is imported when it is first asked for):

    pairs = tokenise(load_preferences("pairs/"), load_tokenizer("gemma3-270m"))
    index = build_index(load_model("gemma3-270m"), pairs, "runs/x/index")
    scored = score(index)
    keep = select(scored.score_N, scored.language_N, keep=0.5)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # what is imported is in __init__.pyi
