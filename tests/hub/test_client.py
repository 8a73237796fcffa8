"""The connection's settings, and what of huggingface_hub is used: its public names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from helpers.local_hub.stub import HubStub
from typer.testing import CliRunner

import gemma_mtp
from gemma_mtp.cli.main import application
from gemma_mtp.errors import UsageError
from gemma_mtp.hub import client
from gemma_mtp.hub.problems import TransportError


@pytest.mark.parametrize("value", ["abc", "0", "-1", "nan", "inf", "1,5", " "])
def test_a_time_out_that_is_no_number_is_a_sentence(value: str, stub: HubStub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GEMMA_MTP_HUB_TIMEOUT", value)
    client.prepare_client.cache_clear()
    result = CliRunner().invoke(application(), ["verify", "hf://a/b/x.gguf", "hf://a/b/y.gguf"])
    assert result.exit_code == 2
    assert f"GEMMA_MTP_HUB_TIMEOUT is {value!r}" in result.stderr
    assert not stub.log


def test_a_time_out_that_is_given_is_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GEMMA_MTP_HUB_TIMEOUT", "2.5")
    assert client.silence_limit() == 2.5
    monkeypatch.delenv("GEMMA_MTP_HUB_TIMEOUT")
    assert client.silence_limit() == client.SILENCE_LIMIT


@pytest.mark.parametrize("value", ["huggingface.co", "http://", "http://h:port", "http://[", "ftp://h", "h:80"])
def test_an_endpoint_that_is_no_address(value: str, monkeypatch: pytest.MonkeyPatch):
    from gemma_mtp.hub.endpoint import require_address

    monkeypatch.setenv("HF_ENDPOINT", value)
    with pytest.raises(UsageError, match="no address of a Hub"):
        require_address()
    for right in ("https://hf-mirror.com", "http://127.0.0.1:8080/hub/", "http://u:p@[::1]:80", ""):
        monkeypatch.setenv("HF_ENDPOINT", right)
        require_address()


def test_only_public_names_of_huggingface_hub_are_used():
    private = []
    for path in Path(gemma_mtp.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            names = [*module.split("."), *(alias.name for alias in node.names)] if module else []
            if names[:1] == ["huggingface_hub"] and any(name.startswith("_") for name in names):
                private.append(f"{path.name}: {module}")
    assert private == []


def test_the_transports_errors_are_known():
    kinds = {kind.__name__ for kind in TransportError.__subclasses__()}
    assert TransportError.__module__.partition(".")[0] in ("httpx", "httpx2")
    assert "RequestError" in kinds
