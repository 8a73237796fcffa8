"""Remedies of what decoding shows (`verify --run`, `--reference`), and of causes of failures, followed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.demo_files import remade
from helpers.followed_advice import ASSISTANT, FOLDER, TARGET, advised, run

from gemma_mtp import advice
from gemma_mtp.cli.main import COMMANDS
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.ggml import GGMLType
from gemma_mtp.native.causes import CAUSES
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.validate import verify_pair
from gemma_mtp.validate.comparison import Choice, Comparison, Job
from gemma_mtp.validate.run import RunOptions, with_run

#: `bench` as advised measures for minutes; these make it short, and nothing else.
SHORT = ["--draft-max", "1", "--tokens", "4", "--repeats", "1", "--category", "code", "-t", "1", "--no-auto", "--json"]
SAME = Comparison("code", 96, 10.0, 15.0, (30, 30), (20, 10))
FEW = RunOptions((("code", "def main():"),), tokens=4)


@pytest.fixture
def folder(tmp_path: Path, target_gguf, assistant_gguf) -> Path:
    folder = tmp_path / FOLDER
    folder.mkdir()
    shutil.copy(target_gguf("BF16"), folder / TARGET)
    shutil.copy(assistant_gguf("BF16"), folder / ASSISTANT)
    return folder


def little_accepted(job: Job) -> Iterator[Comparison]:
    """In the child: what a pair gives that fits badly."""
    yield replace(SAME, accepted_at=(10, 5))


def slower(job: Job) -> Iterator[Comparison]:
    """In the child: what a pair gives whose drafts cost too much."""
    yield replace(SAME, drafted_speed=5.0)


def another_text(job: Job) -> Iterator[Comparison]:
    """In the child: what a broken kernel gives."""
    yield replace(SAME, different_at=3, plain=Choice(7, 9.0, 9, 1.0, None), drafted=Choice(8, 9.0, 9, 1.0, None))


def death(job: Job) -> Iterator[Comparison]:
    """In the child: a crash of which nothing is known."""
    os.abort()
    yield


def found(folder: Path, monkeypatch: pytest.MonkeyPatch, child: str, check: str):
    """The finding of `verify --run` in `folder`, if its child does as `child` does."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    monkeypatch.setattr("gemma_mtp.validate.run.PROBE", f"{__name__}:{child}")
    pair = (TARGET, f"./{ASSISTANT}")
    report = with_run(verify_pair(*pair), *pair, context=ContextSettings(512, threads=1), options=FEW)
    return next(result.finding for result in report.results if result.id == check)


def test_little_is_accepted(folder: Path, monkeypatch: pytest.MonkeyPatch):
    finding = found(folder, monkeypatch, "little_accepted", "run-acceptance")
    (command,) = advised(finding.remedy)
    assert run([*command, *SHORT], folder).json["schema"] == "gemma-mtp bench"


def test_it_is_slower(folder: Path, monkeypatch: pytest.MonkeyPatch):
    finding = found(folder, monkeypatch, "slower", "run-speed")
    (command,) = advised(finding.message)
    assert run([*command, *SHORT], folder).json["schema"] == "gemma-mtp bench"


def test_the_text_differs(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (command,) = advised(found(folder, monkeypatch, "another_text", "run-code").remedy)
    assert run([*command, "--json"], folder).json["works"] is True


def test_an_unknown_death(folder: Path, monkeypatch: pytest.MonkeyPatch):
    for command in advised(found(folder, monkeypatch, "death", "run").remedy):
        done = run([*command, "--json"], folder)
        assert done.code == 0
        assert done.json.get("works", True) is True


def test_other_drafts_than_transformers(folder: Path):
    """The assistant's file holds other weights than its checkpoint: it has to be made anew."""
    pytest.importorskip("transformers")
    remade(
        folder / ASSISTANT, folder / "spoilt.gguf", None, {"nextn.pre_projection.weight": (GGMLType.F32, (256, 1024))}
    )
    originals = [folder / "target  original", folder / "it's the assistant"]
    for name, copy in zip(("target", "assistant"), originals, strict=True):
        shutil.copytree(PAIR / name, copy)
    (folder / "prompts.txt").write_text("def main():\n    for line in")
    options = ["-n", "12", "-c", "256", "--prompts", "prompts.txt", "--json"]
    options += ["--reference", *(original.name for original in originals)]

    def reference(assistant: str) -> dict:
        content = run(["verify", TARGET, assistant, *options], folder).json
        return next(one for one in content["checks"] if one["id"] == "reference")

    before = reference("spoilt.gguf")
    assert before["status"] == "error"
    (command,) = advised(before["remedy"])
    there = set(folder.iterdir())
    assert run(command, folder).code == 0
    (made,) = set(folder.iterdir()) - there
    assert reference(made.name)["status"] == "ok"


#: What a log says -> how the pair's files are at fault; the advised command must end that.
MASKED = {
    "masked_embd_centroids.weight": (GGMLType.F16, (2048, 256)),
    "masked_embd_ordering": (GGMLType.I32, (2048,)),
}


def masked(folder: Path) -> None:
    remade(folder / ASSISTANT, folder / advice.ASSISTANT, None, MASKED)


def in_dialect(dialect: str):
    return lambda folder: run(["convert", f"./{ASSISTANT}", "-o", advice.ASSISTANT, "--dialect", dialect], folder)


def as_it_was(folder: Path) -> None:
    shutil.copy(folder / ASSISTANT, folder / advice.ASSISTANT)


def without_width(folder: Path) -> None:
    remade(folder / ASSISTANT, folder / advice.ASSISTANT, {"gemma4-assistant.embedding_length_out": None})


def incomplete(folder: Path) -> None:
    remade(folder / ASSISTANT, folder / advice.ASSISTANT, None, {"blk.1.ffn_up.weight": None})


def cut_off(folder: Path) -> None:
    content = (folder / ASSISTANT).read_bytes()
    (folder / advice.ASSISTANT).write_bytes(content[:-1000])


#: Beginning of what a cause shows -> how its condition is built, and what each advised command must do there: make a
#: file that verifies ("makes"), say what is wrong ("names"), or work ("works").
FOLLOWED = {
    "vector::_M_range_check: __n (which is 0)": (masked, ("makes",)),
    "invalid vector subscript": (masked, ("names",)),
    "unknown model architecture: 'gemma4_assistant'": (in_dialect("atomic"), ("makes",)),
    "unknown model architecture: 'gemma4-assistant'": (as_it_was, ("makes ik",)),
    "unknown model architecture: '...'": (as_it_was, ("works",)),
    "n_layer_nextn must be": (without_width, ("makes",)),
    "requires embedding_length_out": (without_width, ("makes",)),
    "wrong number of tensors": (incomplete, ("names", "makes")),
    "missing tensor": (incomplete, ("names", "makes")),
    "tensor '...' data is not within": (cut_off, ("names",)),
    "Illegal instruction": (as_it_was, ("doctor",)),
    "Segmentation fault in ggml_backend_amx": (as_it_was, ("doctor",)),
}
NAMING = [cause for cause in CAUSES if "gemma-mtp " in cause.remedy]


def test_every_cause_with_a_command_is_followed():
    assert [cause.shown for cause in NAMING if not any(map(cause.shown.startswith, FOLLOWED))] == []
    assert len(NAMING) == len(FOLLOWED)


@pytest.mark.parametrize("cause", NAMING, ids=lambda cause: cause.shown[:30])
def test_following_a_cause(cause, folder: Path):
    """The log is explained, and the commands are run as they are printed, with the files under the names in them."""
    build, wanted = next(one for shown, one in FOLLOWED.items() if cause.shown.startswith(shown))
    (folder / "log.txt").write_text(f"llama_model_load: starting\nerror: {cause.shown}\n", encoding="utf-8")
    build(folder)
    shutil.copy(folder / TARGET, folder / advice.TARGET)
    shutil.copytree(PAIR / "assistant", folder / advice.CHECKPOINT)
    said = run(["explain", "log.txt", "--json"], folder).json["found"]
    commands = advised(said[0]["remedy"])
    assert commands == advised(run(["explain", "log.txt"], folder).out)
    assert len(commands) == len(wanted)
    for command, what in zip(commands, wanted, strict=True):
        assert command[0] in COMMANDS
        _follow(command, what, folder)


def _follow(command: list[str], what: str, folder: Path) -> None:
    if what == "doctor":
        assert run([*command, "--json"], folder).json["works"] is True
        return
    if "--hub" in command:  # there is no repo to compare with: that the file is cut off is said without one
        command = command[: command.index("--hub")]
    there = set(folder.iterdir())
    done = run(command, folder)
    assert done.code == (1 if what == "names" else 0), done.err
    if what.startswith("makes"):
        (made,) = set(folder.iterdir()) - there
        runtime = ["--runtime", "ik@2026-06-10"] if what == "makes ik" else []
        assert run(["verify", TARGET, made.name, *runtime], folder).code == 0
