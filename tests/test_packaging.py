"""What is packed, and with which versions it was tested: pyproject.toml, requirements-dev.txt, CHANGELOG.md agree."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gemma_mtp
from tools import try_wheel

if sys.version_info < (3, 11):
    import tomli as tomllib
else:
    import tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")


def wanted() -> list[Requirement]:
    """What the package and its tests ask for by name. The site's packages are not locked; extras stand in the lists."""
    extras = {name: texts for name, texts in PROJECT["optional-dependencies"].items() if name != "docs"}
    groups = [PROJECT["dependencies"], *extras.values()]
    found = [Requirement(text) for group in groups for text in group]
    return [one for one in found if one.name != PROJECT["name"]]


def locked() -> dict[str, set[str]]:
    """Package -> its versions, of which there are several where Python's versions differ."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK, re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def in_lock(one: Requirement) -> bool:
    """Whether it is for the Pythons of the lock (3.11 and later)."""
    return one.marker is None or one.marker.evaluate({"python_version": "3.11", "python_full_version": "3.11.0"})


@pytest.mark.parametrize("one", [one for one in wanted() if in_lock(one)], ids=str)
def test_the_lock_has_what_is_asked_for(one: Requirement):
    versions = locked().get(canonicalize_name(one.name), set())
    assert versions, f"{one.name} is not in requirements-dev.txt: make lock"
    assert all(one.specifier.contains(version, prereleases=True) for version in versions)


def test_the_lock_names_no_index():
    """It is everybody's, whichever index they install from."""
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", LOCK)


def test_the_wheels_content_is_there():
    """What tools/try_wheel.py wants of a wheel exists here, so that a change of names shows before one is built."""
    home = Path(gemma_mtp.__file__).parents[1]  # this folder, unless the package is an installed one
    assert [name for name in try_wheel.CONTENT if not (home / name).is_file()] == []
    assert [name for name in try_wheel.SOURCES if not (ROOT / name).is_file()] == []
    pair = home / try_wheel.PAIR
    assert sum(path.stat().st_size for path in pair.rglob("*") if path.is_file()) < try_wheel.LIMIT


def test_names_that_the_tool_knows_are_those_of_the_readme():
    """A file or word in its tables that README no longer has would hide a line that is not tried."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in (*try_wheel.NOT_TYPED, *try_wheel.NEED_RUNTIME, *try_wheel.BEFORE):
        assert name in readme
    for name in try_wheel.MADE:
        assert name in readme


def test_classifiers_are_the_pythons_that_are_tried():
    pythons = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    sessions = re.search(r"PYTHONS = \((.*)\)", (ROOT / "noxfile.py").read_text(encoding="utf-8"))
    assert sessions
    assert set(pythons) <= set(re.findall(r"3\.\d+", sessions[1]))


def test_the_version_is_in_the_changelog():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(gemma_mtp.__version__)}\]", changes, re.MULTILINE)
