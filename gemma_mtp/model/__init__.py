"""What a Gemma 4 target and its assistant ARE: hyper-parameters, tensors by role, their spelling in each dialect."""
