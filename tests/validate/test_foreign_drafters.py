"""EAGLE3 heads and DSpark drafters: what verify says of random ones is what llama.cpp's loader does, and they draft."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from helpers.demo_files import remade
from helpers.followed_advice import advised, run
from helpers.foreign_drafters import dflash2, dspark, eagle3

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.part import Part
from gemma_mtp.sources.describe import inspect_model
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate import verify_file, verify_pair
from gemma_mtp.validate.findings import Status
from gemma_mtp.validate.verify import check_file

MAKE: dict[str, Callable[..., Path]] = {"eagle3": eagle3, "dspark": dspark}
TITLES = {"eagle3": "an EAGLE3 head", "dspark": "a DSpark block drafter"}
ARCHITECTURE = {"eagle3": "eagle3", "dspark": "dflash"}
F32 = GGMLType.F32


def layers(*numbers: int) -> gv.Value:
    return gv.array(ValueType.INT32, numbers)


#: Drafter, keys and tensors that are changed (None: left out), the check that tells it, and whether llama.cpp loads the
#: file all the same: what it then has of a target, or drafts, is another thing.
DAMAGES = [
    pytest.param("eagle3", {"target_layers": None}, {}, "assistant-keys", False, id="no target layers"),
    pytest.param("eagle3", {"target_layers": layers(0, 2)}, {}, "assistant-keys", False, id="two target layers"),
    pytest.param("eagle3", {"target_layers": layers(0, 2, 99)}, {}, "target-layers", True, id="a layer beyond"),
    pytest.param("eagle3", {"target_hidden_size": None}, {}, "assistant-keys", False, id="no width of the target"),
    pytest.param("eagle3", {"target_hidden_size": gv.u32(32)}, {}, "width", False, id="another target's width"),
    pytest.param("eagle3", {"block_count": gv.u32(2)}, {}, "assistant-keys", False, id="two layers"),
    pytest.param("eagle3", {"attention.layer_norm_rms_epsilon": None}, {}, "assistant-keys", False, id="no epsilon"),
    pytest.param("eagle3", {"norm_before_fc": gv.boolean(True)}, {}, "assistant-tensors", False, id="a norm too few"),
    pytest.param("eagle3", {}, {"fc.weight": None}, "assistant-tensors", False, id="no fc"),
    pytest.param("eagle3", {}, {"blk.0.attn_norm_2.weight": None}, "assistant-tensors", False, id="no second norm"),
    pytest.param("eagle3", {}, {"blk.0.attn_q.weight": (F32, (64, 64))}, "assistant-shapes", False, id="half of q"),
    pytest.param("eagle3", {}, {"output.weight": (F32, (99, 64))}, "assistant-shapes", False, id="a row too few"),
    pytest.param("eagle3", {}, {"token_embd.weight": None}, "borrowed", True, id="embeddings of another width"),
    pytest.param("eagle3", {}, {"blk.0.odd.weight": (F32, (4,))}, "assistant-extra", False, id="a tensor too many"),
    pytest.param("dspark", {"block_size": None}, {}, "assistant-keys", True, id="no block size"),
    pytest.param("dspark", {"target_layers": layers(1, 99)}, {}, "target-layers", True, id="a layer beyond "),
    pytest.param("dspark", {}, {"markov_w2.weight": None}, "assistant-tensors", False, id="half a Markov head"),
    pytest.param("dspark", {}, {"markov_w2.weight": (F32, (99, 8))}, "assistant-shapes", False, id="rows too few"),
    pytest.param("dspark", {}, {"conf_proj.weight": (F32, (1, 8))}, "assistant-shapes", False, id="confidence"),
    pytest.param("eagle3", {}, {"blk.0.rope_freqs.weight": (F32, (16,))}, "assistant-extra", False, id="odd factors"),
    pytest.param("eagle3", {}, {"rope_freqs.weight": (F32, (15,))}, "assistant-shapes", False, id="factors too few"),
    pytest.param("eagle3", {}, {"output.weight": None}, "assistant-tensors", True, id="no head for its tokens"),
    pytest.param(
        *("dspark", {"block_size": gv.u32(1), "sample_from_anchor": gv.boolean(False)}, {}, "block-size", True),
        id="no room in a block",
    ),
    pytest.param("dspark", {"hidden_activation": gv.string("relu")}, {}, "assistant-keys", False, id="activation"),
    pytest.param("dspark", {"tokenizer.ggml.mask_token_id": None}, {}, "mask-token", True, id="no mask"),
    pytest.param("dspark", {}, {"enc.output_norm.weight": None}, "assistant-tensors", False, id="no norm"),
]


USUAL = {"attention.key_length": None, "attention.value_length": None}
#: The same of files that are sound.
VARIANTS = [
    pytest.param("eagle3", {}, {"rope_freqs.weight": (F32, (16,))}, id="rope factors"),
    pytest.param("eagle3", {"norm_before_fc": gv.boolean(True)}, {"enc.output_norm.weight": (F32, (1536,))}, id="norm"),
    pytest.param("eagle3", USUAL, {}, id="usual widths"),
    pytest.param("eagle3", {**USUAL, "attention.head_count": layers(2)}, {}, id="usual widths, heads of each layer"),
    pytest.param("eagle3", {"rope.freq_base": None}, {}, id="usual rope"),
    pytest.param("dspark", {"sample_from_anchor": gv.boolean(False)}, {}, id="not from the anchor"),
    pytest.param("dspark", {"sample_from_anchor": None, "has_confidence_head": None}, {}, id="usual heads"),
    pytest.param("dspark", {"hidden_activation": gv.string("gelu_pytorch_tanh")}, {}, id="a Gemma's activation"),
    pytest.param("dspark", {"block_size": gv.u32(1)}, {}, id="one draft"),
    pytest.param("dspark", {}, {"blk.0.attn_sinks.weight": (F32, (2,)), "rope_freqs.weight": (F32, (16,))}, id="sinks"),
]


def in_full(kind: str, keys: dict[str, Any]) -> dict[str, Any]:
    """The names of keys with their architecture, if they are no tokenizer's."""
    prefix = {name: "" if name.startswith("tokenizer.") else f"{ARCHITECTURE[kind]}." for name in keys}
    return {prefix[name] + name: value for name, value in keys.items()}


@pytest.fixture(scope="module")
def files(target_gguf, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], Path]:
    """By drafter, and whether it has what it may have of its own."""
    folder = tmp_path_factory.mktemp("foreign")
    return {
        (kind, own): make(target_gguf("BF16"), folder / f"{kind}-{own}.gguf", own=own)
        for kind, make in MAKE.items()
        for own in (True, False)
    }


def loads(path: Path) -> bool:
    return load(path)[0]


def load(*paths: Path) -> list[bool]:
    pytest.importorskip("llama_cpp")
    from helpers.load_many import MODEL, judged

    from gemma_mtp.native.llama import LOG, Model

    LOG.echo = None
    return judged([str(path) for path in paths], lambda name: Model(Path(name), MODEL).close())


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("kind", MAKE)
def test_sound_ones_are_sound_and_load(files, target_gguf, kind: str, own: bool):
    report = verify_pair(target_gguf("BF16"), files[kind, own], strict=True)
    assert report.ok, [result.finding.message for result in (*report.errors, *report.warnings)]
    assert report.memory is None  # what they take was not measured
    assert verify_file(files[kind, own]).ok
    assert loads(files[kind, own])


@pytest.mark.parametrize(("kind", "keys", "tensors", "check", "loaded"), DAMAGES)
def test_each_fault_is_told_by_its_check(
    files, target_gguf, tmp_path, kind: str, keys: dict[str, Any], tensors: dict[str, Any], check: str, loaded: bool
):
    named = in_full(kind, keys)
    odd = remade(files[kind, True], tmp_path / "odd.gguf", named, tensors)
    assert check in {result.id for result in verify_pair(target_gguf("BF16"), odd).errors}
    assert loads(odd) is loaded


@pytest.mark.parametrize(("kind", "keys", "tensors"), VARIANTS)
def test_what_may_be_is_sound_and_loads(files, target_gguf, tmp_path, kind: str, keys: dict, tensors: dict):
    other = remade(files[kind, True], tmp_path / "other.gguf", in_full(kind, keys), tensors)
    report = verify_pair(target_gguf("BF16"), other, strict=True)
    assert report.ok, [result.finding.message for result in (*report.errors, *report.warnings)]
    assert loads(other)


#: Tensors without which llama.cpp loads a file and takes the target's, and a table of which it reads what it needs.
LOADED = {("eagle3", "token_embd.weight", "gone"), ("eagle3", "output.weight", "gone"),
          ("eagle3", "token_embd.weight", "longer")}  # fmt: skip


@pytest.mark.parametrize("kind", MAKE)
def test_of_every_tensor_verify_says_what_the_loader_says(files, target_gguf, tmp_path, kind: str):
    """Each left out, and each with a row too many."""
    with GGUFFile(files[kind, True]) as file:
        shapes = {name: one.shape for name, one in file.tensors.items() if one.type is F32}
    changes = {(kind, name, "gone"): {name: None} for name in shapes}
    changes |= {(kind, name, "longer"): {name: (F32, (rows + 1, *rest))} for name, (rows, *rest) in shapes.items()}
    odd = [
        remade(files[kind, True], tmp_path / f"{number}.gguf", {}, change)
        for number, change in enumerate(changes.values())
    ]
    said = [verify_pair(target_gguf("BF16"), path).ok for path in odd]
    found = load(*odd)
    assert {change for change, one, other in zip(changes, said, found, strict=True) if one is not other} == {
        change for change in LOADED if change[0] == kind
    }
    assert not any(one and not other for one, other in zip(said, found, strict=True))


@pytest.mark.parametrize(
    ("says", "has", "status", "word"),
    [
        (None, True, Status.OK, ""),
        (False, True, Status.NOTE, "llama.cpp stops"),
        (False, False, Status.NOTE, "llama.cpp stops"),
        (None, False, Status.WARNING, "no confidence"),
    ],
)
def test_what_judges_drafts(files, tmp_path, says: bool | None, has: bool, status: Status, word: str):
    said = None if says is None else gv.boolean(says)
    gone = {} if has else {"conf_proj.weight": None, "conf_proj.bias": None}
    odd = remade(files["dspark", True], tmp_path / "odd.gguf", {"dflash.has_confidence_head": said}, gone)
    (found,) = (result.finding for result in verify_file(odd).results if result.id == "confidence")
    assert found.status is status
    assert word in found.message


#: Keys, and values of which most are none of theirs.
KEYS = (
    *("target_layers", "block_count", "embedding_length", "attention.head_count", "attention.head_count_kv"),
    *("attention.key_length", "feed_forward_length", "target_hidden_size", "norm_before_fc", "block_size"),
)
VALUES = (
    *(gv.u32(number) for number in (0, 1, 2**32 - 1)),
    *(layers(*numbers) for numbers in ((), (1, 2, 3), (-1, 0, 2**31 - 1))),
    *(None, gv.string("x"), gv.f32(float("nan")), gv.boolean(True), gv.array(ValueType.FLOAT32, [1.0])),
)


@pytest.mark.parametrize("kind", MAKE)
def test_any_value_gets_a_verdict(files, target_gguf, tmp_path, kind: str):
    for key, value in product(KEYS, VALUES):
        odd = remade(files[kind, True], tmp_path / "odd.gguf", {f"{ARCHITECTURE[kind]}.{key}": value})
        assert verify_pair(target_gguf("BF16"), odd).verdict


@pytest.mark.parametrize(
    ("ids", "said", "column"),
    [
        ([5, 2048], "names token 2048, the vocabulary ends at 2,047", "2048"),
        ([-1, 5], "names token -1", "-1"),
        ([5, 5], "has a token twice", "100"),
    ],
)
def test_tokens_that_it_cannot_draft(files, target_gguf, tmp_path, ids: list[int], said: str, column: str):
    odd = eagle3(target_gguf("BF16"), tmp_path / "odd.gguf", ids=[*ids, *range(10, 108)])
    (found,) = verify_pair(target_gguf("BF16"), odd).errors
    assert found.id == "draft-tokens"
    assert said in found.finding.message
    assert (found.finding.target, found.finding.assistant) == ("", column)


def drafted_rows(bench: list[str], folder: Path) -> list[dict[str, Any]]:
    few = ("--category", "code", "-n", "8", "-r", "1", "-t", "1", "--ctx", "512", "--json")
    return [row for row in run([*bench, *few], folder).json["rows"] if row["draft"]]


@pytest.mark.parametrize("kind", MAKE)
def test_whoever_would_do_more_is_told_what_can_be_done(files, target_gguf, tmp_path, kind: str):
    """Both commands that are named work: random weights guess nothing, and the text is the target's."""
    pytest.importorskip("xllamacpp")
    path = files[kind, True]
    with open_model(path, Part.ASSISTANT) as side:
        (error,) = check_file(side).errors
    assert TITLES[kind] in error.finding.message
    assert TITLES[kind] in inspect_model(path).note
    (tmp_path / "TARGET.gguf").symlink_to(target_gguf("BF16"))
    verify, bench = advised(error.finding.remedy)
    assert run(verify, tmp_path).code == 0
    rows = drafted_rows(bench, tmp_path)
    assert {row["method"] for row in rows} == {kind}
    assert all(row["drafted"] > 0 and row["identical"] for row in rows)


def test_a_successor_is_told_by_its_name_and_measured(target_gguf, tmp_path):
    """llama.cpp loads it and drafts with it, which the remedy's command shows."""
    path = dflash2(target_gguf("BF16"), tmp_path / "dflash2.gguf")
    assert loads(path)
    pytest.importorskip("xllamacpp")
    (error,) = verify_pair(target_gguf("BF16"), path).errors
    assert "DFlash2" in error.finding.message
    (tmp_path / "TARGET.gguf").symlink_to(target_gguf("BF16"))
    (bench,) = advised(error.finding.remedy)
    rows = drafted_rows(bench, tmp_path)
    assert rows
    assert all(row["drafted"] > 0 and row["identical"] for row in rows)
    few = ("-p", "def", "-n", "4", "-c", "256", "-t", "1")
    python, cpp = (run(["run", "TARGET.gguf", str(path), *few, "--engine", one], tmp_path) for one in ("python", "cpp"))
    assert "DFlash2" in python.err
    assert (python.code, cpp.code) == (1, 0), python.err + cpp.err
