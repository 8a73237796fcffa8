"""What a file says of itself decides whether it looks like an original; what it does not say is unknown, not fine."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.ggml import GGMLType
from gemma_mtp.validate import Status, parse_host


def status(report, check: str) -> Status:
    return next(result.status for result in report.results if result.id == check)


def keys(**texts) -> dict:
    return {
        "keys": {
            f"general.{key.replace('__', '.')}": gv.strings(value) if isinstance(value, list) else gv.string(value)
            for key, value in texts.items()
        }
    }


CHANGED = {
    "name": keys(name="Gemma 4 31B It Heretic Abliterated"),
    "finetune": keys(name="Gemma 4", finetune="heretic"),
    "tags": keys(name="Gemma 4 31B It", tags=["text-generation", "uncensored"]),
    "base model": keys(name="Gemma 4 31B It", base_model__0__name="Gemma 4 31B It Ablitrated Abliterated"),
    "repo of the base model": keys(name="Gemma 4", base_model__0__repo_url="https://huggingface.co/x/gemma-heretic"),
    "a head of its own": {"tensors": {"output.weight": (GGMLType.F32, np.ones((288, 96), "f4"))}},
}


@pytest.mark.parametrize("width", [96, 1536])
@pytest.mark.parametrize("case", CHANGED)
def test_a_change_is_seen_whatever_the_width(verify, case, width):
    change = dict(CHANGED[case])
    if case == "a head of its own":
        change["tensors"] = {"output.weight": (GGMLType.F32, np.ones((288, width), "f4"))}
    assert status(verify({"hidden": width, **change}, {"backbone": width}), "fine-tune") is Status.WARNING


UNKNOWN = {
    "another width": (96, keys(name="Gemma 4 31B It")),
    "no name": (1536, {"keys": {"general.name": None}}),
    "made from another's": (1536, keys(name="Gemma 4 31B It", base_model__0__organization="Somebody")),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_is_unknown_is_skipped(verify, case):
    width, change = UNKNOWN[case]
    assert status(verify({"hidden": width, **change}, {"backbone": width}), "fine-tune") is Status.SKIPPED


@pytest.mark.parametrize("name", ["Gemma 4 E2B It", "gemma-4-E2B-it", "Gemma 4 E2B It Qat Q4_0 Unquantized"])
def test_a_release_is_one(verify, name):
    change = keys(name=name, base_model__0__organization="Google", base_model__0__name="Gemma 4 E2B It")
    assert status(verify({"hidden": 1536, **change}, {"backbone": 1536}), "fine-tune") is Status.OK


def test_checks_that_saw_nothing_say_so(verify):
    """No beginning of text in both, names that tell no release, a version that is none of the runtime's."""
    report = verify(host=parse_host("llama.cpp@2026-05-01", None))
    assert status(report, "dialect") is Status.SKIPPED
    assert status(report, "qat") is Status.SKIPPED
    without = {"keys": {"tokenizer.ggml.bos_token_id": None}}
    assert status(verify(without, without), "target-tokenizer") is Status.ERROR


def test_masked_embeddings_in_a_target_or_another_dialect(verify):
    from gemma_mtp.model.dialects import IK

    stray = {"tensors": {"masked_embd_ordering": (GGMLType.I32, np.arange(288, dtype="i4"))}}
    assert status(verify(stray), "target-extra") is Status.ERROR
    other = verify(None, {**stray, "dialect": IK}, host=parse_host("ik", None))
    assert status(other, "assistant-extra") is Status.ERROR
    assert status(other, "masked-embeddings") is Status.SKIPPED
