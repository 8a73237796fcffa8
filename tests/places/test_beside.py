"""Which drafter is taken with a target that nobody named one for."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_mtp.errors import UsageError
from gemma_mtp.sources.pairs import official_assistant, pair_files

#: the target, what lies beside it, what is taken (None: nothing is certain)
FOLDERS = [
    ("x-Q4_0.gguf", ["mtp-x-Q8_0.gguf"], "mtp-x-Q8_0.gguf"),
    ("x-Q4_0.gguf", ["mtp-other.gguf"], "mtp-other.gguf"),
    ("x-Q4_0.gguf", ["mtp-x-Q4_0.gguf", "mtp-x-Q8_0.gguf"], "mtp-x-Q4_0.gguf"),
    ("x-Q6_K.gguf", ["mtp-x-Q4_0.gguf", "mtp-x-Q8_0.gguf"], "mtp-x-Q8_0.gguf"),
    ("x-Q6_K.gguf", ["mtp-x-Q4_0.gguf", "mtp-x-BF16.gguf"], None),
    ("x-Q4_0.gguf", ["mtp-x-Q8_0.gguf", "mtp-y-Q4_0.gguf"], "mtp-x-Q8_0.gguf"),
    ("x-Q4_0.gguf", ["mtp-y-Q4_0.gguf", "mtp-z-Q4_0.gguf"], None),
    ("x-Q4_0.gguf", ["mtp-x-Q4_0-ik.gguf", "mtp-x-BF16.gguf"], "mtp-x-BF16.gguf"),
    ("X-q4_0.gguf", ["mtp-x-Q4_0.gguf", "mtp-x-BF16.gguf"], "mtp-x-Q4_0.gguf"),
    ("x-Q4_0-00001-of-00002.gguf", ["mtp-x-Q4_0.gguf", "mtp-x-F16.gguf"], "mtp-x-Q4_0.gguf"),
    ("x.gguf", ["mtp-x-Q4_0-00001-of-00002.gguf", "mtp-x-Q4_0-00002-of-00002.gguf"], "mtp-x-Q4_0-00001-of-00002.gguf"),
]


@pytest.mark.parametrize(("target", "others", "taken"), FOLDERS)
def test_in_a_folder(target: str, others: list[str], taken: str | None, tmp_path: Path):
    for name in (target, *others):
        (tmp_path / name).touch()
    if "00001" in target:
        (tmp_path / target.replace("00001", "00002", 1)).touch()
    if taken is not None:
        pair = pair_files(tmp_path / target)
        assert (pair.target, pair.assistant, pair.found) == (tmp_path / target, tmp_path / taken, True)
        return
    with pytest.raises(UsageError, match="2 drafters lie beside the target") as caught:
        pair_files(str(tmp_path / target))
    assert all(name in (caught.value.hint or "") for name in others)


def test_nothing_is_looked_for_without_drafting(tmp_path: Path):
    (tmp_path / "x.gguf").touch()
    assert pair_files(tmp_path / "x.gguf", drafting=False).assistant is None


@pytest.mark.parametrize(
    ("file", "repo"),
    [
        ("gemma-4-26B-A4B-it-Q4_K_M.gguf", "google/gemma-4-26B-A4B-it-assistant"),
        ("sub/gemma-4-e2b-it-q8_0.gguf", "google/gemma-4-E2B-it-assistant"),
        ("gemma-4-E4B-it-qat-q4_0.gguf", "google/gemma-4-E4B-it-qat-q4_0-unquantized-assistant"),
        ("gemma-4-31B-it-tuned-Q4_0-00001-of-00003.gguf", "google/gemma-4-31B-it-assistant"),
        ("mine.gguf", "google/gemma-4-SIZE-it-assistant"),
    ],
)
def test_the_official_assistant_for_a_file(file: str, repo: str):
    assert official_assistant(file) == repo
