"""Checkpoint (or another dialect's GGUF) -> GGUF."""

from gemma_mtp.convert.pipeline import Conversion, Output, convert_checkpoint

__all__ = ["Conversion", "Output", "convert_checkpoint"]
