"""What the optional packages bring, and how each is installed: the one table behind every "is not installed"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Extra:
    """modules: package -> the name that it is imported by. way: how it comes, where that is worth saying."""

    modules: Mapping[str, str]
    way: str = ""

    @property
    def missing(self) -> list[str]:
        """Its packages that cannot be imported. Nothing is imported to find out."""
        return [package for package, module in self.modules.items() if find_spec(module) is None]


#: By the name that pip takes (pyproject.toml).
EXTRAS = {
    "runtime": Extra({"llama-cpp-python": "llama_cpp"}, "compiled for this machine: minutes"),
    "serve": Extra({"xllamacpp": "xllamacpp"}, "ready-made: seconds"),
    "plot": Extra({"matplotlib": "matplotlib"}),
    "adapt": Extra({"torch": "torch", "llama-cpp-python": "llama_cpp"}),
    "reference": Extra({"torch": "torch", "transformers": "transformers"}),
}

#: What can be done -> the extras that bring it: each tuple is a way, of which all are needed. No way: the core does it.
FEATURES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "convert, verify, inspect, push, make, explain": (),
    "quantized types (quantize, convert --type Q4_0)": (("serve",), ("runtime",)),
    "run, bench, demo, verify --run, quantize --compare": (("serve",), ("runtime",)),
    "serve": (("serve",),),
    "--draft auto, --sampling reject, MtpEngine": (("runtime",),),
    "bench --plot": (("plot",),),
    "adapt, imatrix": (("adapt",),),
    "verify --reference": (("runtime", "reference"),),
}


def installed(extra: str) -> bool:
    return not EXTRAS[extra].missing


def available(feature: str) -> bool:
    """Whether what is installed does this (a key of FEATURES)."""
    ways = FEATURES[feature]
    return not ways or any(all(map(installed, way)) for way in ways)


def command(*extras: str) -> str:
    """What installs them, in the versions that gemma-mtp is made for."""
    return f'pip install "gemma-mtp[{",".join(extras)}]"'


def advice(*extras: str) -> str:
    """How to get one of these extras."""
    if len(extras) == 1:
        return f"install it with: {command(*extras)}"
    ways = (f"{command(extra)} ({EXTRAS[extra].way})" for extra in extras)
    return f"install one of them: {', or '.join(ways)}"
