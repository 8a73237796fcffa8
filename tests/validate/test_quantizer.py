"""The note about old mixes, on files that a real quantizer made."""

from __future__ import annotations

import pytest
from helpers.reports import by_id

from gemma_mtp.validate import Status, verify_pair


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("Q4_K_M", Status.OK),
        ("Q5_K_M", Status.OK),
        ("Q8_0", Status.OK),
        ("draft-mixed", Status.SKIPPED),  # a recipe of ours: no mix of llama.cpp's, of today or of old
    ],
)
def test_files_of_today_are_not_noted(target_gguf, assistant_gguf, kind, status):
    report = verify_pair(target_gguf("BF16"), assistant_gguf(kind))
    assert by_id(report)["quantizer"].status is status
