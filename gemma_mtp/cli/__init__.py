"""The `gemma-mtp` command. A command is a typed signature, one call into a room and the printing of its result.

Nothing here imports a room at the top of a file: `gemma-mtp --help` must not pay for NumPy or llama.cpp.
"""
