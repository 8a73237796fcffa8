"""The table of known problems says for every row which versions it means and when that was looked up."""

from __future__ import annotations

from datetime import date

import pytest

from gemma_mtp.validate import parse_host, verify_pair
from gemma_mtp.validate.checks.known import KNOWN


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: row.id)
def test_a_row_names_its_versions_and_its_day(row):
    assert row.versions
    assert date(2026, 6, 1) < row.checked <= date.today()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("--models-dir /models", {"host-router-folder"}),
        ("--models-dir /models --models-preset p.ini", {"host-preset-spec-type"}),
        ("--models-preset p.ini --spec-type draft-mtp", {"host-preset-spec-type", "host-router-type"}),
        ("-md mtp.gguf", {"host-plain-draft"}),
        ("-md mtp.gguf --spec-type draft-mtp --rpc 10.0.0.2:50052", {"host-rpc-drafting"}),
        ("-md mtp.gguf --spec-type draft-mtp", set()),
        ("-md mtp.gguf --spec-type draft-mtp,ngram-mod", {"host-ngram"}),
    ],
)
def test_the_router_and_the_missing_type(settings, expected, target_gguf, assistant_gguf, tmp_path):
    assistant = tmp_path / "mtp-target-Q8_0.gguf"
    assistant.symlink_to(assistant_gguf("Q8_0"))
    host = parse_host("llama.cpp@b11434", settings)
    found = {result.id for result in verify_pair(target_gguf("Q8_0"), assistant, host=host).results}
    rows = {f"host-{row.id}" for row in KNOWN} - {"host-vram-full"}
    assert found & rows == expected
