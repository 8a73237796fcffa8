"""What a program sees of the package: names, signatures, results, errors, the log; and what it costs to import."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import gemma_mtp
from gemma_mtp import errors

ROOT = Path(__file__).parents[2]
PACKAGE = Path(gemma_mtp.__file__).parent
DOCUMENT = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
CALLS = [name for name in gemma_mtp.__all__ if inspect.isfunction(getattr(gemma_mtp, name))]
HEAVY = ("numpy", "huggingface_hub", "typer", "rich", "gguf", "llama_cpp", "xllamacpp", "orjson", "yaml")


def test_import_is_light():
    """Names, and nothing that they need."""
    code = f"import sys, gemma_mtp; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_is_there():
    assert {"open_model", "convert_model", "quantize_model", "verify_pair", "verify_file", "inspect_model"} < set(CALLS)
    assert "push_files" in CALLS
    assert set(dir(gemma_mtp)) >= set(gemma_mtp.__all__)
    assert gemma_mtp.errors is errors
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = gemma_mtp.no_such_name


def shown(default: Any) -> str:
    return str(default) if isinstance(default, enum.Enum) else getattr(default, "__name__", repr(default))


def signature(name: str) -> str:
    """As docs/library.md writes it: without types."""
    parts: list[str] = []
    for one in inspect.signature(getattr(gemma_mtp, name)).parameters.values():
        if one.kind is one.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        parts.append(one.name if one.default is one.empty else f"{one.name}={shown(one.default)}")
    return f"{name}({', '.join(parts)})"


@pytest.mark.parametrize("name", [*CALLS, "MtpEngine"])
def test_signatures_of_the_document(name: str):
    assert signature(name) in DOCUMENT.splitlines()


@pytest.mark.parametrize("name", CALLS)
def test_every_call_says_what_it_raises(name: str):
    assert "Raises" in (inspect.getdoc(getattr(gemma_mtp, name)) or "")


@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("parse_host",)])
def test_options_are_named(name: str):
    """What is not a place, a type or a repo is given by its name only, and paths are whatever names one."""
    parameters = inspect.signature(getattr(gemma_mtp, name)).parameters.values()
    free = [one.name for one in parameters if one.kind is not one.KEYWORD_ONLY]
    assert set(free) <= {"place", "target", "assistant", "output", "types", "part", "files", "repo"}
    for one in parameters:
        if one.name in ("place", "target", "assistant", "output", "files"):
            assert "Place" in str(one.annotation) or "PathLike" in str(one.annotation), one


@pytest.mark.parametrize("name", ["Conversion", "Description", "Push", "Quantization", "Report", "BenchResults"])
def test_results_are_frozen_and_have_one_way_out(name: str):
    kind = getattr(gemma_mtp, name)
    assert kind.__dataclass_params__.frozen
    assert callable(kind.to_dict)


def test_one_name_for_the_way_out():
    """No result of the package has another one than `to_dict`."""
    sources = PACKAGE.rglob("*.py")
    names = re.compile(r"def (to_json|as_dict|as_json|to_mapping)\b")
    assert [path.name for path in sources if names.search(path.read_text(encoding="utf-8"))] == []


def test_errors_are_named_in_the_document():
    kinds = {name for name in errors.__all__ if name != "GemmaMtpError"}
    assert kinds == set(re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE))
    assert all(issubclass(getattr(errors, name), errors.GemmaMtpError) for name in kinds)


def test_the_package_is_typed(tmp_path: Path):
    """A type checker sees the package's own types, from the wheel, too."""
    assert (PACKAGE / "py.typed").is_file()
    if PACKAGE.parent != ROOT:
        return  # it is a wheel's already
    builder = pytest.importorskip("hatchling.builders.wheel")
    from zipfile import ZipFile

    (wheel,) = builder.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    assert "gemma_mtp/py.typed" in ZipFile(wheel).namelist()


RESULTS: dict[str, Callable[..., Any]] = {
    "inspect_model": lambda pair, folder: gemma_mtp.inspect_model(pair[1]),
    "verify_pair": lambda pair, folder: gemma_mtp.verify_pair(*pair),
    "verify_file": lambda pair, folder: gemma_mtp.verify_file(pair[1]),
    "convert_model": lambda pair, folder: gemma_mtp.convert_model(pair[1], folder / "ik.gguf", dialect="ik"),
    "quantize_model": lambda pair, folder: gemma_mtp.quantize_model(
        pair[1], "Q4_0", folder / "q.gguf", allow_requantize=True
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_plain_data(name: str, pair: tuple[Path, Path], tmp_path: Path):
    """`to_dict` is what JSON can say."""
    result = RESULTS[name](pair, tmp_path)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.notes = ()


def test_progress_is_one_protocol(pair: tuple[Path, Path], tmp_path: Path):
    """The same display serves all calls; what it is told adds up to what was said."""
    seen: list[tuple[str, int, str]] = []
    done: list[int] = []

    @contextmanager
    def progress(what: str, total: int, unit: str = "bytes", /):
        seen.append((what, total, unit))
        counts: list[int] = []
        yield counts.append
        done.append(sum(counts))

    gemma_mtp.quantize_model(
        pair[1], ["Q4_0", "Q5_0"], tmp_path, allow_requantize=True, overrides={"head": "Q8_0"}, progress=progress
    )
    from gemma_mtp.demo.pair import PAIR

    gemma_mtp.convert_model(PAIR / "assistant", tmp_path / "c.gguf", progress=progress)
    options = gemma_mtp.RunOptions((("code", "def f"),), tokens=4)
    context = gemma_mtp.ContextSettings(512, threads=1)
    gemma_mtp.verify_pair(*pair, run=options, context=context, progress=progress)
    assert [what for what, _, _ in seen] == ["quantizing", "converting", "decoding"]
    assert [unit for _, _, unit in seen] == ["bytes", "bytes", "prompts"]
    assert done == [total for _, total, _ in seen]


def test_overrides_in_every_form(assistant_gguf, tmp_path: Path):
    from gemma_mtp.quantize import parse_override

    source, made = assistant_gguf("BF16"), []
    for number, overrides in enumerate(({"head": "Q8_0"}, ["head=Q8_0"], [parse_override("head=Q8_0")])):
        path = tmp_path / f"{number}.gguf"
        gemma_mtp.quantize_model(str(source), "q4_0", path, overrides=overrides, threads=1)
        made.append(path.read_bytes())
    assert made[0] == made[1] == made[2]
    with gemma_mtp.open_model(path) as model:
        assert model.tensors["token_embd.weight"].type.name == "Q8_0"


def test_representations_are_short(pair: tuple[Path, Path]):
    with gemma_mtp.open_model(pair[1]) as model:
        assert repr(model).startswith(f"OpenModel({str(pair[1])!r}, assistant, gemma4-assistant, ")
        assert len(repr(model)) < 400
    with gemma_mtp.MtpEngine(*pair, context=gemma_mtp.ContextSettings(256, threads=1), draft_max=2) as engine:
        assert repr(engine) == f"MtpEngine({str(pair[0])!r}, {str(pair[1])!r}, draft_max=2)"


def test_the_log(pair: tuple[Path, Path], caplog: pytest.LogCaptureFixture):
    """Who asks sees what is done; nobody else sees anything."""
    with caplog.at_level(logging.DEBUG, "gemma_mtp"):
        verdict = gemma_mtp.verify_file(pair[1]).verdict
    words = [record.getMessage() for record in caplog.records]
    assert any(f"opening {pair[1]}" in said for said in words)
    assert f"{pair[1]}: {verdict}" in words
    assert {record.name.split(".")[0] for record in caplog.records} == {"gemma_mtp"}
    code = f"import gemma_mtp; gemma_mtp.verify_file({str(pair[1])!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == done.stdout == ""
