"""Training: kept pairs and M_t in, M_{t+1} out, with LP-DPO on TRL. The stage is `congrad.training.train.train`."""
