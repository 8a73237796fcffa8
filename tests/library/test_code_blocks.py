"""Every code block of README and docs/ is true: Python runs, commands exist and do what they are shown for."""

from __future__ import annotations

import glob
import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from helpers.chat_templates import with_template
from helpers.code_blocks import DOCUMENTS, Line, fenced, lines
from helpers.local_hub.stub import HubStub
from typer.testing import CliRunner

from gemma_mtp.cli.main import application
from gemma_mtp.convert import convert_dialect
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.model.dialects import ATOMIC

LINES = [line for path in DOCUMENTS for line in lines(path)]
CALLS = [line for line in dict.fromkeys(LINES) if not line.synopsis]
#: What keeps a call short, by command: on the demo pair, with one thread.
SHORT = {
    "run": ("-n", "4", "-t", "1", "-c", "512"),
    "bench": ("-n", "2", "-r", "1", "-t", "1"),
    "compare": ("-n", "2", "-r", "1", "-t", "1"),
    "verify": ("-n", "4", "-t", "1"),
    "quantize": ("-t", "1"),
    "convert": ("-t", "1"),
    "make": ("-t", "1"),
}
#: Commands that are tried in their own rooms: a server that does not end, minutes of demo or training, a probe of the
#: machine, files that only their own tests have; and words of lines for which there is no such server or repo here.
NOT_HERE = {"serve", "demo", "doctor", "explain", "adapt", "imatrix", "export", "edit", "diff", "fit"}
NOWHERE = ("--server", "ggml-org/gemma-4-26B-A4B-it-GGUF:Q4_K_M")
#: Options whose value is a file to be written, or a text.
WRITTEN = {"-o", "--output", "--plot", "--log", "-p", "--prompt"}
TARGET_REPO, TARGET_FILE = "ggml-org/gemma-4-31B-it-GGUF", "gemma-4-31B-it-Q4_K_M.gguf"
REPOS = ("google/gemma-4-26B-A4B-it-assistant", "google/gemma-4-31B-it-assistant", "google/gemma-4-E2B-it-assistant")

runner = CliRunner()


def command(name: str) -> Any:
    found = typer.main.get_command(application()).get_command(None, name)  # type: ignore[arg-type]
    assert found is not None, name
    return found


def options_of(parsed: Any) -> set[str]:
    return {name for param in parsed.params for name in (*param.opts, *param.secondary_opts)}


@pytest.mark.parametrize("line", dict.fromkeys(LINES), ids=lambda line: f"{line.document}: {line.text[:60]}")
def test_command_lines_can_be_typed(line: Line):
    """The command and its options exist, and take values of that kind."""
    before = list(itertools.takewhile(lambda word: word.startswith("-"), line.words))
    name, *words = line.words[len(before) :] or ["help"]
    general = {"--help", "--install-completion", *options_of(typer.main.get_command(application()))}
    assert set(before) <= general
    if name in ("help", "COMMAND"):
        return
    if line.synopsis:
        assert {word.split("=")[0] for word in words if word.startswith("-")} <= {*options_of(command(name)), "--help"}
    else:
        command(name).make_context(name, words)


class Shelf:
    """A folder, and a Hub, with the files that a command line names."""

    def __init__(self, folder: Path, stub: HubStub, target_gguf: Any, assistant_gguf: Any):
        self.folder, self.stub = folder, stub
        self.made = {"target": target_gguf, "assistant": assistant_gguf}
        for user in stub.tokens.values():
            user["orgs"] = [*user["orgs"], "me"]

    def provide(self, words: list[str]) -> None:
        """Make what is named and is there before the command."""
        inputs = [word for word, before in zip(words[1:], words, strict=False) if before not in WRITTEN]
        if words[0] == "quantize":
            first, *rest = [word for word in inputs if word.endswith(".gguf")]
            inputs = [first, *(rest if "--compare" in words else [])]
        inputs += [file for word in inputs for file in re.findall(r"(?<=:)[\w.-]+\.gguf", word)]  # of --method
        for word in dict.fromkeys(inputs):
            if re.fullmatch(r"[\w.*-]+\.gguf", word):
                self.gguf(word.replace("mtp-*", "mtp-gemma-4-31B-it-*").replace("*", "Q8_0"))
            elif word.startswith("./"):
                shutil.copytree(PAIR / "assistant", self.folder / word)

    def gguf(self, name: str) -> None:
        part = "assistant" if re.search("mtp|assistant", name) or name.lower().startswith("in") else "target"
        kind = "BF16" if "BF16" in name or name.lower().startswith("in") else "Q8_0"
        source = self.made[part](kind)
        if "atomic" in name:
            convert_dialect(source, self.folder / name, ATOMIC)
        elif part == "target":
            with_template(source, self.folder / name)
        else:
            shutil.copy(source, self.folder / name)

    def repos(self) -> None:
        for repo in REPOS:
            self.stub.make_repo(repo)
            for path in (PAIR / "assistant").iterdir():
                self.stub.add_file(repo, path.name, path.read_bytes())
        self.stub.make_repo(TARGET_REPO)
        self.stub.add_file(TARGET_REPO, TARGET_FILE, self.made["target"]("Q8_0").read_bytes())


@pytest.fixture
def shelf(tmp_path: Path, stub: HubStub, logged_in: str, target_gguf, assistant_gguf, monkeypatch) -> Shelf:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    made = Shelf(folder, stub, target_gguf, assistant_gguf)
    made.repos()
    return made


@pytest.mark.parametrize(
    "line",
    [line for line in CALLS if line.words[0] not in NOT_HERE and not set(NOWHERE) & set(line.words)],
    ids=lambda line: f"{line.document}: {line.text[:70]}",
)
def test_command_lines_work(line: Line, shelf: Shelf):
    for engine in ("llama_cpp", "xllamacpp"):
        pytest.importorskip(engine)
    words = line.words
    shelf.provide(words)
    (shelf.folder / "mine.txt").write_text("def main():\n---\nclass Queue:\n")
    (shelf.folder / "jobs.toml").write_text(fenced(Path(DOCUMENTS[0].parent / "docs" / "publishing.md"), "toml")[0])
    expanded = [found for word in words for found in (sorted(glob.glob(word)) if word.endswith("*.gguf") else [word])]
    short = SHORT.get("compare" if "--compare" in words else words[0], ())
    some = ("--category", "code") if words[0] == "bench" and "--prompts" not in words else ()
    done = runner.invoke(application(), [*expanded, *(() if "--list" in words else short), *some], input="Hello")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_run(path: Path, shelf: Shelf, target_gguf, assistant_gguf, monkeypatch, capsys):
    """In their order, in one program, on the demo pair under the names that the document gives it."""
    blocks = fenced(path, "python")
    if not blocks:
        pytest.skip("has none")
    pytest.importorskip("llama_cpp")
    for name in ("target.gguf", "gemma-4-E2B-it-Q4_K_M.gguf"):
        shutil.copy(target_gguf("Q8_0"), name)
    shutil.copy(assistant_gguf("Q8_0"), "assistant.gguf")
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        if "openai" in block:
            compile(block, path.name, "exec")  # a client of a server: tests/serve talks to one
            continue
        exec(compile(block, path.name, "exec"), names)
    assert capsys.readouterr().out or path.name != "library.md"
