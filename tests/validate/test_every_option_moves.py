"""llama.cpp's options of what goes where: `verify --settings` and `fit` know the same, and reckon with what moves."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import pytest
from helpers.commands import command
from helpers.real_shapes import SHAPE_26B, drafter_of, write_hollow

from gemma_mtp.native.placement import OPTIONS, belonging, read
from gemma_mtp.native.settings import ContextSettings, ModelSettings
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate.devices import Spread, spread
from gemma_mtp.validate.host import context_for, model_for, parse_host

#: Of two GPUs alike. Field -> a value that moves bytes, and what else has to be said for that.
MOVING = {
    "n_cpu_moe": ("4", ""),
    "override_tensor": ("attn_q=CUDA1", ""),
    "split_mode": ("none", ""),
    "tensor_split": ("3,1", ""),
    "main_gpu": ("1", "-sm none"),
    "device": ("CUDA0", ""),
    "gpu_layers_draft": ("2", ""),
    "device_draft": ("CUDA1", ""),
    "load_mode": ("none", "-ngl 0"),
    "ubatch": ("64", ""),
    "swa_full": ("", ""),
}
#: These are about threads, and about several sequences: the estimate is for one.
RESTING = {"threads_batch": "2", "kv_unified": ""}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hollow")
    shape = replace(SHAPE_26B, vocabulary=4096)
    target = write_hollow(folder / "target.gguf", shape, "Q4_K_M")
    assistant = write_hollow(folder / "mtp.gguf", drafter_of(shape), "Q8_0")
    with open_model(target, "target") as one, open_model(assistant, "assistant") as other:
        yield one, other


def reckoned(pair, words: str) -> Spread:
    host = parse_host(None, words)
    model = model_for(host)
    there = (1,) if model.device == "CUDA0" else (1, 1)
    return spread(*pair, context_for(host), model, there)


def sizes(found: Spread) -> list[tuple[int, ...]]:
    return [(share.weights, share.cache, share.compute) for share in found.shares.values()]


def test_every_option_is_in_one_of_the_tables():
    assert {option.field for option in OPTIONS} == MOVING.keys() | RESTING.keys()


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.field)
def test_what_moves_bytes_moves_them_here(pair, option):
    """In every spelling alike, and for `fit` as for `verify`."""
    value, besides = MOVING.get(option.field) or (RESTING[option.field], "")
    before = sizes(reckoned(pair, besides))
    after = [sizes(reckoned(pair, f"{besides} {name} {value}")) for name in option.names]
    assert all(found == after[0] for found in after)
    assert (after[0] != before) is (option.field in MOVING)
    host = parse_host(None, f"{besides} {option.names[0]} {value}")
    given = read(host.settings)  # as `fit` makes its settings
    model = replace(ModelSettings(model_for(host).gpu_layers), **belonging(given, ModelSettings))
    context = replace(ContextSettings(), **belonging(given, ContextSettings))
    there = (1,) if model.device == "CUDA0" else (1, 1)
    assert sizes(spread(*pair, context, model, there)) == after[0]


def test_fit_takes_the_same_words():
    told = command("fit", "--help", env={**os.environ, "COLUMNS": "300"}).stdout
    names = {name for option in OPTIONS for name in option.names} | {"-ngl", "--gpu-layers"}
    assert {name for name in names if not re.search(rf"{name}\b", told)} == set()
