"""gemma-mtp: convert, quantize, verify, run and publish Gemma 4 MTP assistants.

    from gemma_mtp import convert_model, verify_pair

    files = convert_model("google/gemma-4-E2B-it-assistant", types=["Q8_0"]).files
    print(verify_pair("gemma-4-E2B-it-Q4_K_M.gguf", next(iter(files))).verdict)

The names below are loaded when they are first used: importing the package costs nothing. docs/library.md shows each.
Errors that are meant for people are in `gemma_mtp.errors`; what is done is logged by the logger "gemma_mtp".
"""

from __future__ import annotations

from importlib import import_module
from logging import NullHandler, getLogger
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemma_mtp import errors
    from gemma_mtp.bench.results import BenchResults
    from gemma_mtp.convert.convert import convert_model
    from gemma_mtp.convert.pipeline import Conversion
    from gemma_mtp.errors import GemmaMtpError
    from gemma_mtp.model.part import Part
    from gemma_mtp.mtp_runtime.engine import Generation, MtpEngine
    from gemma_mtp.native.settings import ContextSettings, ModelSettings, Sampling
    from gemma_mtp.native.stats import Statistics
    from gemma_mtp.progress import Progress
    from gemma_mtp.publish.files import Push, push_files
    from gemma_mtp.quantize.engine import Quantization
    from gemma_mtp.quantize.model import quantize_model
    from gemma_mtp.sources.describe import Description, inspect_model
    from gemma_mtp.sources.model import OpenModel
    from gemma_mtp.sources.opening import Want, open_model
    from gemma_mtp.validate.findings import Report
    from gemma_mtp.validate.host import Host, parse_host
    from gemma_mtp.validate.run import RunOptions
    from gemma_mtp.validate.verify import verify_file, verify_pair

__version__ = "0.2.1"
__all__ = [
    "BenchResults",
    "ContextSettings",
    "Conversion",
    "Description",
    "GemmaMtpError",
    "Generation",
    "Host",
    "ModelSettings",
    "MtpEngine",
    "OpenModel",
    "Part",
    "Progress",
    "Push",
    "Quantization",
    "Report",
    "RunOptions",
    "Sampling",
    "Statistics",
    "Want",
    "__version__",
    "convert_model",
    "errors",
    "inspect_model",
    "open_model",
    "parse_host",
    "push_files",
    "quantize_model",
    "verify_file",
    "verify_pair",
]

#: Module -> the public names that are defined there.
_HOMES = {
    "bench.results": ("BenchResults",),
    "convert.convert": ("convert_model",),
    "convert.pipeline": ("Conversion",),
    "errors": ("GemmaMtpError",),
    "model.part": ("Part",),
    "mtp_runtime.engine": ("Generation", "MtpEngine"),
    "native.settings": ("ContextSettings", "ModelSettings", "Sampling"),
    "native.stats": ("Statistics",),
    "progress": ("Progress",),
    "publish.files": ("Push", "push_files"),
    "quantize.engine": ("Quantization",),
    "quantize.model": ("quantize_model",),
    "sources.describe": ("Description", "inspect_model"),
    "sources.model": ("OpenModel",),
    "sources.opening": ("Want", "open_model"),
    "validate.findings": ("Report",),
    "validate.host": ("Host", "parse_host"),
    "validate.run": ("RunOptions",),
    "validate.verify": ("verify_file", "verify_pair"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

getLogger(__name__).addHandler(NullHandler())  # a program that has not asked for a log sees none


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("gemma_mtp.errors")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gemma_mtp.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
