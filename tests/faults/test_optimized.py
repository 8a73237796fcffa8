"""`python -O`: without the package's assertions every command refuses what it refuses, and makes what it makes.

They tell types to mypy; what refuses a file or a word raises. And none of it warns, in no process: warnings are errors.
"""

from __future__ import annotations

import ast
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.bad_checkpoints import edit_tensors
from helpers.forked import Forked
from helpers.left_behind import assert_sound, contents, fresh
from helpers.tiny_pairs import ASSISTANT, TARGET, Model, changed

import gemma_mtp
from gemma_mtp.cli.main import COMMANDS
from gemma_mtp.files import gguf_values as gv

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing can be forked there")

PACKAGE = Path(gemma_mtp.__file__).parent
#: Exit code -> calls that end with it. `cut` is a file that ends early, `keyless` lacks a key, `other` is another
#: target's assistant, `odd` contradicts itself, `torn` is a checkpoint without one of its tensors.
CALLS = {
    0: (
        *("convert checkpoint --type F16 -o good.gguf", "quantize a.gguf small.gguf Q8_0", "explain words.txt"),
        *("verify t.gguf a.gguf --json", "inspect odd.gguf --json", "fit t.gguf a.gguf --vram 1GB"),
    ),
    1: (
        *("convert torn --type Q8_0 -o out.gguf", "convert keyless.gguf --dialect ik -o out.gguf"),
        *("quantize cut.gguf out.gguf Q8_0", "verify t.gguf other.gguf --json", "verify keyless.gguf"),
        *("verify t.gguf odd.gguf --all", "verify t.gguf cut.gguf", "fit t.gguf cut.gguf --vram 1GB"),
        *("inspect cut.gguf", "inspect torn", "diff a.gguf odd.gguf --json", "diff a.gguf cut.gguf"),
        *("edit cut.gguf -o e.gguf --set general.name=x", "edit keyless.gguf -o e.gguf --set general.name=x"),
        *("run t.gguf other.gguf -p x -n 2", "bench t.gguf other.gguf", "serve t.gguf other.gguf"),
        *("export llama-server t.gguf other.gguf", "export lmstudio t.gguf odd.gguf", "explain a.gguf"),
        *("make torn --type Q8_0 -o made", "push cut.gguf --repo me/x --dry-run", "push t.gguf --repo me/x"),
        *("adapt t.gguf cut.gguf --text words.txt --dry-run", "demo --keep a.gguf"),
    ),
    2: (
        *("fit t.gguf odd.gguf --vram 1GB", "bench t.gguf --method nothing=1", "export nobody t.gguf a.gguf"),
        *("imatrix t.gguf a.gguf -o x.gguf", "push odd.gguf --repo me/x --dry-run"),
        *("make cut.gguf", "make checkpoint --type none", "doctor --nothing", "quantize a.gguf out.gguf none"),
    ),
    3: ("verify --server http://127.0.0.1:9/",),
}


@pytest.fixture(scope="module")
def bad(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The good sources, and bad ones."""
    folder = fresh(sources, tmp_path_factory.mktemp("bad") / "files")
    (folder / "cut.gguf").write_bytes((sources / "a.gguf").read_bytes()[:9000])
    Model(ASSISTANT, {"gemma4-assistant.block_count": None}).write(folder / "keyless.gguf")
    Model(ASSISTANT, {"gemma4-assistant.rope.dimension_count": gv.u32(31)}).write(folder / "odd.gguf")
    changed(Model(ASSISTANT), {"backbone": TARGET.hidden + 32}).write(folder / "other.gguf")
    shutil.copytree(sources / "checkpoint", folder / "torn")
    edit_tensors(folder / "torn", lambda tensors: tensors.pop("model.norm.weight"))
    (folder / "words.txt").write_text("llama_model_load: error loading model: unknown model architecture: 'x'\n")
    return folder


@pytest.fixture(scope="module")
def optimized() -> Iterator[Forked]:
    with Forked({"PYTHONOPTIMIZE": "1", "PYTHONWARNINGS": "error"}) as process:
        yield process


def test_what_is_refused_is_refused(optimized: Forked, bad: Path, tmp_path: Path):
    work = fresh(bad, tmp_path / "work")
    assert {call.split()[0] for calls in CALLS.values() for call in calls} == set(COMMANDS)
    for code, calls in CALLS.items():
        for call in calls:
            ended = optimized.run(call.split(), work)
            assert ended.code == code, (call, ended)
            assert not any(word in ended.err for word in ("Traceback", "Warning", "Exception ignored")), (call, ended)
    assert contents(work).keys() == {"good.gguf", "made/mtp-torn.make.json", "small.gguf"}
    assert_sound(work)


def test_nothing_is_asserted_but_types():
    """An assertion of the package says that something is there, or of which type it is."""
    odd = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assert) and not _is_about_a_type(node.test):
                odd.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {ast.unparse(node.test)}")
    assert odd == []


def _is_about_a_type(test: ast.expr) -> bool:
    match test:
        case ast.Compare(ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]):
            return True
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return isinstance(operand, ast.Call) and _is_about_a_type(operand)
        case ast.Call(func=ast.Name(id="isinstance")):
            return True
        case _:
            return isinstance(test, (ast.Name, ast.Attribute))
