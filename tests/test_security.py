"""SECURITY.md: every promise names tests that exist; and what can be seen in the source itself is looked at here."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "gemma_mtp").rglob("*.py"))
#: Where pickles are: the protocol between our parent and our child.
PICKLES = {"gemma_mtp/native/child.py"}
#: Calls that run text, or read what runs when it is read.
RUNNERS = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "yaml.unsafe_load",
    "yaml.full_load",
    "torch.load",
    "marshal.loads",
    "runpy.run_path",
}


UNSAFE = {"shell=True", "trust_remote_code=True", "allow_pickle=True", "weights_only=False"}


def promises() -> list[tuple[str, str]]:
    table = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split("## What is promised")[1].split("## ")[0]
    rows = [row.split(" | ") for row in table.splitlines() if row.startswith("| ") and "---" not in row]
    return [(row[0].lstrip("| "), row[1]) for row in rows[1:]]


@pytest.mark.parametrize(("promise", "tests"), promises(), ids=lambda text: text[:50])
def test_a_promise_has_tests(promise: str, tests: str):
    files = re.findall(r"`(tests/[\w/]+\.py)`", tests)
    assert files, promise
    for file in files:
        assert re.search(r"^def test_", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_there_are_promises():
    assert len(promises()) >= 10


def calls(tree: ast.Module) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def imports(tree: ast.Module) -> set[str]:
    plain = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    return plain | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def keywords(tree: ast.Module) -> set[str]:
    found = [node.keywords for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {f"{word.arg}={ast.unparse(word.value)}" for words in found for word in words}


def test_nothing_runs_what_was_read():
    for path in SOURCES:
        tree, place = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(ROOT).as_posix()
        assert not calls(tree) & RUNNERS, place
        assert not keywords(tree) & UNSAFE, place
        assert bool(imports(tree) & {"pickle", "shelve", "dill", "cloudpickle"}) == (place in PICKLES), place
        if "yaml.load" in calls(tree):
            loaders = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            assert "yaml.SafeLoader" in loaders, place
            assert not loaders & {"yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader"}, place


def test_the_look_at_the_source_sees():
    tree = ast.parse("import pickle\nimport os\nos.system('x')\nrun('x', shell=True)\nexec('1')\n")
    assert {"os.system", "exec"} <= calls(tree)
    assert "shell=True" in keywords(tree)
    assert "pickle" in imports(tree)
