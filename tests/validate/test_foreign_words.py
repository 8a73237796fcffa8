"""What the checks of EAGLE3 heads and DSpark drafters (and with them of DFlash ones) say, word for word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from helpers.demo_files import remade
from helpers.foreign_drafters import dspark, eagle3
from helpers.tiny_pairs import TARGET, Model

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.ggml import GGMLType
from gemma_mtp.validate import Report, Status, verify_pair

MAKE: dict[str, Callable[..., Path]] = {"eagle3": eagle3, "dspark": dspark}
OTHER, AGAIN = "use the drafter that was trained for this target", "convert the drafter's checkpoint again"
COMPARE = f"compare them with the checkpoint's; {AGAIN}"
MAKERS = "take the file of the drafter's maker, or convert its checkpoint"
MASK, SCALE = "tokenizer.ggml.mask_token_id", "dflash.embedding_scale"


Tensors = dict[str, tuple[GGMLType, tuple[int, ...]] | None]


def without(*names: str) -> Tensors:
    return dict.fromkeys(names)


def layers(*numbers: int) -> gv.Value:
    return gv.array(ValueType.INT32, numbers)


def window(length: int) -> dict[str, gv.Value]:
    """Of the first layer alone."""
    flags = gv.array(ValueType.BOOL, [True, False])
    return {"dflash.attention.sliding_window": gv.u32(length), "dflash.attention.sliding_window_pattern": flags}


@dataclass(frozen=True)
class Said:
    """Of a drafter's check: what it says, the columns of target and assistant; and what is changed in the file."""

    kind: str
    check: str
    message: str
    columns: tuple[str, str]
    keys: dict[str, gv.Value | None] = field(default_factory=dict)
    tensors: Tensors = field(default_factory=dict)
    status: Status = Status.ERROR
    remedy: str = AGAIN


CASES = (
    Said(
        "eagle3",
        "target-layers",
        "the head reads layer 4, the target has 3; llama.cpp aborts with `target layer id 4 exceeds target n_layer 3`",
        ("3 layers", "0, 4, 5"),
        {"eagle3.target_layers": layers(0, 4, 5)},
        remedy=OTHER,
    ),
    Said(
        "eagle3",
        "width",
        "this head reads rows of 32 numbers (eagle3.target_hidden_size), the target's have 512; llama.cpp hands it "
        "foreign memory",
        ("512", "32"),
        {"eagle3.target_hidden_size": gv.u32(32)},
        remedy=OTHER,
    ),
    *(
        Said(
            "eagle3",
            "borrowed",
            f"the head has no {missing}, for which llama.cpp takes the target's: of width 512, where the head's is 64",
            ("512", "64"),
            tensors=tensors,
        )
        for missing, tensors in (
            ("token_embd.weight", without("token_embd.weight")),
            ("output.weight", without("output.weight", "d2t")),
            ("token_embd.weight and no output.weight", without("token_embd.weight", "output.weight", "d2t")),
        )
    ),
    Said(
        "eagle3",
        "layer-order",
        "the target layers 0, 3, 3 do not ascend",
        ("", "0, 3, 3"),
        {"eagle3.target_layers": layers(0, 3, 3)},
        status=Status.WARNING,
        remedy=COMPARE,
    ),
    *(
        Said(
            "dspark",
            "target-layers",
            f"the drafter reads the output of layer {read}, the target's last is 2, which is no layer's input; "
            "llama.cpp aborts with `layer input tensor is null`, or earlier",
            ("3 layers", f"0, {read}"),
            {"dflash.target_layers": layers(1, read + 1)},
            remedy=OTHER,
        )
        for read in (2, 3, 98)
    ),
    Said(
        "dspark",
        "layer-order",
        "the target layers 1, 0 do not ascend",
        ("", "1, 0"),
        {"dflash.target_layers": layers(2, 1)},
        status=Status.WARNING,
        remedy=COMPARE,
    ),
    Said(
        "dspark",
        "features",
        "fc.weight takes 1,024 numbers; 1 target layers of width 512 have 512: target_layers is wrong, or the tensor",
        ("", "1 x 512 = 512"),
        {"dflash.target_layers": layers(1)},
    ),
    *(
        Said(
            "dspark",
            "mask-token",
            f"{MASK} is {told}: llama.cpp would fill its blocks with a token that does not exist",
            ("", column),
            {MASK: value},
        )
        for told, column, value in (("missing", "none", None), ("2048", "2048", gv.u32(2048)))
    ),
    Said(
        "dspark",
        "block-size",
        "block_size is 1: there is no room for a draft",
        ("", "1"),
        {"dflash.block_size": gv.u32(1), "dflash.sample_from_anchor": gv.boolean(False)},
    ),
    Said(
        "dspark",
        "window",
        "the drafter's window of 4 is shorter than its block of 5",
        ("64", "4"),
        window(4),
    ),
    *(
        Said(
            "dspark",
            "embedding-scale",
            f"{SCALE} is {said}: llama.cpp takes 1, so the tokens of a block are too small beside what the drafter "
            "computes of them. What that costs such a drafter was not measured, and nothing here writes its files",
            ("22.63", column),
            {SCALE: value},
            status=Status.NOTE,
            remedy="",
        )
        for said, column, value in (("missing", "none", None), ("0", "0", gv.f32(0.0)))
    ),
    Said(
        "dspark",
        "embedding-scale",
        "the drafter has embeddings of its own: whether they are scaled, its checkpoint knows",
        ("22.63", "2"),
        {SCALE: gv.f32(2.0)},
        {"token_embd.weight": (GGMLType.F32, (2048, 512))},
        Status.NOTE,
        "",
    ),
    Said(
        "dspark",
        "embedding-scale",
        f"{SCALE} says that the embeddings are not scaled: drafters in RedHatAI's layout are trained so; of others the "
        "file would be wrong",
        ("22.63", "1"),
        {SCALE: gv.f32(1.0)},
        status=Status.NOTE,
        remedy="",
    ),
    Said(
        "dspark",
        "embedding-scale",
        f"{SCALE} is 22.66, not 22.63: the tokens of a block have another size than in training",
        ("22.63", "22.66"),
        {SCALE: gv.f32(512**0.5 * 1.0015)},
        status=Status.WARNING,
        remedy=MAKERS,
    ),
    Said(
        "dspark",
        "confidence",
        "dflash.has_confidence_head says that there is no confidence head: llama.cpp stops at it where "
        "--spec-draft-p-min is above 0",
        ("", "none"),
        {"dflash.has_confidence_head": gv.boolean(False)},
        status=Status.NOTE,
        remedy="",
    ),
    Said(
        "dspark",
        "confidence",
        "there is no conf_proj.weight, and dflash.has_confidence_head does not say so: where --spec-draft-p-min is "
        "above 0, llama.cpp cuts drafts by numbers that are no confidence",
        ("", "none"),
        tensors=without("conf_proj.weight", "conf_proj.bias"),
        status=Status.WARNING,
        remedy=f"draft with --spec-draft-p-min 0, or {AGAIN}",
    ),
)
#: Drafter, whether with what it may have of its own -> check -> the columns of a sound one.
SOUND = {
    ("eagle3", True): {
        "features": ("", "3 x 512 = 1536"),
        "layer-order": ("", "0, 2, 3"),
        "embeddings": ("", "its own token_embd.weight and output.weight, for 100 tokens"),
        "draft-tokens": ("", "100 of 2,048"),
        "width": ("512", "512"),
        "borrowed": ("", "all of its own"),
        "target-layers": ("3 layers", "0, 2, 3"),
    },
    ("eagle3", False): {"embeddings": ("", "the target's"), "borrowed": ("512", "512")},
    ("dspark", True): {
        "block-size": ("", "5: up to 5 drafts a round"),
        "features": ("", "2 x 512 = 1024"),
        "layer-order": ("", "0, 1"),
        "mask-token": ("", "4"),
        "embeddings": ("", "the target's"),
        "width": ("512", "512"),
        "target-layers": ("3 layers", "0, 1"),
        "window": ("64", "none: all layers see everything"),
        "embedding-scale": ("22.63", "22.63"),
        "confidence": ("", "its own"),
    },
}
#: Drafter, check, what is changed: at the edge, and still sound -> the columns.
EDGES = [
    ("dspark", "mask-token", {MASK: gv.u32(0)}, {}, ("", "0")),
    ("dspark", "mask-token", {MASK: gv.u32(2047)}, {}, ("", "2047")),
    ("dspark", "window", window(5), {}, ("64", "5")),
    ("dspark", "embedding-scale", {SCALE: gv.f32(512**0.5 * 1.0009)}, {}, ("22.63", "22.65")),
    ("dspark", "target-layers", {"dflash.target_layers": layers(1, 2)}, {}, ("3 layers", "0, 1")),
    ("eagle3", "embeddings", {}, without("output.weight", "d2t"), ("", "its own token_embd.weight")),
]


@pytest.fixture
def verify(target_gguf, tmp_path: Path) -> Callable[..., Report]:
    """`verify(kind, keys, tensors)`: the report on a drafter of this kind with other keys and tensors."""

    def run(kind: str, keys: dict[str, Any] | None = None, tensors: Tensors | None = None, own: bool = True) -> Report:
        drafter = MAKE[kind](target_gguf("BF16"), tmp_path / "drafter.gguf", own=own)
        return verify_pair(target_gguf("BF16"), remade(drafter, tmp_path / "odd.gguf", keys, tensors))

    return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.check}")
def test_what_is_said(case: Said, verify: Callable[..., Report]):
    report = verify(case.kind, case.keys, case.tensors)
    (found,) = (one.finding for one in report.results if one.id == case.check)
    assert (found.status, found.message, found.remedy) == (case.status, case.message, case.remedy)
    assert (found.target, found.assistant) == case.columns


@pytest.mark.parametrize(("kind", "own"), SOUND)
def test_a_sound_one(kind: str, own: bool, verify: Callable[..., Report]):
    wanted, found = SOUND[kind, own], {one.id: one.finding for one in verify(kind, own=own).results}
    assert {name: found[name].status for name in wanted} == dict.fromkeys(wanted, Status.OK)
    assert {name: (found[name].target, found[name].assistant) for name in wanted} == wanted


@pytest.mark.parametrize(("kind", "check", "keys", "tensors", "columns"), EDGES)
def test_at_the_edge(
    kind: str,
    check: str,
    keys: dict[str, gv.Value],
    tensors: Tensors,
    columns: tuple[str, str],
    verify: Callable[..., Report],
):
    (found,) = (one.finding for one in verify(kind, keys, tensors).results if one.id == check)
    assert (found.status, found.target, found.assistant) == (Status.OK, *columns)


def test_another_targets_drafter(target_gguf, tmp_path: Path):
    drafter = dspark(target_gguf("BF16"), tmp_path / "drafter.gguf")
    report = verify_pair(Model(TARGET).write(tmp_path / "target.gguf"), drafter)
    (found,) = (one.finding for one in report.errors if one.id == "width")
    assert found.message == (
        "this drafter is for a target of width 512, the target's is 96; llama.cpp reads foreign memory"
    )
    assert (found.remedy, found.target, found.assistant) == (OTHER, "96", "512")
