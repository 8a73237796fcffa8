"""What goes to which of several GPUs: llama.cpp's rule, and its own plans for GPUs that are only pretended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from helpers import pretended_gpus
from helpers.real_shapes import SHAPE_12B, SHAPE_26B, SHAPE_31B, SHAPE_E2B, SHAPE_E4B, drafter_of, write_hollow

from gemma_mtp.errors import UsageError
from gemma_mtp.native import gpus
from gemma_mtp.native.settings import ContextSettings, ModelSettings
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate import parse_host
from gemma_mtp.validate.devices import GPU, RAM, place, spread
from gemma_mtp.validate.host import context_for, model_for

GIBIBYTE = 2**30
#: Real widths and layers; of the vocabulary less, which takes a second to load and is no part of the rule.
VOCABULARY = 8192
SHAPES = {
    "26B": SHAPE_26B,
    "31B": SHAPE_31B,
    "12B": SHAPE_12B,
    "E4B": SHAPE_E4B,
    "E2B": SHAPE_E2B,
}
MEMORY = (40 * GIBIBYTE, 20 * GIBIBYTE, 20 * GIBIBYTE)
TWO = "CUDA0,CUDA1"
#: (size, settings): what is asked of llama.cpp, with the three GPUs of above.
QUESTIONS = [
    *((name, f"-c 8192 -dev {TWO}") for name in SHAPES),
    *((name, "-c 32768 -sm none -mg 2") for name in SHAPES),
    ("26B", "-c 8192"),
    ("26B", f"-c 32768 -ub 128 -dev {TWO} -ts 3,1"),
    ("26B", f"-c 8192 -dev {TWO} -devd CUDA1"),
    ("26B", f"-c 8192 -dev {TWO} -ncmoe 9"),
    ("26B", f"-c 8192 -dev {TWO} -ngl 12 -ctk q8_0 -ctv q8_0"),
    ("26B", f"-c 8192 -dev {TWO} -ot exps=CPU"),
    ("31B", "-c 32768 -dev CUDA2,CUDA0 -ts 1,2"),
    ("31B", f"-c 8192 -ngl 20 -dev {TWO} -ts 0,1"),
    ("31B", "-c 8192 -dev none"),
    ("E2B", f"-c 8192 -dev {TWO} -ts 1,4 -ngl 30"),
]


def free_for(model: ModelSettings) -> tuple[int, ...]:
    """Of the devices that are named, or of all."""
    return tuple(MEMORY[int(name[-1])] for name in gpus.named(model)) or MEMORY


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    folder, made = tmp_path_factory.mktemp("hollow"), {}
    for name, shape in SHAPES.items():
        shape = replace(shape, vocabulary=VOCABULARY)
        target = write_hollow(folder / f"{name}-Q4_K_M.gguf", shape, "Q4_K_M")
        made[name] = target, write_hollow(folder / f"mtp-{name}-Q8_0.gguf", drafter_of(shape), "Q8_0")
    return made


@pytest.fixture(scope="module")
def planned(pairs, tmp_path_factory) -> list[list[dict]]:
    """All questions in one process: devices that are registered stay."""
    pytest.importorskip("llama_cpp")
    asked = []
    for name, settings in QUESTIONS:
        host = parse_host(None, settings)
        differing = {
            kind: {field: value for field, value in vars(given).items() if value != getattr(usual, field)}
            for kind, given, usual in (
                ("model", model_for(host), ModelSettings()),
                ("context", context_for(host), ContextSettings()),
            )
        }
        asked.append({"target": str(pairs[name][0]), "assistant": str(pairs[name][1]), **differing})
    file = tmp_path_factory.mktemp("asked") / "questions.json"
    file.write_text(json.dumps({"memory": MEMORY, "questions": asked}))
    program = [sys.executable, pretended_gpus.__file__, str(file)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@cache
def opened(path: Path, part: str):
    with open_model(path, part) as side:
        return side


def ours(device: str, model: ModelSettings) -> str:
    """The name here of one of llama.cpp's devices."""
    names = gpus.named(model) or tuple(f"CUDA{number}" for number in range(len(MEMORY)))
    return RAM if device == "CPU" else GPU if len(names) == 1 else f"{GPU}{names.index(device)}"


@pytest.mark.parametrize("number", range(len(QUESTIONS)), ids=lambda number: " ".join(QUESTIONS[number]))
def test_as_llama_cpp_plans_them(pairs, planned, number):
    """Layers and weights exactly, caches to the alignment; what is computed in within 5 % of all on that device.

    Where a part of the layers is in main memory it may be more: what is brought to a GPU is reckoned at its most.
    """
    name, settings = QUESTIONS[number]
    host = parse_host(None, settings)
    context, model = context_for(host), replace(model_for(host), load_mode="none")
    target, assistant = opened(pairs[name][0], "target"), opened(pairs[name][1], "assistant")
    free, partly = free_for(model), any(word in settings for word in ("-ngl", "-ncmoe", "-ot"))
    alone, both = (spread(target, other, context, model, free) for other in (None, assistant))
    sides = ((target, model), (assistant, model.for_drafter()))
    for drafts, ((side, settings), plan) in enumerate(zip(sides, planned[number], strict=True)):
        where = place(side, settings, gpus.named(model), free).of_layer
        assert [ours(device, model) for device in plan.pop("layers")] == list(where)
        hyper = side.hyper
        rows = 4 * (1 if drafts else context.outputs) * (hyper.vocabulary + (hyper.backbone or hyper.hidden))
        seen = {ours(device, model): sizes for device, sizes in plan.items()}
        for device, share in both.shares.items():
            found = {kind: getattr(share, kind) for kind in ("weights", "cache", "compute")}
            if drafts:
                found = {kind: size - getattr(alone.on(device), kind) for kind, size in found.items()}
            else:
                found = {kind: getattr(alone.on(device), kind) for kind in found}
            found["compute"] -= rows if device == RAM else 0  # given room when they are asked for
            said = seen.get(device, dict.fromkeys(found, 0))
            assert found["weights"] == pytest.approx(said["weights"], rel=1e-4, abs=4096), device
            assert found["cache"] == pytest.approx(said["cache"], rel=1e-4), device
            most = 1.05 * sum(said.values()) + (250e6 if partly else 6e6)
            assert 0.95 * sum(said.values()) - 6e6 <= sum(found.values()) <= most, device


def restated(layers: int, wanted: int, split: list[float], free: list[int]) -> list[int | None]:
    """src/llama-model.cpp, `load_tensors` of llama.cpp 0.5.0-dev, from "calculate the split points" to `dev_output`."""
    splits = [np.float32(one) for one in (split if any(split) else free)]
    total = np.float32(0)
    for number, one in enumerate(splits):
        total = np.float32(total + one)
        splits[number] = total
    splits = [np.float32(one / total) for one in splits]
    start, active = max(layers + 1 - wanted, 0), min(wanted, layers + 1)
    found: list[int | None] = []
    for layer in range(layers + 1):
        if layer < start or layer - start >= active:
            found.append(None)
            continue
        share = np.float32(np.float32(layer - start) / np.float32(active))
        found.append(next(number for number, point in enumerate(splits) if point > share))  # std::upper_bound
    return found


def test_the_rule_restated():
    random = np.random.default_rng(6)
    for _ in range(300):
        layers, count = int(random.integers(1, 64)), int(random.integers(1, 6))
        free = [int(size) for size in random.integers(1, 80, count) * GIBIBYTE]
        split = [float(share) for share in random.integers(0, 5, count)] if random.random() < 0.7 else []
        wanted = int(random.integers(0, layers + 4))
        model = ModelSettings(wanted, tensor_split=tuple(split) if any(split) else ())
        assert gpus.by_layer(layers, model, (), free)[0] == restated(layers, wanted, split, free)


@pytest.mark.parametrize("name", SHAPES)
def test_the_gpus_together_have_what_one_would(pairs, name):
    """Weights and caches, however they are split: but for the rope_freqs that each of them has."""
    target, assistant = opened(pairs[name][0], "target"), opened(pairs[name][1], "assistant")
    random = np.random.default_rng(7)
    for mode in ("layer", "row", "tensor"):
        for layers in (-1, 17):
            split = tuple(map(float, random.integers(1, 9, 3)))
            one = spread(target, assistant, ContextSettings(), ModelSettings(layers))
            several = spread(
                target, assistant, ContextSettings(), ModelSettings(layers, split_mode=mode, tensor_split=split)
            )
            assert list(several.shares) == ["GPU0", "GPU1", "GPU2", "RAM"]
            assert several.gpu.cache == one.gpu.cache
            assert several.gpu.weights == pytest.approx(one.gpu.weights, abs=4 * 1024)
            assert (several.ram.weights, several.ram.cache) == (one.ram.weights, one.ram.cache)
            assert all(several.on(f"GPU{number}").weights for number in range(3))


def test_a_drafter_elsewhere_has_copies_of_the_caches_that_it_reads(pairs):
    target, assistant = opened(pairs["26B"][0], "target"), opened(pairs["26B"][1], "assistant")
    torn, beside = (
        spread(target, assistant, ContextSettings(32768), ModelSettings(device=TWO, device_draft=device), (2, 1))
        for device in (None, "CUDA1")
    )
    assert torn.on("GPU0").drafter > 600_000_000 > beside.on("GPU1").drafter > beside.on("GPU0").drafter == 0


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ("", 1),
        ("-ts 3,1", 2),
        ("-sm none -mg 2", 3),
        ("-dev CUDA1", 1),
        ("-dev CUDA0,CUDA1 -ts 1,1,1", 2),
        ("-devd Vulkan1", 2),
        ("-ot a=CPU,b=CUDA3", 4),
        ("-dev none", 1),
    ],
)
def test_how_many_gpus_settings_are_for(settings, count):
    assert gpus.count(model_for(parse_host(None, settings))) == count


def test_fewer_gpus_than_the_settings_are_for():
    for model, there in ((ModelSettings(tensor_split=(3, 1)), 1), (ModelSettings(device=TWO), 3)):
        with pytest.raises(UsageError, match="these settings are for 2 GPUs"):
            gpus.require_count(model, there)
