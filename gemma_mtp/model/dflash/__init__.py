"""DFlash drafters: hyper-parameters, keys, tensors, spellings. The record of the family is in `model.family`."""
