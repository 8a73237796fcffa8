"""llama.cpp's rules for a repo's files, and the names that may be published."""

from __future__ import annotations

import pytest

from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.hub.discovery import (
    is_model,
    parts_of,
    pick_drafter,
    pick_gguf,
    pick_model,
)
from gemma_mtp.model.file_name import FileName, parse_published
from gemma_mtp.model.part import Part

TARGETS = ["README.md", "gemma-4-E2B-it-BF16.gguf", "gemma-4-E2B-it-Q4_K_M.gguf", "gemma-4-E2B-it-Q8_0.gguf"]
DRAFTERS = ["mtp-gemma-4-E2B-it-BF16.gguf", "mtp-gemma-4-E2B-it-Q8_0.gguf"]
SPLIT = [f"big-Q8_0-{index:05d}-of-00003.gguf" for index in (1, 2, 3)]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mtp-gemma-4-26B-A4B-it-Q4_0.gguf", FileName(Part.ASSISTANT, "gemma-4-26B-A4B-it", "Q4_0", "mainline")),
        ("mtp-gemma-4-26B-A4B-it-Q4_K_M.gguf", FileName(Part.ASSISTANT, "gemma-4-26B-A4B-it", "Q4_K_M", "mainline")),
        ("mtp-gemma-4-E2B-it-draft-q4.gguf", FileName(Part.ASSISTANT, "gemma-4-E2B-it", "draft-q4", "mainline")),
        ("mtp-gemma-4-E2B-it-Q8_0-ik.gguf", FileName(Part.ASSISTANT, "gemma-4-E2B-it", "Q8_0", "ik")),
        ("mtp-x-BF16-atomic.gguf", FileName(Part.ASSISTANT, "x", "BF16", "atomic")),
    ],
)
def test_good_names(name: str, parts: FileName):
    assert parse_published(name) == parts
    assert not is_model(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gemma-4-E2B-it-assistant-Q8_0.gguf", "full model"),
        ("MTP-gemma-4-E2B-it-Q8_0.gguf", "full model"),
        ("gemma-4-E2B-it-Q8_0-MTP.gguf", "full model"),
        ("mtp-gemma-mmproj-Q8_0.gguf", "another kind"),
        ("mtp-gemma.Q8_0.gguf", "after a hyphen"),
        ("mtp-gemma-Q8_0.bin", "after a hyphen"),
        ("mtp-gemma-4-E2B-it.gguf", "after a hyphen"),
        ("mtp-gemma-4-E2B-it-final.gguf", "after a hyphen"),
    ],
)
def test_refused_names_say_why(name: str, reason: str):
    with pytest.raises(UsageError, match=reason):
        parse_published(name)


@pytest.mark.parametrize(
    ("names", "tag", "picked"),
    [
        (TARGETS, "Q8_0", "gemma-4-E2B-it-Q8_0.gguf"),
        (TARGETS, "q8_0", "gemma-4-E2B-it-Q8_0.gguf"),
        (TARGETS, "F16", "gemma-4-E2B-it-BF16.gguf"),  # so does llama.cpp
        (TARGETS, None, "gemma-4-E2B-it-Q4_K_M.gguf"),
        (TARGETS, "Q6_K", None),
        (["b-Q5_0.gguf", "a-Q6_K.gguf"], None, "b-Q5_0.gguf"),
        ([*DRAFTERS, *TARGETS], "BF16", "gemma-4-E2B-it-BF16.gguf"),
        (DRAFTERS, None, None),
        (SPLIT[::-1], "Q8_0", SPLIT[0]),
    ],
)
def test_the_model_that_llama_takes(names: list[str], tag: str | None, picked: str | None):
    assert pick_model(names, tag) == picked


@pytest.mark.parametrize(
    ("tag", "picked"), [("Q8_0", DRAFTERS[1]), ("bf16", DRAFTERS[0]), ("Q4_0", None), (None, None)]
)
def test_the_drafter_of_exactly_this_type(tag: str | None, picked: str | None):
    assert pick_drafter([*DRAFTERS, "MTP/mtp-x-Q4_0.gguf", *TARGETS], tag) == picked


def test_an_only_drafter_needs_no_type():
    assert pick_drafter(DRAFTERS[:1], None) == DRAFTERS[0]


def test_the_part_decides_and_a_miss_names_what_is_there():
    names = [*DRAFTERS, *TARGETS]
    assert pick_gguf("a/b", names, "Q8_0", Part.ASSISTANT) == DRAFTERS[1]
    assert pick_gguf("a/b", names, "Q8_0", Part.TARGET) == TARGETS[3]
    assert pick_gguf("a/b", ["gemma-assistant.Q8_0.gguf"], "Q8_0", Part.ASSISTANT) == "gemma-assistant.Q8_0.gguf"
    with pytest.raises(UsageError, match="no assistant of type Q4_0") as caught:
        pick_gguf("a/b", names, "Q4_0", Part.ASSISTANT)
    assert DRAFTERS[1] in caught.value.hint
    with pytest.raises(UsageError, match="name a type"):
        pick_gguf("a/b", DRAFTERS, None, Part.ASSISTANT)


def test_split_models():
    assert parts_of(SPLIT[0], SPLIT) == SPLIT
    assert parts_of(TARGETS[1], TARGETS) == TARGETS[1:2]
    with pytest.raises(EnvironmentProblem, match="1 of 3 parts"):
        parts_of(SPLIT[0], SPLIT[:2])
