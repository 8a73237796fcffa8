"""What `--json` prints is what docs/schemas promises. Commands that take long are held to it in their own rooms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import typer
from helpers.schemas import checked, name_of
from typer.testing import CliRunner

from gemma_mtp.cli.main import COMMANDS, application
from gemma_mtp.cli.schemas import VERSIONS
from tools import document_schemas

#: Words -> the schema of what is printed. IN: the assistant in BF16; TARGET, ASSISTANT: in Q8_0.
CALLS = {
    "convert IN --dialect ik -o ik.gguf": "convert",
    "diff IN ASSISTANT": "diff",
    "edit IN -o edited.gguf --set general.name=mine": "edit",
    "explain server.log": "explain",
    "export --list": "export --list",
    "export ollama TARGET ASSISTANT": "export",
    "export ollama TARGET ASSISTANT -o Modelfile": "export",
    "fit TARGET ASSISTANT --vram 16GB": "fit",
    "fit TARGET --vram 1MB": "fit",
    "inspect ASSISTANT": "inspect",
    "inspect ASSISTANT general.name": "inspect KEY",
    "make IN --type BF16 -o made --dry-run": "make --dry-run",
    "quantize --list": "quantize --list",
    "quantize --list IN": "quantize --list",
    "quantize IN out.gguf F16": "quantize",
    "verify TARGET ASSISTANT": "verify",
    "verify TARGET ASSISTANT --runtime llama.cpp@b11549 --settings=-ngl=99": "verify",
    "verify ASSISTANT": "verify",
    "verify TARGET TARGET": "verify",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, target_gguf, assistant_gguf) -> Path:
    made = tmp_path_factory.mktemp("schemas")
    for name, source in (
        ("mtp-in-BF16.gguf", assistant_gguf("BF16")),
        ("assistant.gguf", assistant_gguf("Q8_0")),
        ("target.gguf", target_gguf("Q8_0")),
    ):
        (made / name).symlink_to(source)
    (made / "server.log").write_text("llama_model_load: error loading model: missing tensor 'rope_freqs.weight'\n")
    return made


@pytest.mark.parametrize("line", CALLS)
def test_what_is_printed(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("xllamacpp")  # ggml's kernels, of which the files are made
    monkeypatch.chdir(folder)
    names = {"IN": "mtp-in-BF16.gguf", "ASSISTANT": "assistant.gguf", "TARGET": "target.gguf"}
    done = CliRunner().invoke(application(), [*(names.get(word, word) for word in line.split()), "--json"])
    assert done.exit_code in (0, 1), done.output
    assert name_of(checked(done.stdout)["schema"]) == f"gemma-mtp {CALLS[line]}"


def test_every_command_that_prints_json_has_a_schema():
    program = typer.main.get_command(application())
    for name in COMMANDS:
        options = [option for param in program.get_command(None, name).params for option in param.opts]
        assert ("--json" in options) == (f"gemma-mtp {name}" in document_schemas.SHAPES), name


@pytest.mark.parametrize("name", document_schemas.SHAPES)
def test_the_files_are_current_and_schemas(name: str):
    assert document_schemas.path_of(name).read_text(encoding="utf-8") == document_schemas.written(name)
    jsonschema.Draft202012Validator.check_schema(document_schemas.document(name))


def test_no_file_is_left_over_and_no_version_is_of_nothing():
    assert {*document_schemas.FOLDER.iterdir()} == {*map(document_schemas.path_of, document_schemas.SHAPES)}
    assert VERSIONS.keys() <= document_schemas.SHAPES.keys()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda found: found.pop("lines"), id="a key less"),
        pytest.param(lambda found: found.update(more=1), id="a key more"),
        pytest.param(lambda found: found.update(lines="1"), id="another kind"),
        pytest.param(lambda found: found.update(schema="gemma-mtp explain 2"), id="another version"),
    ],
)
def test_the_check_sees(spoil: Callable[[dict[str, object]], object]):
    found: dict[str, object] = {"schema": "gemma-mtp explain 1", "found": [], "lines": 1}
    checked(json.dumps(found))
    spoil(found)
    with pytest.raises(jsonschema.ValidationError):
        checked(json.dumps(found))
