"""A small lesson of the demo pair, recorded once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "reference")]

from lessons import DOCUMENTS, recorded  # noqa: E402

from gemma_mtp.adapt.signals import Signals  # noqa: E402


@pytest.fixture(scope="session")
def signals(target_gguf, tmp_path_factory: pytest.TempPathFactory) -> Signals:
    """Signals of the demo target in F32, of `DOCUMENTS`. Read them, don't change them."""
    return recorded(target_gguf("F32"), tmp_path_factory.mktemp("signals") / "f32", DOCUMENTS)
