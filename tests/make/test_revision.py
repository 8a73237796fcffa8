"""A step is taken again when the code that its result depends on is another, whatever the version says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import gemma_mtp
from gemma_mtp.make import Job, make, schedule, steps
from gemma_mtp.make.revision import LIBRARIES, ROOMS, code_revision, revision_of


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the program's source, to be changed as a test likes."""
    source = Path(gemma_mtp.__file__).parent
    return Path(shutil.copytree(source, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__", "pair")))


def revisions(package: Path) -> dict[str, str]:
    return {action: revision_of(package, action) for action in ROOMS}


@pytest.mark.parametrize(
    ("changed", "actions"),
    [
        ("quantize/rows.py", {"convert", "quantize", "respell", "verify"}),
        ("sources/tokenizer.py", {"convert", "respell", "verify"}),
        ("validate/checks/content.py", {"verify"}),
        ("ggml.py", {"convert", "quantize", "respell", "verify"}),
        ("serve/server.py", set()),
        ("cli/make.py", set()),
    ],
)
def test_a_change_of_the_source_is_one_of_the_actions_that_run_through_it(package: Path, changed: str, actions: set):
    before = revisions(package)
    with (package / changed).open("a") as file:
        file.write("\n# another\n")
    after = revisions(package)
    assert {action for action in ROOMS if after[action] != before[action]} == actions


def test_the_revision_is_that_of_the_installed_source(package: Path):
    code_revision.cache_clear()
    assert set(ROOMS) == set(steps.ACTIONS)
    assert revisions(package) == {action: code_revision(action) for action in ROOMS}
    (package / "convert" / "__pycache__").mkdir()
    (package / "convert" / "__pycache__" / "x.py").write_text("")
    assert revisions(package) == {action: code_revision(action) for action in ROOMS}


def test_another_library_is_another_revision(package: Path, monkeypatch: pytest.MonkeyPatch):
    from gemma_mtp.make import revision

    before = revisions(package)
    for library in LIBRARIES:
        monkeypatch.setattr(revision, "version", lambda name, other=library: "9" if name == other else "1")
        assert not set(revisions(package).values()) & set(before.values())


def test_steps_of_another_revision_are_taken_again(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    job = Job(str(checkpoint), ("BF16",), folder=tmp_path / "out")
    make(schedule(job))
    assert not any(schedule(job).reasons().values())
    monkeypatch.setattr(
        steps, "code_revision", lambda action: "f" * 16 if action == "convert" else code_revision(action)
    )
    reasons = schedule(job).reasons()
    assert [reason for step, reason in reasons.items() if step.startswith("convert")] == ["setting gemma-mtp changed"]
    make(schedule(job))
    assert not any(schedule(job).reasons().values())
