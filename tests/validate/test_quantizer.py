"""The note about old mixes, on files that a real quantizer made."""

from __future__ import annotations

import pytest
from test_places import by_id

from gemma_mtp.validate import Status, verify_pair


@pytest.mark.parametrize("kind", ["Q4_K_M", "Q5_K_M", "Q8_0", "draft-mixed"])
def test_files_of_today_are_not_noted(target_gguf, assistant_gguf, kind):
    report = verify_pair(target_gguf("BF16"), assistant_gguf(kind))
    assert by_id(report)["quantizer"].status is Status.OK
