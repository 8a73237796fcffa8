"""Checkpoint (or another dialect's GGUF) -> GGUF."""

from gemma_mtp.convert.naming import gguf_name, outputs_for, respelled_name, target_name
from gemma_mtp.convert.pipeline import Conversion, convert_checkpoint
from gemma_mtp.convert.provenance import Origin
from gemma_mtp.convert.respell import convert_dialect, is_spelled
from gemma_mtp.convert.spelling import OWN_KEYS, dialect_named
from gemma_mtp.quantize.engine import Output

__all__ = [
    "OWN_KEYS",
    "Conversion",
    "Origin",
    "Output",
    "convert_checkpoint",
    "convert_dialect",
    "dialect_named",
    "gguf_name",
    "is_spelled",
    "outputs_for",
    "respelled_name",
    "target_name",
]
