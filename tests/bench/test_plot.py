"""The picture holds every line, and is refused before anything is measured if it cannot be drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers.bench_results import RESULTS

from gemma_mtp.bench.plot import check_plot, draw
from gemma_mtp.errors import MissingExtra, UsageError


def test_svg_has_a_line_for_each_category(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")  # text stays text
    draw(RESULTS, tmp_path / "p.svg")
    picture = (tmp_path / "p.svg").read_text()
    for words in ("code", "math", "all prompts", "if drafting were free", "auto", "Demo (Q8_0) with Q8_0 assistant"):
        assert words in picture


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_other_kinds(tmp_path: Path, suffix: str, magic: bytes):
    path = tmp_path / f"p{suffix}"
    draw(RESULTS, path)
    assert path.read_bytes().startswith(magic)
    with pytest.raises(UsageError, match="exists already"):
        check_plot(path, force=False)
    check_plot(path, force=True)


def test_what_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match=r"\.png"):
        check_plot(tmp_path / "p.txt", force=False)
    with pytest.raises(UsageError, match="folder does not exist"):
        check_plot(tmp_path / "none" / "p.png", force=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match="matplotlib"):
        check_plot(tmp_path / "p.png", force=False)
