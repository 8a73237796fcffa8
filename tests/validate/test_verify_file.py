"""One file is verified alone: the checks that need no other, its part found out; and a pair in one call."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.commands import command
from helpers.tiny_pairs import ASSISTANT, TARGET, Model

from gemma_mtp.convert import convert_dialect
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.model.dialects import IK
from gemma_mtp.model.part import Part
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.validate import Status, parse_host, verify_file, verify_pair
from gemma_mtp.validate.checks import CHECKS, FileCheck, PairCheck, of_file
from gemma_mtp.validate.comparison import Comparison
from gemma_mtp.validate.run import RunOptions


def verified(*words: object) -> subprocess.CompletedProcess[str]:
    return command("verify", *words)


def ids(report) -> set[str]:
    return {result.id for result in report.results}


def test_every_check_is_of_one_or_of_two():
    assert {type(check) for check in CHECKS} == {FileCheck, PairCheck}
    singles = [check for check in CHECKS if isinstance(check, FileCheck)]
    assert sorted(check.id for part in Part for check in of_file(part)) == sorted(check.id for check in singles)


@pytest.mark.parametrize("part", list(Part))
def test_the_part_is_found_out(part: Part, good_pair):
    report = verify_file(good_pair[part is Part.ASSISTANT])
    assert report.part is part
    assert report.ok
    assert report.verdict == f"This {part} is sound."
    assert ids(report) == {"parts", *(check.id for check in of_file(part))}


@pytest.mark.parametrize("part", list(Part))
def test_a_checkpoint_alone(part: Part):
    report = verify_file(PAIR / str(part))
    assert (report.ok, report.part) == (True, part)
    assert "a checkpoint, seen as the GGUF" in report.notes[0]


def test_a_fault_of_one_file_is_found_alone(tmp_path: Path):
    wide = replace(ASSISTANT, backbone=ASSISTANT.hidden)
    report = verify_file(Model(wide).write(tmp_path / "a.gguf"))
    assert [result.id for result in report.errors] == ["own-width"]
    assert report.verdict.startswith("This assistant will not work: ")


def test_a_target_without_donor_layers(tmp_path: Path):
    """It is a good model, but no assistant can attach to it."""
    odd = replace(TARGET, sliding=(True, False, False, True))
    assert [result.id for result in verify_file(Model(odd).write(tmp_path / "t.gguf")).errors] == ["donor-layers"]


def test_meant_as_what_it_is_not(good_pair):
    report = verify_file(good_pair[0], Part.ASSISTANT)
    assert [(result.id, result.status) for result in report.results] == [("parts", Status.ERROR)]


def test_neither_target_nor_assistant(tmp_path: Path):
    other = Model(ASSISTANT, keys={"general.architecture": gv.string("llama")}).write(tmp_path / "x.gguf")
    report = verify_file(other)
    assert not report.ok
    assert "llama model" in report.verdict


def test_the_host_matters(assistant_gguf, tmp_path: Path):
    respelled = tmp_path / "ik.gguf"
    convert_dialect(assistant_gguf("Q8_0"), respelled, IK)
    assert [result.id for result in verify_file(respelled).errors] == ["dialect"]
    report = verify_file(respelled, host=parse_host("ik_llama.cpp@2026-08-01", "--no-such-option 3"))
    assert report.ok
    assert "--no-such-option" in next(result.finding.message for result in report.results if result.id == "settings")


def test_the_command(good_pair):
    target, assistant = good_pair
    for place in (target, assistant):
        done = verified(place)
        assert done.returncode == 0, done.stderr
        assert "is sound" in done.stdout
    content = json.loads(verified(assistant, "--json").stdout)
    assert (content["part"], content["memory"], content["run"]) == ("assistant", None, [])
    table = verified(assistant, "--all").stdout
    assert " target" not in table.splitlines()[1]
    assert json.loads(verified(target, assistant, "--json").stdout)["part"] is None


def test_a_bad_file_has_exit_code_1(tmp_path: Path):
    path = Model(ASSISTANT, keys={"gemma4-assistant.embedding_length_out": None}).write(tmp_path / "a.gguf")
    done = verified(path)
    assert done.returncode == 1
    assert "what to do: " in done.stdout


@pytest.mark.parametrize("option", [("--run",), ("--reference", "a", "b")])
def test_one_file_cannot_draft(option: tuple[str, ...], good_pair):
    done = verified(good_pair[1], *option)
    assert done.returncode == 2
    assert "name the target, then the assistant" in done.stderr


def test_a_pair_is_run_in_the_same_call(good_pair):
    options = RunOptions((("code", "def main():\n"),), tokens=6)
    report = verify_pair(*good_pair, run=options, context=ContextSettings(512, threads=1))
    (comparison,) = report.run
    assert isinstance(comparison, Comparison)
    assert (comparison.kind, comparison.tokens) == ("code", 6)
    assert report.to_dict()["run"] == [comparison.to_dict()]
    assert "run-acceptance" in ids(report)


def test_places_that_cannot_be_run_are_refused(tmp_path: Path, good_pair):
    with pytest.raises(UsageError, match="a GGUF is needed"):
        verify_pair(PAIR / "target", PAIR / "assistant", run=RunOptions())
