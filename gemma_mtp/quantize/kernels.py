"""ggml's row kernels, called through ctypes from the library that llama-cpp-python ships.

ctypes releases the GIL during a call, so threads over blocks of rows scale. Only `libggml-base` is loaded: importing
the whole `llama_cpp` module costs a tenth of a second and initializes a backend. Declarations: ggml/include/ggml.h.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from gemma_mtp.advice import LIBRARY
from gemma_mtp.errors import EnvironmentProblem
from gemma_mtp.ggml import GGMLType

#: File names of the library by platform. On Linux first the one that libllama is linked to: where both are loaded
#: they then share one copy, and with it the tables that take seconds to build for the IQ types.
LIBRARY_NAMES = {"win32": ("ggml-base.dll", "libggml-base.dll"), "darwin": ("libggml-base.so", "libggml-base.dylib")}
DEFAULT_NAMES = ("libggml-base.so.0", "libggml-base.so")

_ToFloat = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


class _TypeTraits(ctypes.Structure):
    """ggml_type_traits."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", _ToFloat),
        ("from_float_ref", ctypes.c_void_p),
    )


#: Function -> result and arguments.
SIGNATURES = {
    "ggml_quantize_init": (None, [ctypes.c_int]),
    "ggml_quantize_requires_imatrix": (ctypes.c_bool, [ctypes.c_int]),
    "ggml_quantize_chunk": (
        ctypes.c_size_t,
        [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p],
    ),
    "ggml_validate_row_data": (ctypes.c_bool, [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]),
    "ggml_get_type_traits": (ctypes.POINTER(_TypeTraits), [ctypes.c_int]),
}


@cache
def library() -> ctypes.CDLL:
    """The loaded library. Raises EnvironmentProblem if llama-cpp-python is missing or has no such library."""
    folder = library_folder()
    for name in LIBRARY_NAMES.get(sys.platform, DEFAULT_NAMES):
        if (folder / name).exists():
            return _bound(folder / name)
    raise EnvironmentProblem(
        "llama-cpp-python has no libggml-base",
        where=folder,
        hint=f"install it again: pip install --force-reinstall {LIBRARY}",
    )


def library_folder() -> Path:
    """Where llama-cpp-python's libraries are: LLAMA_CPP_LIB_PATH, as it reads it itself, or the package's `lib`."""
    if named := os.environ.get("LLAMA_CPP_LIB_PATH"):
        return Path(named)
    spec = find_spec("llama_cpp")
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentProblem("llama-cpp-python is not installed", hint=f"pip install {LIBRARY}")
    return Path(spec.submodule_search_locations[0]) / "lib"


def _bound(path: Path) -> ctypes.CDLL:
    try:
        loaded = ctypes.CDLL(str(path))
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise EnvironmentProblem(f"ggml's kernels cannot be loaded: {error}", where=path) from error
    return loaded


def prepare(kind: GGMLType) -> None:
    """Build the kernels' tables for a type, once and before threads use them (a no-op for most types)."""
    library().ggml_quantize_init(kind)


#: Families whose kernels search a grid for the nearest point, and abort where nothing is near (seen: IQ1 .. IQ3).
GRID_FAMILIES = ("IQ1_", "IQ2_", "IQ3_")


def aborts_on_nonfinite(kind: GGMLType) -> bool:
    """Whether the kernel may abort the process on NaN or Inf."""
    return kind.name.startswith(GRID_FAMILIES)


def requires_importance(kind: GGMLType) -> bool:
    """Whether the kernel aborts the process without an importance matrix."""
    return bool(library().ggml_quantize_requires_imatrix(kind))


def widen(kind: GGMLType, source: int, target: int, elements: int) -> None:
    """Decode `elements` elements of any type but F32 at address `source` to float32 at address `target`."""
    library().ggml_get_type_traits(kind).contents.to_float(source, target, elements)


def quantize(kind: GGMLType, source: int, target: int, rows: int, columns: int, importance: int | None) -> int:
    """Encode float32 [rows, columns] at `source` to `target`; `importance` is the address of float32 [columns].

    Returns the bytes written. F16 and BF16 round to the nearest, ties to even.
    """
    return int(library().ggml_quantize_chunk(kind, source, target, 0, rows, columns, importance))


def is_valid(kind: GGMLType, address: int, nbytes: int) -> bool:
    """Whether encoded data has only finite numbers and scales."""
    return bool(library().ggml_validate_row_data(kind, address, nbytes))
