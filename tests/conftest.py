"""Fixtures for all tests: the shipped demo pair as GGUFs, and a home of its own for whatever is remembered on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from gemma_mtp.demo.pair import PAIR

GGUFFactory = Callable[[str], Path]


@pytest.fixture(autouse=True, scope="session")
def own_home(tmp_path_factory: pytest.TempPathFactory):
    """No test reads or writes the user's caches and tokens, nor the network."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("HOME", "XDG_CACHE_HOME", "HF_HOME", "GEMMA_MTP_CACHE"):
            patch.setenv(variable, str(home))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        patch.delenv("HF_TOKEN", raising=False)
        yield home


@pytest.fixture(scope="session")
def gguf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf")


@pytest.fixture(scope="session")
def target_gguf(gguf_folder: Path) -> GGUFFactory:
    """`target_gguf("Q8_0")` is the demo target as a GGUF of that type. Read it, don't change it."""
    return partial(_converted, PAIR / "target", gguf_folder)


@pytest.fixture(scope="session")
def assistant_gguf(gguf_folder: Path) -> GGUFFactory:
    """`assistant_gguf("BF16")` is the demo assistant as a GGUF of that type. Read it, don't change it."""
    return partial(_converted, PAIR / "assistant", gguf_folder)


def _converted(checkpoint: Path, folder: Path, type_name: str) -> Path:
    from gemma_mtp.convert import Output, convert_checkpoint

    path = folder / f"{checkpoint.name}-{type_name}.gguf"
    if not path.exists():
        convert_checkpoint(checkpoint, [Output(path, type_name)])
    return path
