"""What works, and what is said, where llama-cpp-python, xllamacpp or both are not installed.

A package is hidden from a whole tree of processes by a `sitecustomize` that puts None in its place among the modules:
Python itself then refuses to import it. Nothing of this program is replaced.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.schemas import checked

from gemma_mtp import extras
from gemma_mtp.demo.pair import PAIR

LOOP, SERVER = "llama_cpp", "xllamacpp"
HIDE = "import os, sys\nfor name in os.environ['GEMMA_MTP_TEST_WITHOUT'].split():\n    sys.modules[name] = None\n"
PROMPT = "class Stack:\n    def push(self, item):\n"
#: What is said where the C++ engine was taken for the loop.
STANDS_IN = 'llama.cpp\'s C++ engine is used (the Python loop is not installed: pip install "gemma-mtp[runtime]")'

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`run(hidden, *words)`: the program with these words where the modules `hidden` cannot be imported.

    first: Python code before it starts.
    """
    folder = tmp_path_factory.mktemp("hide")
    (folder / "sitecustomize.py").write_text(HIDE)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(hidden: str, *words: object, first: str = "") -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": path, "GEMMA_MTP_TEST_WITHOUT": hidden}
        start = f"{first}\nfrom gemma_mtp.cli.main import main; main()"
        command = [sys.executable, "-c", start, *map(str, words)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)

    return run


@pytest.fixture(scope="module")
def pair(target_gguf, assistant_gguf) -> tuple[Path, Path]:
    return target_gguf("BF16"), assistant_gguf("BF16")


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def found(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return checked(good(done))


@pytest.mark.parametrize("hidden", [f"{LOOP} {SERVER}", LOOP, SERVER])
def test_the_core_needs_neither(run: Run, pair: tuple[Path, Path], tmp_path: Path, hidden: str):
    assert "convert" in good(run(hidden, "--help"))
    for part, expected in zip(("target", "assistant"), pair, strict=True):
        good(run(hidden, "convert", PAIR / part, "--type", "BF16", "-o", tmp_path / expected.name))
        assert (tmp_path / expected.name).read_bytes() == expected.read_bytes()
    assert "fits together" in good(run(hidden, "verify", *pair))
    assert "gemma4" in good(run(hidden, "inspect", pair[0]))
    good(run(hidden, "convert", pair[1], "--dialect", "ik", "-o", tmp_path / "ik.gguf"))


INSTALL = {
    "serve": 'install it with: pip install "gemma-mtp[serve]"',
    "runtime": 'install it with: pip install "gemma-mtp[runtime]"',
    "either": 'install one of them: pip install "gemma-mtp[serve]" (ready-made: seconds), or pip install '
    '"gemma-mtp[runtime]" (compiled for this machine: minutes)',
}


@pytest.mark.parametrize(
    ("hidden", "words", "lacks", "way"),
    [
        (f"{LOOP} {SERVER}", ("run", "T", "A", "-p", "x"), "running a model needs the package xllamacpp or", "either"),
        (f"{LOOP} {SERVER}", ("bench", "T", "A"), "running a model needs the package xllamacpp or", "either"),
        (f"{LOOP} {SERVER}", ("verify", "T", "A", "--run"), "running a model needs the package", "either"),
        (f"{LOOP} {SERVER}", ("quantize", "A", "Q8_0", "--compare", "T"), "running a model needs the", "either"),
        (f"{LOOP} {SERVER}", ("demo",), "running a model needs the package", "either"),
        (f"{LOOP} {SERVER}", ("quantize", "A", "OUT", "Q4_0"), "a quantized type needs the package", "either"),
        (SERVER, ("serve", "T", "A", "--port", "0"), "C++ engine needs the package xllamacpp, which is", "serve"),
        (SERVER, ("run", "T", "A", "-p", "x", "--engine", "cpp"), "C++ engine needs the package xllamacpp", "serve"),
        (SERVER, ("bench", "T", "A", "--engine", "both"), "C++ engine needs the package xllamacpp", "serve"),
        (
            LOOP,
            ("run", "T", "A", "-p", "x", "--engine", "python"),
            "loop needs the package llama-cpp-python",
            "runtime",
        ),
        (LOOP, ("run", "T", "A", "-p", "x", "--draft", "auto"), "--draft auto needs the package llama-cpp", "runtime"),
        (
            LOOP,
            ("run", "T", "A", "-p", "x", "--temp", "1", "--sampling", "reject"),
            "--sampling reject needs the package llama-cpp-python",
            "runtime",
        ),
        (LOOP, ("verify", "T", "A", "--reference", "x", "y"), "comparing with transformers needs the", "runtime"),
    ],
)
def test_what_is_missing_is_said_with_its_extra(
    run: Run, pair: tuple[Path, Path], tmp_path: Path, hidden: str, words: tuple[str, ...], lacks: str, way: str
):
    places = {"T": pair[0], "A": pair[1], "OUT": tmp_path / "out.gguf"}
    done = run(hidden, *[places.get(word, word) for word in words])
    assert done.returncode == 3, done.stderr
    assert lacks in done.stderr
    assert f"hint: {INSTALL[way]}" in done.stderr
    assert not done.stdout
    assert "Traceback" not in done.stderr


def test_quantized_types_are_the_same_bytes_from_both_packages(run: Run, assistant_gguf, tmp_path: Path):
    files = {hidden: tmp_path / f"without-{hidden}.gguf" for hidden in (LOOP, SERVER)}
    for hidden, path in files.items():
        good(run(hidden, "convert", PAIR / "assistant", "--type", "Q4_K_M", "-o", path))
    assert files[LOOP].read_bytes() == files[SERVER].read_bytes() == assistant_gguf("Q4_K_M").read_bytes()


def test_run(run: Run, pair: tuple[Path, Path]):
    """The same text and drafts; who decoded is told on stderr and in the JSON, and nothing is said of a choice."""
    words = ("run", *pair, "-p", PROMPT, "-n", "24", "-c", "512", "-t", "1")
    with_server, with_loop = (run(hidden, *words, "--json") for hidden in (LOOP, SERVER))
    theirs, ours = found(with_server), found(with_loop)
    assert (theirs["engine"], ours["engine"]) == ("cpp", "python")
    assert theirs["tokens"] == ours["tokens"]
    assert theirs["accepted"] == ours["accepted"] > 0
    assert with_server.stderr.splitlines() == [STANDS_IN]
    assert "engine" not in with_loop.stderr
    chosen = run(LOOP, *words, "--engine", "cpp")
    assert good(chosen) == theirs["text"] + "\n"
    assert STANDS_IN not in chosen.stderr


def test_with_both_the_loop_is_taken(run: Run, pair: tuple[Path, Path]):
    done = run("", "run", *pair, "-p", PROMPT, "-n", "4", "-c", "512", "-t", "1", "--json")
    assert found(done)["engine"] == "python"
    assert "engine" not in done.stderr


def test_bench(run: Run, pair: tuple[Path, Path]):
    words = ("--category", "code", "--draft-max", "1", "-n", "12", "-r", "1", "-c", "512", "-t", "1", "--json")
    done = run(LOOP, "bench", *pair, *words)
    results = found(done)
    assert list(results["machine"]["engines"]) == ["cpp"]
    assert {row["draft"] for row in results["rows"]} == {0, 1}
    assert STANDS_IN in done.stderr


def test_quantize_compare(run: Run, pair: tuple[Path, Path], tmp_path: Path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(PROMPT)
    words = ("Q8_0", "Q4_0", "--compare", pair[0], "--prompts", prompts, "-n", "12", "-r", "1", "-t", "1")
    comparison = found(run(LOOP, "quantize", pair[1], *words, "--json"))
    assert comparison["engine"] == "cpp"
    assert {one["kind"] for one in comparison["candidates"]} == {"Q8_0", "Q4_0"}
    assert all(one["step_ms"] is None and one["drafted"] > 0 for one in comparison["candidates"])
    assert "not told" in good(run(LOOP, "quantize", pair[1], *words))


def test_verify_run(run: Run, pair: tuple[Path, Path], tmp_path: Path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(PROMPT)
    words = ("verify", *pair, "--run", "--prompts", prompts, "-n", "24", "-c", "512", "-t", "1", "--json")
    done = run(LOOP, *words)
    (theirs,), (ours,) = found(done)["run"], found(run(SERVER, *words))["run"]
    assert (theirs["engine"], ours["engine"]) == ("cpp", "python")
    assert theirs["totals"] == [sum(ours["drafted_at"]), sum(ours["accepted_at"])]
    assert theirs["different_at"] is ours["different_at"] is None
    assert STANDS_IN in done.stderr
    assert "not answer" not in done.stdout


def test_demo(run: Run, tmp_path: Path):
    """Of the whole demo, which takes a minute, one round with a target that is little heavier."""
    sizes = "from gemma_mtp.demo import demo; demo.REPEATS, demo.INERT_LAYERS, demo.NEW_TOKENS = 1, 2, 24"
    done = run(LOOP, "demo", "--json", "-t", "1", "--keep", tmp_path, first=sizes)
    shown = found(done)
    assert shown["engine"] == "cpp"
    assert shown["verified"]
    assert shown["acceptance"] > 0.5
    assert (tmp_path / "assistant-Q4_K_M.gguf").exists()
    assert STANDS_IN in done.stderr


@pytest.mark.parametrize(
    ("hidden", "engine", "probed"),
    [(f"{LOOP} {SERVER}", None, []), (LOOP, "cpp", ["cpp"]), (SERVER, "python", ["python"])],
)
def test_doctor_tells_what_works(run: Run, hidden: str, engine: str | None, probed: list[str]):
    report = found(run(hidden, "doctor", "-t", "1", "--json"))
    assert report["engine"] == engine
    assert [name for name, one in report["engines"].items() if one and one["works"]] == probed
    assert report["works"] is (True if probed else None)
    assert list(report["can"]) == list(extras.FEATURES)
    assert report["can"]["serve"] is (SERVER not in hidden)
    assert report["can"]["--draft auto, --sampling reject, MtpEngine"] is (LOOP not in hidden)
    assert report["can"]["run, bench, demo, verify --run, quantize --compare"] is bool(probed)


def test_doctor_says_what_would_bring_the_rest(run: Run):
    text = good(run(f"{LOOP} {SERVER}", "doctor"))
    assert 'serve: pip install "gemma-mtp[serve]"' in text
    assert 'pip install "gemma-mtp[runtime,reference]"' in text


def test_the_extras_are_those_of_the_project():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = project["optional-dependencies"]
    for name, extra in extras.EXTRAS.items():
        assert {line.partition("=")[0].partition(">")[0] for line in declared[name]} == set(extra.modules)
    used = {extra for ways in extras.FEATURES.values() for way in ways for extra in way}
    assert used == set(extras.EXTRAS)
    core = " ".join(project["dependencies"])
    assert not any(package in core for extra in extras.EXTRAS.values() for package in extra.modules)


def test_each_feature_stands_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "runtime.md").read_text(encoding="utf-8")
    for feature, ways in extras.FEATURES.items():
        told = " or ".join(" and ".join(f"`{extra}`" for extra in way) for way in ways) or "none"
        assert f"| {feature} | {told} |" in text
