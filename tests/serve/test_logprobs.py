"""Logprobs of a server that drafts: the right ones, or a refusal, never llama.cpp's 0.0 for drafted tokens."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from helpers.servers import PROMPT, Served, serving

from gemma_mtp.serve.request import asks_for_logprobs

GREEDY = {"prompt": PROMPT, "temperature": 0}


@pytest.fixture(scope="module")
def drafting(quantized_pair: tuple[Path, Path]) -> Iterator[Served]:
    with serving(*quantized_pair) as running:
        yield running


@pytest.fixture(scope="module")
def plain(quantized_pair: tuple[Path, Path]) -> Iterator[Served]:
    with serving(quantized_pair[0], "--no-draft") as running:
        yield running


def test_they_are_those_of_a_server_that_does_not_draft(drafting: Served, plain: Served):
    body = {**GREEDY, "max_tokens": 16, "logprobs": 3}
    answers = [one.post("/v1/completions", body)["choices"][0] for one in (drafting, plain)]
    assert answers[0]["text"] == answers[1]["text"]
    entries = [answer["logprobs"]["content"] for answer in answers]
    assert entries[0] == entries[1]
    assert len(entries[0]) == 16
    assert all(len(entry["top_logprobs"]) == 3 and entry["logprob"] < 0 for entry in entries[0])


@pytest.mark.parametrize(
    ("path", "more", "where"),
    [
        ("/completion", {"n_probs": 2, "n_predict": 8}, "completion_probabilities"),
        ("/v1/chat/completions", {"logprobs": True, "top_logprobs": 2, "max_tokens": 8}, "choices"),
    ],
)
def test_every_way_of_asking_is_noticed(drafting: Served, path: str, more: dict[str, Any], where: str):
    answer = drafting.post(path, {**GREEDY, "messages": [{"role": "user", "content": PROMPT}], **more})
    found = answer[where][0]["logprobs"]["content"] if where == "choices" else answer[where]
    assert len(found) == 8
    assert all(len(entry["top_logprobs"]) == 2 for entry in found)


def test_other_requests_are_drafted_all_the_same(drafting: Served):
    assert drafting.post("/v1/completions", {**GREEDY, "max_tokens": 16})["timings"]["draft_n"] > 0


def test_a_server_without_drafts_says_so_and_drafts_nothing(plain: Served):
    assert "draft_n" not in plain.post("/v1/completions", {**GREEDY, "max_tokens": 16})["timings"]
    plain.process.terminate()
    _, notes = plain.process.communicate(timeout=300)
    assert "nothing is drafted" in notes


def test_a_refusal_says_why_and_what_to_do(quantized_pair: tuple[Path, Path]):
    with serving(*quantized_pair, "--logprobs", "refuse") as served:
        with pytest.raises(HTTPError) as caught:
            served.post("/v1/completions", {**GREEDY, "logprobs": 1})
        with caught.value as refusal:
            assert refusal.code == 400
            error = json.load(refusal)["error"]
        assert "--no-draft" in error["message"]
        assert error["type"] == "invalid_request_error"
        assert served.post("/v1/completions", {**GREEDY, "logprobs": None, "max_tokens": 4})["timings"]["draft_n"] > 0


def test_who_has_no_key_starts_no_second_server(quantized_pair: tuple[Path, Path]):
    with serving(*quantized_pair, "--api-key", "secret") as served:
        with pytest.raises(HTTPError) as caught:
            served.post("/v1/completions", {**GREEDY, "logprobs": 1}, {"Authorization": "Bearer wrong"})
        with caught.value as refusal:
            assert refusal.code == 401
        assert children(served.process.pid) == 1
        for header in ({"Authorization": "Bearer secret"}, {"X-Api-Key": "secret"}):
            assert served.post("/v1/completions", {**GREEDY, "logprobs": 1, "max_tokens": 4}, header)["choices"]
        assert children(served.process.pid) == 2


def children(process: int) -> int:
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    if not (found := [path.read_text().split() for path in tasks]):
        pytest.skip("this system does not tell a process's children")
    return sum(map(len, found))


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        (b'{"logprobs": 1}', True),
        (b'{"logprobs": true}', True),
        (b'{"n_probs": 2.0}', True),
        (b'{"top_logprobs": 5}', True),
        (b'{"\\u006cogprobs": 1}', True),
        (b'\xef\xbb\xbf{"logprobs": 1}', True),
        (b'{"logprobs": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", True),
        (b'{"logprobs": 1, "seed": ' + b"9" * 10_000 + b"}", True),
        (b'{"logprobs": 0}', False),
        (b'{"logprobs": false, "top_logprobs": null}', False),
        (b'{"prompt": "logprobs n_probs"}', False),
        (b'{"messages": [{"logprobs": 1}]}', False),
        (b"[1]", False),
        (b"", False),
    ],
)
def test_what_counts_as_asking(body: bytes, asks: bool):
    assert asks_for_logprobs(body) is asks


def test_an_unclear_request_is_refused_before_anybody_reads_it(drafting: Served):
    """A body that two readers could end at different places would hide a request in another one."""
    with socket.create_connection(("127.0.0.1", drafting.port), timeout=300) as client:
        client.sendall(
            b"POST /completion HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        assert client.recv(4096).startswith(b"HTTP/1.1 400 ")
