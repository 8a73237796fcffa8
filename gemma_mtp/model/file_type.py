"""Which type a GGUF's weights have, as the file says it."""

from __future__ import annotations

from gguf.constants import LlamaFileType

from gemma_mtp.files.metadata import Metadata

#: The first is written by us where types follow a recipe of ours: the second can only name the nearest of llama.cpp's.
RECIPE_KEY, FILE_TYPE_KEY = "quantize.recipe", "general.file_type"
UNKNOWN = "unknown"


def type_name(metadata: Metadata) -> str:
    """The recipe's name, or llama.cpp's name of the file type (15 -> Q4_K_M); `unknown` if the file says neither."""
    recipe, number = metadata.text(RECIPE_KEY, ""), metadata.number(FILE_TYPE_KEY, None)
    if recipe or number is None:
        return recipe or UNKNOWN
    try:
        return LlamaFileType(number).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except ValueError:
        return f"file type {number}"
