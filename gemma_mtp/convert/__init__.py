"""Checkpoint (or another dialect's GGUF) -> GGUF."""

from gemma_mtp.convert.convert import convert_model
from gemma_mtp.convert.naming import outputs_for
from gemma_mtp.convert.pipeline import Conversion, convert_checkpoint
from gemma_mtp.convert.respell import convert_dialect
from gemma_mtp.convert.spelling import OWN_KEYS, dialect_named
from gemma_mtp.quantize.engine import Output

__all__ = [
    "OWN_KEYS",
    "Conversion",
    "Output",
    "convert_checkpoint",
    "convert_dialect",
    "convert_model",
    "dialect_named",
    "outputs_for",
]
