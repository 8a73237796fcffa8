"""Every call of a push against every way to fail: one sentence, exit code 3, no token; the next run works."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.local_hub.fixtures import WRITE_TOKEN
from helpers.local_hub.stub import HubStub
from huggingface_hub import constants
from huggingface_hub import logging as hub_logging
from typer.testing import CliRunner, Result

from gemma_mtp.cli.main import application
from gemma_mtp.files.hashing import sha256_of
from gemma_mtp.hub import client

REPO = "alice/tiny-it-assistant-GGUF"
NAME = "mtp-tiny-it-Q4_0.gguf"

pytestmark = pytest.mark.usefixtures("quick_retries", "logged_in")

#: The calls of a push, in order: method, path, server.
CALLS = {
    "info": ("GET", f"/api/models/{REPO}", "hub"),
    "list collections": ("GET", "/api/collections", "hub"),
    "whoami": ("GET", "/api/whoami", "hub"),
    "create": ("POST", "/api/repos/create", "hub"),
    "preupload": ("POST", "/preupload/", "hub"),
    "batch": ("POST", "/objects/batch", "hub"),
    "put": ("PUT", "/lfs/", "cdn"),
    "verify upload": ("POST", "/objects/verify", "hub"),
    "commit": ("POST", "/commit/main", "hub"),
    "compare": ("POST", "/paths-info/", "hub"),
    "create collection": ("POST", "/api/collections$", "hub"),
    "add to collection": ("POST", "/items$", "hub"),
}
SERVER_WORDS = f"out of cheese; you sent Bearer {WRITE_TOKEN} to https://cdn/x?X-Amz-Signature=abc&token={WRITE_TOKEN}"
#: What the Hub answers, each time it is asked, and words of the sentence that is made of it.
FAILURES: dict[str, tuple[dict, str]] = {
    "401": ({"status": 401}, "token|no such repo"),
    "403": ({"status": 403, "body": {"error": SERVER_WORDS}}, "may not do that"),
    "404": ({"status": 404}, "nothing there|no such"),
    "409": ({"status": 409}, "something else is changing it|not the Hub's|did not take"),
    "429": ({"status": 429, "headers": {"Retry-After": "3600"}}, "rate limit"),
    "500": ({"status": 500, "body": {"error": SERVER_WORDS}}, "problem of its own"),
    "cut": ({"drop_after": 1}, "broke off"),
}


@pytest.fixture
def assistant(tmp_path: Path, assistant_gguf: Callable[[str], Path]) -> Path:
    return Path(shutil.copyfile(assistant_gguf("Q4_0"), tmp_path / NAME))


@pytest.fixture
def every_log(caplog: pytest.LogCaptureFixture):
    """All that anybody logs, huggingface_hub's own debug lines included."""
    caplog.set_level(logging.DEBUG)
    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity_debug()
    hub_logging.enable_propagation()
    yield caplog
    hub_logging.disable_propagation()
    hub_logging.set_verbosity(before)


def push(path: Path, *options: str) -> Result:
    return CliRunner().invoke(application(), ["push", str(path), "--repo", REPO, "--collection", "Drafters", *options])


def assert_complete(stub: HubStub, path: Path) -> None:
    entry = stub.repos[REPO]["commits"][-1]["tree"][NAME]
    assert stub.blob_path(entry["sha"]).read_bytes() == path.read_bytes()
    (collection,) = stub.collections.values()
    assert [item["id"] for item in collection["items"]] == [REPO]


@pytest.mark.parametrize("call", CALLS)
def test_a_failure_is_one_sentence_and_the_next_run_completes(
    stub: HubStub, assistant: Path, every_log: pytest.LogCaptureFixture, call: str
):
    method, path, server = CALLS[call]
    if call == "info":
        stub.make_repo(REPO)
    for name, (fault, words) in FAILURES.items():
        if (call, name) == ("info", "404"):
            continue  # the repo is new then
        if call == "verify upload":  # there is one for each upload, and what has arrived is not sent again
            stub.blob_path(sha256_of(assistant)).unlink(missing_ok=True)
        stub.fault(method, path, times=99, srv=server, **fault)
        result = push(assistant)
        assert result.exit_code == 3, (name, result.output)
        problem, hint = result.stderr.strip().splitlines()[-2:]
        assert problem.startswith("error: "), (name, result.stderr)
        assert any(word in problem for word in words.split("|")), (name, problem)
        assert hint.startswith("hint: ")
        assert "Traceback" not in result.output
        assert not result.stdout
        for said in (result.output, every_log.text):
            assert WRITE_TOKEN not in said, name
            assert "Signature=abc" not in said
        stub.faults.clear()
    result = push(assistant)
    assert result.exit_code == 0, result.output
    assert_complete(stub, assistant)


@pytest.mark.parametrize("call", [call for call in CALLS if call != "verify upload"])
def test_a_server_that_says_nothing_is_not_waited_for_for_ever(
    stub: HubStub, assistant: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    method, path, server = CALLS[call]
    monkeypatch.setattr(client, "SILENCE_LIMIT", 0.1)
    monkeypatch.setattr(client, "DELAYS", ())
    stub.fault(method, path, times=99, srv=server, silence=3)
    result = push(assistant)
    assert result.exit_code == 3, result.output
    assert "does not answer" in result.stderr
    stub.faults.clear()
    assert push(assistant).exit_code == 0
    assert_complete(stub, assistant)


def test_retry_after_is_obeyed(stub: HubStub, assistant: Path, monkeypatch: pytest.MonkeyPatch):
    slept: list[float] = []
    monkeypatch.setattr(client.time, "sleep", slept.append)
    stub.fault("GET", "/api/whoami", 429, headers={"Retry-After": "7"})
    stub.fault("POST", "/commit/main", 429, headers={"RateLimit": '"api";r=0;t=9'})
    assert push(assistant).exit_code == 0
    assert {7.0, 9.0} <= set(slept)


def test_another_repo_being_made_for_the_account_is_waited_for(stub: HubStub, assistant: Path):
    words = "Cannot create repo: another conflicting operation is in progress"
    stub.fault("POST", "/api/repos/create", 409, body={"error": words}, times=2)
    assert push(assistant).exit_code == 0
    stub.fault("POST", "/api/repos/create", 409, body={"error": words}, times=99)
    del stub.repos[REPO]
    result = push(assistant)
    assert result.exit_code == 3
    assert "something else is changing it" in result.stderr
    assert sum(fault["times"] for fault in stub.faults) > 90, "asked again for ever"


# ------------------------------------------------------------------ Xet or plain HTTP


@pytest.fixture
def with_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub as it comes: it sends by Xet. The library's own attempts are quick here."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms")


@pytest.mark.usefixtures("with_xet")
def test_a_server_without_xet_gets_plain_http(stub: HubStub, assistant: Path):
    assert push(assistant).exit_code == 0
    assert_complete(stub, assistant)
    asked = [record["path"] for record in stub.log if "xet" in record["path"]]
    assert asked == [f"/api/models/{REPO}/xet-write-token/main"]


@pytest.mark.usefixtures("with_xet")
@pytest.mark.parametrize("failure", ["401", "403", "429", "500", "cut"])
def test_a_refused_xet_token_is_told_as_any_refusal(stub: HubStub, assistant: Path, failure: str):
    fault, words = FAILURES[failure]
    fault = {"silence": 0.01} if failure == "cut" else fault
    stub.fault("GET", "/xet-write-token/", times=99, **fault)
    result = push(assistant)
    assert result.exit_code == 3
    assert any(word in result.stderr for word in words.split("|")), result.stderr
    assert WRITE_TOKEN not in result.output
    stub.faults.clear()
    assert push(assistant).exit_code == 0
    assert_complete(stub, assistant)


@pytest.mark.usefixtures("with_xet")
def test_xet_storage_that_cannot_be_reached_is_gone_around(stub: HubStub, assistant: Path):
    token = {"accessToken": "secret-of-xet", "exp": 4_000_000_000, "casUrl": "http://127.0.0.1:9"}
    stub.fault("GET", "/xet-write-token/", 200, body=token, times=99)
    result = push(assistant)
    assert result.exit_code == 0, result.output
    assert_complete(stub, assistant)
    assert "secret-of-xet" not in result.output


# ------------------------------------------------------------------ private stays private


def test_nothing_private_goes_into_a_public_repo(stub: HubStub, assistant: Path):
    stub.make_repo(REPO)
    result = push(assistant, "--private")
    assert result.exit_code == 3
    assert "the repo is public" in result.stderr
    assert NAME not in stub.repos[REPO]["commits"][-1]["tree"]


def test_nor_into_one_that_was_made_in_the_meantime(stub: HubStub, assistant: Path):
    from gemma_mtp.errors import EnvironmentProblem
    from gemma_mtp.publish import PushRequest, plan_push
    from gemma_mtp.publish import push as carry_out

    plan = plan_push(PushRequest([assistant], REPO, private=True))
    stub.make_repo(REPO)
    with pytest.raises(EnvironmentProblem, match="the repo is public"):
        carry_out(plan)
    assert NAME not in stub.repos[REPO]["commits"][-1]["tree"]
