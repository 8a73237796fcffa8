"""The workflows and issue templates are readable, call what exists, and trust nobody with more than they need."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import check_release

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [path for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]
FIELDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def read(path: Path) -> dict[Any, Any]:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_thin_and_ask_for_little(path: Path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert True in workflow, "`on`, which YAML reads as true"
    for step in steps(workflow):
        assert "\n" not in step.get("run", ""), "what is longer than a line belongs into the Makefile or tools/"
        assert not re.search(r"secrets\.", str(step))
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_commits_and_jobs_end(path: Path):
    """A tag can be moved to other code. The version stands behind the commit, where Dependabot finds it."""
    for line in re.findall(r"^.*\buses: .*$", path.read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)
    assert all("timeout-minutes" in job for job in read(path)["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_workflows_call_exists(path: Path):
    rules = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    nox = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    for command in (step["run"] for step in steps(read(path)) if "run" in step):
        for target in re.findall(r"^make (\w+)", command):
            assert target in rules
        for script in re.findall(r"(?:bash|python) ([\w./]+(?:\.py|/run))", command):
            assert (ROOT / script).is_file()
        for session, version in re.findall(r'--session "?(\w+)-([\d.]*)', command):
            assert f"def {session}(" in nox
            assert not version or f'"{version}"' in nox


def test_only_publishing_may_sign():
    jobs = read(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["needs"] == "build"
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]
    assert not [step for step in jobs["publish"]["steps"] if "run" in step], "nothing of ours runs where it can sign"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_forms(path: Path):
    form = read(path)
    assert form["name"]
    assert form["description"]
    fields = form["body"]
    assert {field["type"] for field in fields} <= FIELDS
    names = [field["id"] for field in fields if field["type"] != "markdown"]
    assert len(names) == len(set(names))
    assert all(field["attributes"].get("label") for field in fields if field["type"] != "markdown")


@pytest.mark.parametrize("name", ["pair.yml", "bug.yml"])
def test_who_reports_a_fault_is_asked_what_is_installed_and_what_verify_says(name: str):
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / name).read_text(encoding="utf-8")
    assert "gemma-mtp doctor --json" in text
    assert re.search(r"gemma-mtp verify .*--json", text)


@pytest.mark.parametrize(
    ("tag", "changes", "words"),
    [
        ("v1.2.3", "## [1.2.3] - 2026-12-01\n\nTested with llama.cpp b1.\n", ""),
        ("1.2.3", "## [1.2.3] - 2026-12-01\n\nTested with llama.cpp b1.\n", "the tag is 1.2.3"),
        ("v1.2.4", "## [1.2.4] - 2026-12-01\n\nTested with llama.cpp b1.\n", "version is 1.2.3"),
        ("v1.2.3", "## [1.2.3] - not released\n\nTested with llama.cpp b1.\n", "has no line"),
        ("v1.2.3", "## [1.2.3] - 2026-12-01\n\n## [1.2.2] - 2026-11-01\n\nTested with b1.\n", "which llama.cpp"),
    ],
)
def test_a_release_is_checked(tag: str, changes: str, words: str, tmp_path: Path):
    (tmp_path / "gemma_mtp").mkdir()
    (tmp_path / "gemma_mtp" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(changes)
    found = check_release.fault(tag, tmp_path)
    assert words in found
    assert bool(words) == bool(found)
