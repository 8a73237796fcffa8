"""llama.cpp's options of what goes where: from the command line to both engines, and back to llama-server's line."""

from __future__ import annotations

import json
import mmap
import os
import re
import subprocess
import sys
from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.commands import command
from helpers.tiny_pairs import ASSISTANT, TARGET, Model

from gemma_mtp.errors import UsageError
from gemma_mtp.mtp_runtime import MtpEngine
from gemma_mtp.native.placement import OPTIONS, belonging, read, server_words
from gemma_mtp.native.server_line import llama_server
from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings
from gemma_mtp.sources.pairing import check_runnable

#: A value of each field that is not the default.
OTHERS = {
    "n_cpu_moe": 3,
    "override_tensor": ("exps=CPU", r"blk\.1\..*=CPU"),
    "split_mode": "row",
    "tensor_split": (3.0, 1.5),
    "main_gpu": 1,
    "device": "CPU",
    "gpu_layers_draft": 0,
    "device_draft": "CPU",
    "load_mode": "mmap",
    "threads_batch": 2,
    "ubatch": 64,
    "swa_full": True,
    "kv_unified": True,
}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.field)
def test_what_is_measured_with_is_what_llama_server_is_told(option):
    kind = ContextSettings if option.field in ContextSettings.__dataclass_fields__ else ModelSettings
    settings = kind(**{option.field: OTHERS[option.field]})
    words = server_words(settings)
    assert words[0] == option.names[0]
    assert kind(**read({words[0]: " ".join(words[1:])})) == settings
    both = [replace(one, **belonging({option.field: OTHERS[option.field]}, type(one))) for one in (CONTEXT, MODEL)]
    assert words[0] in llama_server(Path("t"), Path("a"), Drafting(2), both[0], both[1]).split()


CONTEXT, MODEL = ContextSettings(), ModelSettings()


def test_the_table_is_whole_and_its_names_are_llama_cpp_s():
    assert set(OTHERS) == {option.field for option in OPTIONS}
    spec = find_spec("xllamacpp.xllamacpp")
    assert spec
    assert spec.origin
    with Path(spec.origin).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
        ours = {"--ubatch"}  # a short spelling of --ubatch-size
        names = [name for option in OPTIONS for name in option.names if name not in ours]
        assert [name for name in names if library.find(name.encode() + b"\0") < 0] == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split_mode": "columns"}, "--split-mode 'columns' is unknown"),
        ({"load_mode": "slow"}, "--load-mode 'slow' is unknown"),
        ({"n_cpu_moe": -1}, "--n-cpu-moe is -1"),
        ({"main_gpu": -1}, "--main-gpu is -1"),
        ({"tensor_split": (0.0, 0.0)}, "--tensor-split: shares"),
        ({"override_tensor": ("exps",)}, "is no PATTERN=DEVICE"),
        ({"override_tensor": ("(=CPU",)}, "cannot be read"),
        ({"device": "CUDA0,CUDA1", "device_draft": "CUDA2"}, "whose cache it reads, on CUDA1"),
        ({"device": "CUDA0,CUDA1", "device_draft": "CUDA1", "split_mode": "none"}, "whose cache it reads, on CUDA0"),
        ({"device": "none", "device_draft": "CUDA0"}, "whose cache it reads, on none"),
    ],
)
def test_wrong_placements_are_told(settings, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        ModelSettings(**settings)


@pytest.mark.parametrize(("shared", "refused"), [(0, True), (2, False)])
def test_the_drafter_must_be_where_the_caches_are(tmp_path, shared: int, refused: bool):
    """A target whose last layers read the caches of earlier ones may have these on any device."""
    target, assistant = tmp_path / "target.gguf", tmp_path / "assistant.gguf"
    Model(replace(TARGET, shared_kv_layers=shared)).write(target)
    Model(ASSISTANT).write(assistant)
    for device in ("CUDA1", "CUDA0,CUDA1", None):
        check_runnable(target, assistant, ModelSettings(device="CUDA0,CUDA1", device_draft=device))
    apart = ModelSettings(device="CUDA0,CUDA1", device_draft="CUDA0")
    if not refused:
        check_runnable(target, assistant, apart)
        return
    for begin in (check_runnable, partial(MtpEngine, draft_max=2)):
        with pytest.raises(UsageError, match="whose cache it reads, on CUDA1"):
            begin(target, assistant, model=apart)


@pytest.mark.parametrize(
    ("model", "at_the_end", "refused"),
    [
        (ModelSettings(device_draft="none"), True, True),
        (ModelSettings(device_draft="none"), False, True),
        (ModelSettings(device_draft="none", gpu_layers=3), True, True),
        (ModelSettings(device_draft="none", gpu_layers=3), False, False),  # the caches may be of layers in main memory
        (ModelSettings(device_draft="none", gpu_layers=0), True, False),
        (ModelSettings(device_draft="none", device="none"), True, False),
        (ModelSettings(device_draft="CUDA0"), True, True),
        (ModelSettings(device_draft="CUDA1"), True, False),
        (ModelSettings(), True, False),
    ],
    ids=str,
)
def test_where_no_device_is_named_the_target_is_on_the_gpus(model, at_the_end, refused):
    """llama.cpp aborts if the drafter's context has no backend for the buffer of the caches."""
    model.require_drafter_near(at_the_end=at_the_end)  # of another machine nothing is known
    with pytest.raises(UsageError, match="whose cache it reads, on CUDA1") if refused else nullcontext():
        model.require_drafter_near(at_the_end=at_the_end, gpus=("CUDA0", "CUDA1"))


GPU_THERE = """
import sys
from helpers import pretended_gpus
from gemma_mtp.errors import UsageError
from gemma_mtp.mtp_runtime import MtpEngine
from gemma_mtp.native.llama import gpu_names
from gemma_mtp.native.settings import ModelSettings

assert gpu_names() == []
pretended_gpus.register([2**34])
assert gpu_names() == ["CUDA0"]
try:
    MtpEngine(*sys.argv[1:], model=ModelSettings(device_draft="none"))
except UsageError as error:
    print(error, error.hint)
"""


def test_a_drafter_that_is_kept_off_the_gpu_is_refused_before_anything_is_loaded(target_gguf, assistant_gguf):
    program = [sys.executable, "-c", GPU_THERE, str(target_gguf("Q8_0")), str(assistant_gguf("Q8_0"))]
    path = os.pathsep.join(sys.path)
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert "the drafter is on none, the target's last layers, whose cache it reads, on CUDA0" in done.stdout
    assert "leave --device-draft out" in done.stdout


def test_the_drafter_goes_where_the_target_is_unless_it_is_said_otherwise():
    target = ModelSettings(20, device="CUDA0,CUDA1", n_cpu_moe=7, override_tensor=("a=CPU",))
    assert target.for_drafter() == ModelSettings(20, device="CUDA0,CUDA1")
    other = replace(target, gpu_layers_draft=0, device_draft="CUDA1").for_drafter()
    assert (other.gpu_layers, other.device) == (0, "CUDA1")


def test_a_device_that_is_not_there_is_told(target_gguf):
    from gemma_mtp.native.llama import Model

    for settings in (ModelSettings(device="CUDA7"), ModelSettings(override_tensor=("ffn=CUDA7",))):
        with pytest.raises(UsageError, match="no device 'CUDA7'") as told:
            Model(target_gguf("BF16"), settings)
        assert "CPU" in str(told.value.hint)


def test_llama_cpp_gets_them(target_gguf, monkeypatch):
    """As its own log tells."""
    from gemma_mtp.native import llama

    monkeypatch.setattr(llama.LOG, "lines", deque(maxlen=100_000))
    model = ModelSettings(device="none", override_tensor=(r"blk\.1\.ffn_up=CPU",), load_mode="none", main_gpu=0)
    context = ContextSettings(512, 256, ubatch=64, threads=1, threads_batch=2, swa_full=True, kv_unified=True)
    with llama.Model(target_gguf("BF16"), model) as loaded, llama.Context(loaded, context):
        pass
    text = "\n".join(line for _, line in llama.LOG.lines)
    assert re.search(r"tensor blk\.1\.ffn_up\.weight .*buffer type overridden to CPU", text)
    for words in (r"n_batch += 256", r"n_ubatch += 64", r"kv_unified += true", r"load_mode = none|use_mmap = false"):
        assert re.search(words, text), words
    assert re.search(r"creating +SWA KV cache, size = 512 cells", text)


def run(pair: tuple[Path, Path], *options: str) -> subprocess.CompletedProcess[str]:
    words = ["run", *map(str, pair), "-p", "def", "-n", "8", "--json", "-t", "1", *options]
    return command(*words)


def test_the_commands_take_them(target_gguf, assistant_gguf):
    pair = target_gguf("BF16"), assistant_gguf("BF16")
    usual = run(pair)
    placed = run(pair, "-dev", "none", "-ot", "ffn_up=CPU", "-lm", "none", "-ub", "32", "--swa-full", "-tb", "1")
    assert placed.returncode == usual.returncode == 0, placed.stderr
    assert json.loads(placed.stdout)["text"] == json.loads(usual.stdout)["text"]
    wrong = run(pair, "--tensor-split", "much")
    assert wrong.returncode == 2
    assert "--tensor-split is 'much', a number is needed" in wrong.stderr


def test_the_other_engine_gets_them(target_gguf, assistant_gguf):
    pytest.importorskip("xllamacpp")
    pair = target_gguf("BF16"), assistant_gguf("BF16")
    usual = run(pair, "--engine", "cpp")
    placed = run(pair, "--engine", "cpp", "-ot", "ffn_up=CPU", "-lm", "none", "-ts", "1,1")
    assert placed.returncode == usual.returncode == 0, placed.stderr
    assert json.loads(placed.stdout)["text"] == json.loads(usual.stdout)["text"]
    assert run(pair, "--engine", "cpp", "-dev", "none").returncode == 2
