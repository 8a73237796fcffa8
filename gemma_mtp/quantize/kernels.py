"""ggml's row kernels, called through ctypes from a package that brings them.

ctypes releases the GIL during a call, so threads over blocks of rows scale. Of llama-cpp-python only `libggml-base` is
loaded: importing the whole module costs a tenth of a second and initializes a backend. xllamacpp's extension module
holds all of llama.cpp and exports its C interface. Declarations: ggml/include/ggml.h.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from gemma_mtp import extras
from gemma_mtp.errors import EnvironmentProblem, MissingExtra
from gemma_mtp.ggml import GGMLType

#: File names of the library by platform. On Linux first the one that libllama is linked to: where both are loaded
#: they then share one copy, and with it the tables that take seconds to build for the IQ types.
LIBRARY_NAMES = {"win32": ("ggml-base.dll", "libggml-base.dll"), "darwin": ("libggml-base.so", "libggml-base.dylib")}
DEFAULT_NAMES = ("libggml-base.so.0", "libggml-base.so")


@dataclass(frozen=True)
class Provider:
    """A package that brings ggml.

    module: its import name. folder: of its libraries, inside the package. names: patterns of the library's file, the
    best first. override: the variable by which its users name another folder.
    """

    package: str
    module: str
    folder: str
    names: tuple[str, ...]
    override: str = ""

    def library(self) -> Path | None:
        """The library's file; None if the package is not installed or has no such file."""
        folder = self._folder()
        found = (path for name in self.names for path in sorted(folder.glob(name))) if folder else iter(())
        return next(found, None)

    def _folder(self) -> Path | None:
        if self.override and (named := os.environ.get(self.override)):
            return Path(named)
        spec = find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0]) / self.folder


#: In the order in which they are asked.
PROVIDERS = (
    Provider(
        "llama-cpp-python", "llama_cpp", "lib", LIBRARY_NAMES.get(sys.platform, DEFAULT_NAMES), "LLAMA_CPP_LIB_PATH"
    ),
    Provider("xllamacpp", "xllamacpp", "", ("xllamacpp*.so", "xllamacpp*.pyd")),
)

#: Any of these brings a provider.
EXTRAS = ("serve", "runtime")
FEATURE = "a quantized type"

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
    """The loaded library. Raises EnvironmentProblem if no package brings one that can be used."""
    found, problems = [(one.package, path) for one in PROVIDERS if (path := one.library())], []
    for package, path in found:
        try:
            return _bound(path)
        except (OSError, AttributeError) as error:
            problems.append(f"{package} cannot be used: {error}")
    if not found:
        raise MissingExtra(*EXTRAS, feature=FEATURE)
    raise EnvironmentProblem(f"{FEATURE} needs ggml's kernels: {'; '.join(problems)}", hint=extras.advice(*EXTRAS))


def _bound(path: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(path))
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
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
    """Whether encoded data of a quantized type has only finite scales."""
    return bool(library().ggml_validate_row_data(kind, address, nbytes))
