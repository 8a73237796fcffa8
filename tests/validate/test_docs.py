"""docs/verify.md says what the code does."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

from gemma_mtp.validate import Status, verify_pair
from gemma_mtp.validate.comparison import Choice, Comparison, ReferenceComparison

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "verify.md"


def test_lists_are_those_of_the_code():
    spec = importlib.util.spec_from_file_location("document_verify", ROOT / "tools" / "document_verify.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    text = DOCUMENT.read_text(encoding="utf-8")
    assert tool.rendered(text) == text, "run: python tools/document_verify.py"


def test_every_status_is_explained():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert all(f"| `{status.value}` |" in text for status in Status)


def test_json_is_described(good_pair):
    """Every key of the JSON stands in the document's table."""
    section = DOCUMENT.read_text(encoding="utf-8").split("## JSON")[1]
    said = set(re.findall(r"`(\w+)`", section))
    content = json.loads(json.dumps(verify_pair(*good_pair).to_json()))
    keys = {*content, *content["checks"][0], *content["memory"], *content["memory"]["target"]}
    keys |= set(Comparison.__dataclass_fields__) | set(Choice.__dataclass_fields__)
    keys |= set(ReferenceComparison.__dataclass_fields__)
    assert keys <= said
