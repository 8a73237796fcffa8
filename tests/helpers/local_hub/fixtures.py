"""A local Hub for every test of a room: nothing touches the network, the user's cache or the user's token."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from helpers.local_hub.stub import HubStub
from huggingface_hub import constants

from gemma_mtp.hub import client

WRITE_TOKEN, READ_TOKEN = "hf_" + "w" * 34, "hf_" + "r" * 34


@pytest.fixture(autouse=True)
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    """The Hub that this test's HF_ENDPOINT names, empty; the user is not logged in."""
    with HubStub(tmp_path / "hub") as server:
        home = tmp_path / "hf"
        values = {
            "ENDPOINT": server.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_DISABLE_PROGRESS_BARS": True,
        }
        for name, value in values.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(client, "DELAYS", (0.01, 0.01))
        huggingface_hub.close_session()
        yield server
        huggingface_hub.close_session()


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that would leave this machine fails at once."""
    look_up = socket.getaddrinfo

    def guarded(host, *rest, **options):
        assert host in ("127.0.0.1", "localhost", b"127.0.0.1", b"localhost"), f"{host} is not this machine"
        return look_up(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", guarded)


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    return WRITE_TOKEN


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub's own retries wait for seconds; here they don't."""
    from huggingface_hub.utils import _http

    class Clock:
        @staticmethod
        def sleep(_: float) -> None:
            pass

        def __getattr__(self, name: str):
            import time

            return getattr(time, name)

    monkeypatch.setattr(_http, "time", Clock())
