"""GGUF -> GGUF of another type, exactly as llama.cpp does it, or by a recipe made for drafters."""

from gemma_mtp.quantize.engine import Output, Quantization, Written, quantize_file
from gemma_mtp.quantize.imatrix import ImportanceMatrix, read_imatrix
from gemma_mtp.quantize.model import quantize_model
from gemma_mtp.quantize.plan import file_metadata, find_kind, is_kind, plan_types
from gemma_mtp.quantize.recipes import RECIPES, Override, Recipe, parse_override
from gemma_mtp.quantize.rows import RowEncoder
from gemma_mtp.quantize.types import FILE_TYPES, FileType

__all__ = [
    "FILE_TYPES",
    "RECIPES",
    "FileType",
    "ImportanceMatrix",
    "Output",
    "Override",
    "Quantization",
    "Recipe",
    "RowEncoder",
    "Written",
    "file_metadata",
    "find_kind",
    "is_kind",
    "parse_override",
    "plan_types",
    "quantize_file",
    "quantize_model",
    "read_imatrix",
]
