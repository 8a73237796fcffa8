"""docs/verify.md says what the code does."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

from typer.testing import CliRunner

from gemma_mtp.cli.main import COMMANDS, application
from gemma_mtp.validate import Status, verify_pair
from gemma_mtp.validate.comparison import Choice, Comparison, ReferenceComparison

runner = CliRunner()
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "verify.md"


def test_lists_are_those_of_the_code():
    spec = importlib.util.spec_from_file_location("document_verify", ROOT / "tools" / "document_verify.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for path in tool.DOCUMENTS:
        assert tool.rendered(path) == path.read_text(encoding="utf-8"), "run: python tools/document_verify.py"


def test_commands_and_options_of_the_troubleshooting_page_exist():
    """What a user is told to type can be typed."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    for command, rest in re.findall(r"gemma-mtp (\w+)([^`#\n]*)", text):
        assert command in COMMANDS
        help_text = runner.invoke(application(), [command, "--help"], env={"COLUMNS": "200"}).output
        assert all(option in help_text for option in re.findall(r"--[a-z-]+", rest)), (command, rest)


def test_every_status_is_explained():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert all(f"| `{status.value}` |" in text for status in Status)


def test_json_is_described(good_pair):
    """Every key of the JSON stands in the document's table."""
    section = DOCUMENT.read_text(encoding="utf-8").split("## JSON")[1]
    said = set(re.findall(r"`(\w+)`", section))
    content = json.loads(json.dumps(verify_pair(*good_pair).to_dict()))
    keys = {*content, *content["checks"][0], *content["memory"], *content["memory"]["target"]}
    keys |= set(Comparison.__dataclass_fields__) | set(Choice.__dataclass_fields__)
    keys |= set(ReferenceComparison.__dataclass_fields__)
    assert keys <= said
