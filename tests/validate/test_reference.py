"""`verify --reference`: the demo pair beside the official implementation, and what the shares are taken for."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace

import pytest
from helpers.commands import command
from helpers.schemas import checked
from helpers.tiny_pairs import ASSISTANT, Model, changed

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import CheckpointError, MissingExtra, UsageError
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.validate import Status, verify_pair
from gemma_mtp.validate.comparison import ReferenceComparison
from gemma_mtp.validate.reference import judged, with_reference
from gemma_mtp.validate.run import RunOptions

CHECKPOINTS = (str(PAIR / "target"), str(PAIR / "assistant"))
CONTEXT = ContextSettings(512, threads=1)
FEW = RunOptions((("code", "def main():\n    for index in range("),), tokens=24)


def compared(target, assistant, checkpoints=CHECKPOINTS, options=FEW):
    report = verify_pair(target, assistant)
    return with_reference(report, target, assistant, checkpoints, context=CONTEXT, options=options)


def test_unquantized_files_draft_what_transformers_drafts(target_gguf, assistant_gguf):
    report = compared(target_gguf("BF16"), assistant_gguf("BF16"))
    finding = report.results[-1].finding
    assert report.results[-1].id == "reference"
    assert finding.status is Status.OK
    (one,) = report.to_dict()["reference"]
    assert one["kind"] == "code"
    assert one["rounds"] == one["equal"] + one["near_ties"] > 5
    assert 0 < one["difference"] < 0.2
    assert f"{one['equal']} of {one['rounds']} drafts equal" == finding.target


def test_other_checkpoints_are_noticed(target_gguf, assistant_gguf, tmp_path):
    """An assistant whose final norm is turned around drafts other tokens."""
    import torch
    from transformers import Gemma4AssistantForCausalLM

    model = Gemma4AssistantForCausalLM.from_pretrained(PAIR / "assistant", dtype=torch.float32)
    with torch.no_grad():
        model.model.norm.weight.neg_()
    model.save_pretrained(tmp_path)
    report = compared(target_gguf("BF16"), assistant_gguf("BF16"), (CHECKPOINTS[0], str(tmp_path)))
    finding = report.results[-1].finding
    assert finding.status is Status.ERROR
    assert "rounding does not explain that" in finding.message
    assert not report.ok


def test_no_checkpoint(target_gguf, assistant_gguf, tmp_path):
    folder = shutil.copytree(PAIR / "assistant", tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot load this checkpoint") as error:
        compared(target_gguf("BF16"), assistant_gguf("BF16"), (CHECKPOINTS[0], str(folder)))
    assert error.value.where == str(folder)


def test_pair_with_errors_is_not_loaded(good_pair, tmp_path):
    other = changed(Model(ASSISTANT), {"sliding_window": 32}).write(tmp_path / "other.gguf")
    report = compared(good_pair[0], other)
    assert report.results[-1].status is Status.SKIPPED


def test_without_the_extra(good_pair, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match="torch") as error:
        compared(*good_pair)
    assert "gemma-mtp[reference]" in error.value.hint


def test_checkpoints_instead_of_files():
    with pytest.raises(UsageError, match="a GGUF is needed"):
        compared(*CHECKPOINTS)


def test_command(target_gguf, assistant_gguf, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(FEW.prompts[0][1])
    options = ("--prompts", prompts, "-n", "8", "-c", "512", "--reference", *CHECKPOINTS, "--json")
    done = command("verify", target_gguf("BF16"), assistant_gguf("BF16"), *options)
    content = checked(done.stdout)
    assert done.returncode == 0
    assert content["run"] == []
    assert content["reference"][0]["kind"] == "prompt 1"


SOME = ReferenceComparison("code", 50, 40, 5, 0, 0.9, 120, 0.8)


@pytest.mark.parametrize(
    ("changes", "exact", "status", "says"),
    [
        ({"equal": 50, "near_ties": 0}, True, Status.OK, "100% of the drafts"),
        ({"equal": 40, "near_ties": 9}, True, Status.OK, "80% of the drafts are transformers'; 9 more are near-ties"),
        ({}, True, Status.ERROR, "rounding does not explain"),
        ({}, False, Status.OK, "5 others (by 0.900 at most)"),
        ({"equal": 15}, False, Status.WARNING, "quantization changes most"),
        ({"equal": 1, "near_ties": 1}, False, Status.ERROR, "quantization does not explain"),
        ({"equal": 42, "unscored": 3}, True, Status.WARNING, "3 are tokens that the official centroid head"),
    ],
)
def test_judged(changes, exact, status, says):
    finding = judged([replace(SOME, **changes)], exact)
    assert finding.status is status
    assert says in finding.message
    assert finding.remedy or status is Status.OK
