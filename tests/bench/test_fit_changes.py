"""What `fit` changes and in which order: a smaller drafter, whose commands are followed as printed; several GPUs."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.commands import command
from helpers.real_shapes import SHAPE_26B, SHAPE_31B, SHAPE_E2B, drafter_of, write_hollow

from gemma_mtp.bench.at_hand import AtHand
from gemma_mtp.bench.changes import RESERVE, Setup, changes, memory, quantized, slack
from gemma_mtp.bench.fit import fit, parse_sizes
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import UsageError
from gemma_mtp.native.settings import ContextSettings, ModelSettings
from gemma_mtp.quantize.catalogue import offers
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate.devices import DRIVER
from gemma_mtp.validate.host import context_for, model_for, parse_host

VOCABULARY = 8192
LONG = ContextSettings(32768)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Real widths and layers, little vocabulary; the drafters in BF16."""
    folder, made = tmp_path_factory.mktemp("hollow"), {}
    for name, shape in {"26B": SHAPE_26B, "31B": SHAPE_31B}.items():
        shape = replace(shape, vocabulary=VOCABULARY)
        target = write_hollow(folder / f"{name}-Q4_K_M.gguf", shape, "Q4_K_M")
        made[name] = target, write_hollow(folder / f"mtp-{name}-BF16.gguf", drafter_of(shape), "BF16")
    return made


def needed(pair, context=LONG, model=None) -> int:
    """The memory of a GPU in which the pair has just enough room."""
    found = fit(*pair, vram=2**45, context=context, model=model)
    return int((found.devices.gpu.total + DRIVER) / (1 - RESERVE)) + 2


@pytest.fixture(scope="module")
def enough_for_31b(pairs) -> int:
    return needed(pairs["31B"])


@pytest.mark.parametrize(
    ("less", "change"),
    [
        (0, None),
        (100, "the drafter in Q8_0"),
        (260, "the drafter in Q4_0"),
        (1000, "a KV cache of q8_0"),
        (1500, "the drafter in Q8_0 and a KV cache of q8_0"),
        (1650, "the drafter in Q4_0 and a KV cache of q8_0"),
        (2100, "a KV cache of q4_0"),
        (2850, "57 of 61 layers on the GPU and the drafter in Q4_0 and a KV cache of q8_0"),
    ],
)
def test_what_costs_least_comes_first(pairs, enough_for_31b, less, change):
    """less: MB that are missing."""
    found = fit(*pairs["31B"], vram=enough_for_31b - less * 10**6, context=LONG)
    assert found.change == change
    assert (found.prepare is not None) is ("drafter in" in (change or ""))


def test_the_order(pairs):
    with open_model(pairs["26B"][0], "target") as one, open_model(pairs["26B"][1], "assistant") as other:
        asked = Setup(one, other, LONG, ModelSettings(), AtHand(pairs["26B"][1]))
        found = [" + ".join(setup.what) for setup in changes(asked, {"GPU": 1, "RAM": 1})]
    assert found[:6] == [
        "the drafter in Q8_0",
        "the drafter in Q4_0",
        "a KV cache of q8_0",
        "the drafter in Q8_0 + a KV cache of q8_0",
        "the drafter in Q4_0 + a KV cache of q8_0",
        "no drafter",
    ]
    assert found[6].startswith("the experts of 1 of 30 layers in RAM")
    assert found[-1].startswith("no layers on the GPU")


def test_without_the_drafter_if_that_alone_makes_it_fit(tmp_path, pairs):
    """For a target whose drafter is quantized already and whose cache, too."""
    target = pairs["31B"][0]
    drafter = write_hollow(
        tmp_path / "mtp-31B-Q4_0.gguf", drafter_of(replace(SHAPE_31B, vocabulary=VOCABULARY)), "Q4_0"
    )
    context = replace(LONG, cache_k="q4_0", cache_v="q4_0")
    found = fit(target, drafter, vram=needed((target, drafter), context) - 10**7, context=context)
    assert found.change == "no drafter"
    assert (found.prepare, "-md" in found.command) == (None, False)
    assert found.devices.gpu.drafter == 0


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_sizes_as_quantize_lists_them(pairs, kind):
    with open_model(pairs["31B"][1], "assistant") as side:
        weights = sum(tensor.nbytes for tensor in quantized(side, kind).tensors.values())
    listed = next(offer.size for offer in offers(pairs["31B"][1]) if offer.name == kind)
    assert listed - 10**6 < weights < listed  # the header is no weight


def test_the_commands_as_printed(tmp_path, target_gguf, assistant_gguf):
    """quantize's is run; what llama-server is told then fits as it is."""
    target, assistant = tmp_path / "my target.gguf", tmp_path / "mtp-my drafter-BF16.gguf"
    target.symlink_to(target_gguf("BF16"))
    assistant.symlink_to(assistant_gguf("BF16"))
    context = ContextSettings(512)
    free = needed((target, assistant), context) - 10**6
    found = fit(target, assistant, vram=free, context=context)
    told = command("fit", target, assistant, "-c", "512", "--vram", str(free))
    assert (told.returncode, found.change) == (1, "the drafter in Q8_0")
    prepare, line = (shlex.split(line) for line in told.stdout.splitlines()[-3:-1])
    assert prepare[:2] == ["gemma-mtp", "quantize"]
    assert command(*prepare[1:], cwd=tmp_path).returncode == 0
    drafter = Path(line[line.index("-md") + 1])
    assert drafter.name == "mtp-my drafter-Q8_0.gguf"
    host = parse_host(None, shlex.join(line[1:]))
    again = fit(target, drafter, vram=free, context=context_for(host), model=model_for(host))
    assert again.fits
    assert again.devices == found.devices


def test_a_checkpoint_is_converted(tmp_path, target_gguf):
    checkpoint = PAIR / "assistant"
    free = needed((target_gguf("BF16"), checkpoint), ContextSettings(512)) - 10**6
    found = fit(target_gguf("BF16"), checkpoint, vram=free, context=ContextSettings(512))
    assert found.change == "the drafter in Q8_0"
    words = shlex.split(found.prepare)
    assert words[:3] == ["gemma-mtp", "convert", str(checkpoint)]
    assert command(*words[1:], cwd=tmp_path).returncode == 0
    drafter = shlex.split(found.command)[4]
    assert fit(target_gguf("BF16"), tmp_path / drafter, vram=free, context=ContextSettings(512)).fits


def test_another_split_of_the_layers_costs_nothing(pairs):
    """The output and its buffers are with the last layers: halves are no halves."""
    vram = parse_sizes(["9.5GB,9.5GB"])
    model = ModelSettings(tensor_split=(1, 4))
    found = fit(*pairs["26B"], vram=vram, context=ContextSettings(8192), model=model)
    assert (found.fits, found.change.startswith("the layers split ")) == (False, True)
    host = parse_host(None, found.command)
    assert model_for(host).tensor_split == found.model.tensor_split != (1, 4)
    assert fit(*pairs["26B"], vram=vram, context=ContextSettings(8192), model=model_for(host)).fits


def test_the_drafter_beside_the_last_layers(pairs):
    """Split over both it has copies of the caches that it reads."""
    model = ModelSettings(device="CUDA0,CUDA1", tensor_split=(2, 1))
    torn = fit(*pairs["26B"], vram=(2**40, 2**40), context=LONG, model=model)
    assert "here on GPU1" in torn.note
    size = int((torn.devices.on("GPU0").total + 500_000_000) / 0.95) - 10**7
    found = fit(*pairs["26B"], vram=(size, 2**40), context=LONG, model=model)
    assert found.change == "the drafter on CUDA1"
    assert "--device-draft CUDA1" in found.command
    assert found.devices.on("GPU0").drafter == 0
    assert "-devd" not in found.note


def test_the_caches_may_be_elsewhere(tmp_path):
    """E2B's last layers have none: its drafter on the last GPU alone would abort llama.cpp."""
    shape = replace(SHAPE_E2B, vocabulary=VOCABULARY)
    target = write_hollow(tmp_path / "target.gguf", shape, "Q4_K_M")
    assistant = write_hollow(tmp_path / "mtp.gguf", drafter_of(shape), "Q8_0")
    model = ModelSettings(device="CUDA0,CUDA1")
    assert "here on GPU0" in fit(target, assistant, vram=(2**40, 2**40), context=LONG, model=model).note
    found = fit(target, assistant, vram=(2**30, 2**30), context=LONG, model=model)
    assert found.change is not None
    assert "the drafter on" not in found.change
    with pytest.raises(UsageError, match="the drafter reads caches on GPU0, which it cannot use"):
        fit(target, assistant, vram=(2**40, 2**40), context=LONG, model=replace(model, device_draft="CUDA1"))


def test_several_gpus_in_json_and_in_sentences(target_gguf, assistant_gguf):
    good_pair = target_gguf("BF16"), assistant_gguf("BF16")
    told = command("fit", *good_pair, "--vram", "1GB,2GB", "--vram", "512MB", "--json")
    assert told.returncode == 0, told.stderr
    devices = json.loads(told.stdout)["devices"]
    assert list(devices) == ["GPU0", "GPU1", "GPU2", "RAM"]
    assert [one["room"] for one in devices.values()] == [2**30, 2**31, 2**29, None]
    shown = command("verify", *good_pair, "--settings", "-ts 3,1 -sm layer -dev CUDA0,CUDA1 -mg 0").stdout
    assert "on GPU0 (weights" in shown
    assert "on GPU1 (weights" in shown
    wrong = command("fit", *good_pair, "--vram", "1GB", "-ts", "3,1")
    assert (wrong.returncode, "--vram 12GB,8GB" in wrong.stderr) == (2, True)


def test_what_is_left_on_each(target_gguf, assistant_gguf):
    room = {"GPU0": 2**30, "GPU1": 3 * 10**8, "RAM": None}
    pair = target_gguf("BF16"), assistant_gguf("BF16")
    with open_model(pair[0], "target") as one, open_model(pair[1], "assistant") as other:
        needs = Setup(one, other, ContextSettings(512), ModelSettings(), None).spread(room)
    left = slack(needs, room)
    assert memory(room) == (2**30, 3 * 10**8)
    assert left["GPU0"] > 0 > left["GPU1"]
    assert left["RAM"] == 0
