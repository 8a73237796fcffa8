"""`verify --settings`: what is said there of devices is reckoned with, told, and decoded with."""

from __future__ import annotations

import json

import pytest
from helpers.commands import command

from gemma_mtp.native.settings import ModelSettings
from gemma_mtp.validate import parse_host, verify_pair
from gemma_mtp.validate.host import context_for, model_for, places_on_gpu


@pytest.mark.parametrize(
    ("settings", "model"),
    [
        ("", ModelSettings()),
        ("-ngl 30 -ncmoe 4", ModelSettings(30, n_cpu_moe=4)),
        ("--n-gpu-layers=all -ot exps=CPU -nr", ModelSettings(override_tensor=("exps=CPU",), extra_buffers=False)),
        (
            "-sm none -mg 1 -ts 3,1 -devd CUDA0 -ngld 0",
            ModelSettings(-1, True, 0, (), "none", (3, 1), 1, None, 0, "CUDA0"),
        ),
        ("-sm graph -lm odd", ModelSettings()),  # a fork's
    ],
)
def test_settings_of_the_host(settings, model):
    assert model_for(parse_host(None, settings)) == model


@pytest.mark.parametrize(
    ("settings", "batch", "at_once"),
    [
        ("", 512, 512),
        ("-ub 64", 64, 64),
        ("-b 2048", 2048, 512),
        ("-b 128", 128, 128),
        ("-b 2048 -ub 1024", 2048, 1024),
    ],
)
def test_batches_of_the_host(settings, batch, at_once):
    context = context_for(parse_host(None, settings))
    assert (context.batch, context.at_once) == (batch, at_once)


@pytest.mark.parametrize(
    ("settings", "gpu", "said"),
    [("-c 100", None, False), ("-ngl 3", None, True), ("-ot a=CPU", None, True), ("", "T4", True)],
)
def test_where_a_gpu_is_said_to_be(settings, gpu, said):
    assert places_on_gpu(parse_host(None, settings, gpu)) is said


def test_the_report_by_device(good_pair):
    assert verify_pair(*good_pair).devices is None
    none = verify_pair(*good_pair, host=parse_host(None, "-ngl 0")).devices
    half = verify_pair(*good_pair, host=parse_host(None, "-ngl 3")).devices
    whole = verify_pair(*good_pair, host=parse_host(None, "-ngl 99")).devices
    assert none.gpu.total == 0
    assert 0 < half.gpu.weights < whole.gpu.weights
    assert 0 < half.gpu.cache < whole.gpu.cache
    assert whole.ram.cache == 0


def test_the_command(good_pair):
    def told(*options: str) -> str:
        return command("verify", *good_pair, *options).stdout

    assert "on the GPU (weights" in told("--settings", "-ngl 3")
    assert "on the GPU" not in told()
    found = json.loads(told("--settings", "-c 512 -ctk q8_0 -ctv q8_0 -ngl 3", "--json"))
    assert found["memory"]["tokens"] == 512
    assert found["devices"]["GPU"]["drafter"] > 0
