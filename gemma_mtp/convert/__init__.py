"""Checkpoint (or another dialect's GGUF) -> GGUF."""
