"""What the code never does, whatever a file or a server says: nothing of theirs is run, and no shell is asked."""

from __future__ import annotations

import ast
from pathlib import Path

import gemma_mtp

PACKAGE = Path(gemma_mtp.__file__).parent
TREES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")
}
#: The one place that has pickles: pipes between this program and its own child.
BETWEEN_PROCESSES = {"native/child.py"}
#: Calls that run what they are given. `compile` is also a method of patterns, which is another thing.
RUNS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path", "runpy.run_module"}
UNPICKLES = {"torch.load", "marshal.loads", "shelve.open", "dill.load", "joblib.load", "pandas.read_pickle"}
UNSAFE_YAML = {"yaml.unsafe_load", "yaml.full_load", "yaml.UnsafeLoader", "yaml.FullLoader", "yaml.Loader"}


def uses(tree: ast.Module) -> set[str]:
    """Names and dotted names that the file uses."""
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, (ast.Name, ast.Attribute))}


def words(tree: ast.Module) -> dict[str, list[object]]:
    """Arguments that are given by name -> their values, as far as they are constants."""
    found: dict[str, list[object]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg:
            found.setdefault(node.arg, []).append(getattr(node.value, "value", None))
    return found


def test_pickles_go_between_parent_and_child_alone():
    with_pickles = {
        name
        for name, tree in TREES.items()
        if any(
            "pickle" in ast.unparse(node) for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))
        )
    }
    assert with_pickles == BETWEEN_PROCESSES
    assert not {name: uses(tree) & UNPICKLES for name, tree in TREES.items() if uses(tree) & UNPICKLES}
    assert all(value is not True for tree in TREES.values() for value in words(tree).get("allow_pickle", []))


def test_nothing_of_a_repo_is_run():
    assert not {name: uses(tree) & RUNS for name, tree in TREES.items() if uses(tree) & RUNS}
    assert all(value is not True for tree in TREES.values() for value in words(tree).get("trust_remote_code", []))
    assert not [name for name, tree in TREES.items() if True in words(tree).get("shell", [])]
    assert not {name: uses(tree) & UNSAFE_YAML for name, tree in TREES.items() if uses(tree) & UNSAFE_YAML}


def test_the_scan_sees_what_it_looks_for():
    bad = ast.parse(
        "import os\nos.system('x')\neval(y)\nf(trust_remote_code=True, shell=True)\nyaml.load(t, yaml.Loader)"
    )
    assert uses(bad) & RUNS == {"os.system", "eval"}
    assert uses(bad) & UNSAFE_YAML == {"yaml.Loader"}
    assert words(bad) == {"trust_remote_code": [True], "shell": [True]}
