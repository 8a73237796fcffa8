"""What goes where, before anything is loaded: against llama.cpp's own figures, and as `gemma-mtp fit` answers."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.commands import command
from helpers.real_shapes import SHAPE_12B, SHAPE_26B, SHAPE_31B, SHAPE_E2B, SHAPE_E4B, drafter_of, write_hollow

from gemma_mtp.bench.fit import fit, parse_size
from gemma_mtp.errors import UsageError
from gemma_mtp.native.settings import ContextSettings, ModelSettings
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate.devices import DRIVER, spread
from gemma_mtp.validate.host import context_for, model_for, parse_host

MEBIBYTE = 2**20
SHAPES = {"26B": SHAPE_26B, "31B": SHAPE_31B, "12B": SHAPE_12B, "E4B": SHAPE_E4B, "E2B": SHAPE_E2B}
ON_CPU = ModelSettings(gpu_layers=0)


def logged(lines, *patterns: str) -> float:
    text = "\n".join(line for _, line in lines)
    return MEBIBYTE * sum(
        float(size) for pattern in patterns for size in re.findall(pattern + r" += +([\d.]+) MiB", text)
    )


def estimated(target, assistant, context, model):
    with open_model(target, "target") as one, open_model(assistant, "assistant") as other:
        return spread(one, other, context, model)


@pytest.mark.parametrize(
    "context",
    [
        ContextSettings(2048),
        ContextSettings(2048, ubatch=64),
        ContextSettings(2048, 256, ubatch=128),
        ContextSettings(2048, swa_full=True),
        ContextSettings(2048, swa_full=True, ubatch=64, cache_k="q8_0", cache_v="q8_0"),
        ContextSettings(2048, kv_unified=True),
        ContextSettings(1024, outputs=5),
        ContextSettings(1024, flash_attention="off", ubatch=128),
        ContextSettings(700, 128, cache_k="q4_0", cache_v="q4_0"),
        ContextSettings(2048, cache_k="bf16", cache_v="bf16"),
    ],
    ids=repr,
)
def test_what_llama_cpp_allocates(target_gguf, assistant_gguf, context, monkeypatch):
    from gemma_mtp.native import llama

    pair = target_gguf("BF16"), assistant_gguf("BF16")
    monkeypatch.setattr(llama.LOG, "lines", deque(maxlen=100_000))
    loaded = replace(ON_CPU, extra_buffers=False)
    with llama.Model(pair[0], loaded) as one, llama.Model(pair[1], loaded) as other:
        verifying = llama.Context(one, replace(context, threads=1))
        llama.Context(other, replace(context, batch=1, ubatch=None, outputs=1, threads=1), target=verifying)
    found = estimated(*pair, context, ON_CPU)
    lines = llama.LOG.lines
    assert found.gpu.total == 0
    assert found.ram.cache == pytest.approx(logged(lines, "KV buffer size"), abs=MEBIBYTE / 50)
    allocated = logged(lines, "model buffer size", "KV buffer size", "compute buffer size", "output buffer size")
    assert found.ram.total == pytest.approx(allocated, rel=0.05)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    folder, made = tmp_path_factory.mktemp("hollow"), {}
    for name, shape in SHAPES.items():
        target = write_hollow(folder / f"{name}-Q4_K_M.gguf", shape, "Q4_K_M")
        made[name] = target, write_hollow(folder / f"mtp-{name}-Q8_0.gguf", drafter_of(shape), "Q8_0")
    return made


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("26B", ContextSettings(32768)),
        ("26B", ContextSettings(4096, 2048, ubatch=512, swa_full=True)),
        ("26B", ContextSettings(131072, cache_k="q8_0", cache_v="q8_0")),
        ("26B", ContextSettings(8192, 256)),
        ("31B", ContextSettings(32768)),
        ("31B", ContextSettings(16384, 1024, cache_k="q8_0", cache_v="q8_0")),
        ("12B", ContextSettings(32768)),
        ("E4B", ContextSettings(32768)),
        ("E4B", ContextSettings(8192, 1024, cache_k="q8_0", cache_v="q8_0")),
        ("E2B", ContextSettings(131072)),
        ("E2B", ContextSettings(4096, 256)),
    ],
    ids=repr,
)
def test_real_shapes_as_llama_cpp_plans_them(pairs, name, context, monkeypatch):
    """llama.cpp is told to allocate nothing, and says what it would."""
    from gemma_mtp.native import llama

    def unallocated(settings, given=llama._model_params):
        params, kept = given(settings)
        params.no_alloc, params.load_mode = True, 0
        return params, kept

    monkeypatch.setattr(llama, "_model_params", unallocated)
    monkeypatch.setattr(llama.LOG, "lines", deque(maxlen=100_000))
    with llama.Model(pairs[name][0], replace(ON_CPU, extra_buffers=False)) as model:
        llama.Context(model, replace(context, threads=1)).close()
    with open_model(pairs[name][0], "target") as one:
        found = spread(one, None, context, ON_CPU).ram
        rows = 4 * context.outputs * (one.hyper.vocabulary + one.hyper.hidden)  # given room when they are asked for
    lines = llama.LOG.lines
    assert found.cache == pytest.approx(logged(lines, r"llama_kv_cache: size"), rel=1e-4)
    planned = logged(lines, "compute buffer size")
    assert found.compute - rows == pytest.approx(planned, rel=0.1, abs=8 * MEBIBYTE)
    assert found.total == pytest.approx(found.weights + found.cache + planned + rows, rel=0.05)


def test_each_byte_is_somewhere(pairs):
    """Weights move and none is lost, but for the tied embedding, which a GPU gets a copy of, and rope_freqs (1 KB)."""
    whole = estimated(*pairs["26B"], ContextSettings(), ON_CPU)
    for model in (
        ModelSettings(),
        ModelSettings(12),
        ModelSettings(n_cpu_moe=9),
        ModelSettings(override_tensor=("exps=CPU",)),
    ):
        found = estimated(*pairs["26B"], ContextSettings(), model)
        with open_model(pairs["26B"][0], "target") as one, open_model(pairs["26B"][1], "assistant") as other:
            twice = sum(side.tensors["token_embd.weight"].nbytes for side in (one, other))
        assert found.gpu.weights + found.ram.weights == pytest.approx(whole.ram.weights + twice, abs=1024)
        assert found.gpu.cache + found.ram.cache == whole.ram.cache
        assert found.gpu.drafter > 0
    all_experts = estimated(*pairs["26B"], ContextSettings(), ModelSettings(n_cpu_moe=30))
    assert all_experts.gpu.weights < 3e9 < 13e9 < all_experts.ram.weights
    assert all_experts == estimated(*pairs["26B"], ContextSettings(), ModelSettings(override_tensor=("exps=CPU",)))


@pytest.mark.parametrize(
    ("kinds", "halves"),
    [(("f16", "f16"), 0), (("q8_0", "f16"), 1), (("q8_0", "q4_0"), 2), (("bf16", "bf16"), 2)],
)
def test_flash_attention_makes_halves_of_other_caches(pairs, kinds, halves):
    """Of one layer at a time, for the target and for the drafter, each in memory of its own."""
    context = ContextSettings(32768, cache_k=kinds[0], cache_v=kinds[1], flash_attention="on")
    found = estimated(*pairs["26B"], context, ModelSettings()).gpu.compute
    plain = estimated(*pairs["26B"], ContextSettings(32768), ModelSettings()).gpu.compute
    with open_model(pairs["26B"][0], "target") as one:
        width = one.hyper.kv_heads_full * one.hyper.head_dim_full
    assert found - plain == 2 * halves * 32768 * width * 2
    on_cpu = [estimated(*pairs["26B"], one, ON_CPU).ram.compute for one in (context, ContextSettings(32768))]
    assert on_cpu[0] == on_cpu[1]


def test_a_card_of_16_gb_and_26b_with_32k(pairs):
    target, assistant = pairs["26B"]
    found = fit(target, assistant, vram=parse_size("16GB"), context=ContextSettings(32768))
    assert not found.fits
    assert found.change == "the experts of 6 of 30 layers in RAM and a KV cache of q8_0"
    words = shlex.split(found.command)
    assert words[:5] == ["llama-server", "-m", str(target), "-md", str(assistant)]
    # What the command says is what was reckoned with, and one layer less would be too much.
    host = parse_host(None, shlex.join(words[1:]))
    context, model = context_for(host), model_for(host)
    assert (context.size, context.cache_k, model.n_cpu_moe) == (32768, "q8_0", 6)
    assert estimated(target, assistant, context, model) == found.devices
    room = parse_size("16GB") * 0.95 - DRIVER
    assert found.devices.gpu.total <= room
    assert estimated(target, assistant, context, replace(model, n_cpu_moe=5)).gpu.total > room


@pytest.mark.parametrize(
    ("name", "vram", "ram", "words"),
    [
        ("26B", "24GB", None, None),
        ("26B", "8GB", "32GB", "the experts of 23 of 30 layers in RAM and a KV cache of q8_0"),
        ("31B", "23GB", None, "a KV cache of q8_0"),
        ("31B", "12GB", None, "of 61 layers on the GPU"),
    ],
)
def test_the_smallest_change(pairs, name, vram, ram, words):
    found = fit(
        *pairs[name], vram=parse_size(vram), ram=parse_size(ram) if ram else None, context=ContextSettings(32768)
    )
    assert found.fits is (words is None)
    assert words is None or words in found.change


def test_nothing_helps(pairs):
    found = fit(*pairs["31B"], vram=parse_size("2GB"), ram=parse_size("4GB"), context=ContextSettings(32768))
    assert (found.fits, found.change, found.command) == (False, None, None)


@pytest.mark.parametrize(
    ("text", "size"),
    [("16GB", 16 * 2**30), ("16 GiB", 16 * 2**30), ("512m", 512 * 2**20), ("1.5G", 3 * 2**29), ("7", 7)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1G", "16XB"])
def test_what_is_no_size_is_told(text):
    with pytest.raises(UsageError, match="is no size"):
        parse_size(text)


def test_the_command(pairs):
    def asked(*options: str) -> subprocess.CompletedProcess[str]:
        return command("fit", *pairs["26B"], "-c", "32768", *options)

    told = asked("--vram", "16GB", "--json")
    found = json.loads(told.stdout)
    assert told.returncode == 1
    assert {"fits", "devices", "command"} <= found.keys()
    assert found["devices"]["GPU"]["total"] < found["devices"]["GPU"]["room"]
    assert "--n-cpu-moe 6" in found["command"]
    placed = asked("--vram", "16GB", "-ncmoe", "8", "--cache-type", "q8_0")
    assert placed.returncode == 0, placed.stderr
    assert "it fits" in placed.stdout
    assert asked("--vram", "much").returncode == 2
