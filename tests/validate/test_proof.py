"""Proof of origin: what was made of a source has its bytes, whoever made it; what was not is told by tensor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.followed_advice import advised, run
from helpers.imatrix_files import legacy_matrix
from helpers.llama_quantize import llama_quantize
from helpers.schemas import checked
from typer.testing import CliRunner

from gemma_mtp import quantize_model, verify_file
from gemma_mtp.cli.main import application
from gemma_mtp.convert import convert_dialect
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import UsageError
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.model.dialects import IK

Make = Callable[[str], Path]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory, assistant_gguf: Make) -> Path:
    """Q4_K_M by llama.cpp's own llama_model_quantize."""
    return llama_quantize(assistant_gguf("BF16"), tmp_path_factory.mktemp("theirs") / "theirs-Q4_K_M.gguf", 15)


def spoiled(path: Path, output: Path, tensor: str) -> Path:
    """A copy in which one byte of a tensor is another."""
    with GGUFFile(path) as file:
        span = file.span(file.tensors[tensor])
        position = span.offset
    data = bytearray(path.read_bytes())
    data[position + 7] ^= 1
    output.write_bytes(data)
    return output


def test_what_llama_cpp_made_of_the_16_bit_file_passes(theirs: Path, assistant_gguf: Make):
    report = verify_file(theirs, origin=assistant_gguf("BF16"))
    assert report.ok
    assert report.origin is not None
    assert report.origin.exact_type
    assert report.origin.unseen == ()
    assert report.origin.keys == ()
    assert {one.name for one in report.origin.tensors} == set(GGUFFile(theirs).__enter__().tensors)
    assert "has the bytes of Q4_K_M of" in report.verdict


def test_and_of_the_checkpoint(theirs: Path):
    report = verify_file(theirs, origin=PAIR / "assistant")
    assert report.ok
    assert report.origin is not None
    assert report.origin.holds


def test_every_part_and_type(target_gguf: Make):
    report = verify_file(target_gguf("Q8_0"), origin=PAIR / "target")
    assert report.ok
    assert report.origin is not None
    assert report.origin.exact_type


def test_another_byte_is_found(theirs: Path, assistant_gguf: Make, tmp_path: Path):
    bad = spoiled(theirs, tmp_path / "bad.gguf", "blk.1.ffn_up.weight")
    done = CliRunner().invoke(application(), ["verify", str(bad), "--from", str(assistant_gguf("BF16")), "--json"])
    found = checked(done.stdout)
    assert done.exit_code == 1
    assert [one["name"] for one in found["origin"]["tensors"] if one["wanted"] != one["found"]] == [
        "blk.1.ffn_up.weight"
    ]
    assert not found["origin"]["holds"]
    assert "1 of 49 tensors have other bytes (blk.1.ffn_up.weight)" in found["verdict"]


@pytest.mark.parametrize("kind", ["GGUF", "checkpoint"])
def test_the_advised_command_makes_the_file_anew(kind: str, theirs: Path, assistant_gguf: Make, tmp_path: Path):
    bad, source = spoiled(theirs, tmp_path / "bad.gguf", "blk.1.ffn_up.weight"), PAIR / "assistant"
    source = source if kind == "checkpoint" else assistant_gguf("BF16")
    (told,) = [result for result in verify_file(bad, origin=source).errors if result.id.startswith("origin")]
    (command,) = advised(told.finding.remedy)
    assert run(command, tmp_path).code == 0
    assert verify_file(tmp_path / "OUT.gguf", origin=source).ok


def test_another_source_is_no_source(theirs: Path, target_gguf: Make):
    report = verify_file(theirs, origin=target_gguf("BF16"))
    assert not report.ok
    assert report.origin is not None
    assert report.origin.missing
    assert report.origin.foreign


def test_types_of_its_own_are_said_to_be(assistant_gguf: Make, tmp_path: Path):
    """The bytes are the source's; the name is not a mix's. Our own overrides stand in the file, and are one."""
    mixed = llama_quantize(
        assistant_gguf("BF16"),
        tmp_path / "mixed.gguf",
        15,
        tensor_types={"blk.1.ffn_up": 8},  # Q8_0
    )
    report = verify_file(mixed, origin=assistant_gguf("BF16"))
    assert report.ok
    assert "Q4_K_M with types of its own" in report.verdict
    quantize_model(assistant_gguf("BF16"), "draft-q4", tmp_path / "own.gguf", overrides={"head": "Q8_0"})
    own = verify_file(tmp_path / "own.gguf", origin=assistant_gguf("BF16"))
    assert own.origin is not None
    assert own.origin.exact_type


def test_an_importance_matrix_counts(assistant_gguf: Make, tmp_path: Path):
    source = assistant_gguf("BF16")
    matrix = legacy_matrix(tmp_path / "x.imatrix", source)
    made = quantize_model(source, "Q4_K_M", tmp_path / "weighted.gguf", imatrix=matrix).outputs[0].path
    assert verify_file(made, origin=source, imatrix=matrix).ok
    with pytest.raises(UsageError, match="was made with an importance matrix") as caught:
        verify_file(made, origin=source)
    assert "--imatrix" in (caught.value.hint or "")
    plain = quantize_model(source, "Q4_K_M", tmp_path / "plain.gguf").outputs[0].path
    assert not verify_file(plain, origin=source, imatrix=matrix).ok


def test_another_dialect_has_other_names_and_the_same_bytes(assistant_gguf: Make, theirs: Path, tmp_path: Path):
    convert_dialect(theirs, tmp_path / "ik.gguf", IK)
    report = verify_file(tmp_path / "ik.gguf", origin=assistant_gguf("BF16"))
    assert report.origin is not None
    assert report.origin.different == []
    assert report.origin.holds
    assert any("dialect" in what for what in report.origin.unseen)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["TARGET", "IN", "--from", "IN"], "--from is for one file"),
        (["IN", "--imatrix", "x"], "--imatrix has no meaning without --from"),
        ([str(PAIR / "assistant"), "--from", "IN"], "only a GGUF can be compared"),
    ],
)
def test_what_cannot_be_meant(words: list[str], said: str, assistant_gguf: Make, target_gguf: Make):
    names = {"IN": str(assistant_gguf("BF16")), "TARGET": str(target_gguf("Q8_0"))}
    done = CliRunner().invoke(application(), ["verify", *(names.get(word, word) for word in words)])
    assert done.exit_code == 2
    assert said in done.output


def test_keys_that_differ_are_told(theirs: Path, assistant_gguf: Make, tmp_path: Path):
    words = ["edit", str(theirs), "-o", str(tmp_path / "named.gguf"), "--set", "general.name=another"]
    assert CliRunner().invoke(application(), words).exit_code == 0
    done = CliRunner().invoke(
        application(), ["verify", str(tmp_path / "named.gguf"), "--from", str(assistant_gguf("BF16")), "--json"]
    )
    assert done.exit_code == 0, "names are no weights"
    assert json.loads(done.stdout)["origin"]["keys"] == ["general.name"]
