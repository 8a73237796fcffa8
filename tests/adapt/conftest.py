"""A small lesson of the demo pair, recorded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gemma_mtp.adapt.signals import Signals


@pytest.fixture(scope="session")
def signals(target_gguf, tmp_path_factory: pytest.TempPathFactory) -> Signals:
    """Signals of the demo target in F32, of `DOCUMENTS`. Read them, don't change them."""
    from helpers.lessons import DOCUMENTS, recorded

    return recorded(target_gguf("F32"), tmp_path_factory.mktemp("signals") / "f32", DOCUMENTS)
