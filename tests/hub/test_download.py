"""Downloads from the local Hub: what arrives, what is asked for, and every way in which it can go wrong."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from helpers.local_hub.fixtures import READ_TOKEN
from helpers.local_hub.stub import HubStub
from huggingface_hub import constants

from gemma_mtp.errors import BadFileError, EnvironmentProblem, UsageError
from gemma_mtp.hub import client, download
from gemma_mtp.hub.download import fetch_checkpoint, fetch_file

REPO = "acme/gemma-4-tiny-it-assistant"
WEIGHTS = bytes(range(256)) * 12_000  # 3 MB
FILES = {
    "config.json": json.dumps({"architectures": ["Gemma4AssistantForCausalLM"]}).encode(),
    "tokenizer.json": b'{"model": {}}' * 10,
    "model.safetensors": WEIGHTS,
    "README.md": b"---\nlicense: apache-2.0\n---\n",
    "onnx/model.safetensors": b"another",
    "model.bin": b"not wanted",
    "picture.png": b"not wanted either",
}


@pytest.fixture
def repo(stub: HubStub) -> str:
    stub.make_repo(REPO)
    for name, content in FILES.items():
        stub.add_file(REPO, name, content)
    return REPO


def gets(stub: HubStub) -> list[dict]:
    """The requests for content: resolve on the hub, or from its storage."""
    return [r for r in stub.log if r["method"] == "GET" and ("/resolve/" in r["path"] or r["srv"] == "cdn")]


def test_only_what_convert_reads_is_fetched_and_it_is_identical(stub: HubStub, repo: str):
    fetched = fetch_checkpoint(repo)
    assert fetched.repo == repo
    assert fetched.revision == stub.repos[repo]["commits"][-1]["oid"]
    there = {path.name: path.read_bytes() for path in fetched.folder.iterdir()}
    assert there == {name: FILES[name] for name in ("config.json", "tokenizer.json", "model.safetensors", "README.md")}
    assert fetched.hashes["model.safetensors"] == hashlib.sha256(WEIGHTS).hexdigest()


def test_a_local_folder_is_returned_as_it_is(tmp_path: Path, stub: HubStub):
    assert fetch_checkpoint(str(tmp_path)).folder == tmp_path
    assert not stub.log


def test_a_second_fetch_asks_once_and_downloads_nothing(stub: HubStub, repo: str):
    first = fetch_checkpoint(repo)
    before = len(stub.log)
    assert fetch_checkpoint(repo) == first
    assert len(stub.log) == before + 1


def test_huggingface_hub_finds_what_we_downloaded_and_the_reverse(stub: HubStub, repo: str):
    fetched = fetch_checkpoint(repo)
    count = len(gets(stub))
    assert huggingface_hub.hf_hub_download(repo, "config.json", endpoint=stub.endpoint) == str(
        fetched.folder / "config.json"
    )
    huggingface_hub.hf_hub_download(repo, "model.bin", endpoint=stub.endpoint)
    assert len(gets(stub)) > count
    count = len(gets(stub))
    assert fetch_file(f"hf://{repo}/model.bin").read_bytes() == FILES["model.bin"]
    assert len(gets(stub)) == count


def test_a_revision_is_respected(stub: HubStub, repo: str):
    old = stub.repos[repo]["commits"][-1]["oid"]
    stub.add_file(repo, "config.json", b'{"new": 1}')
    assert (fetch_checkpoint(f"{repo}@{old}").folder / "config.json").read_bytes() == FILES["config.json"]
    assert (fetch_checkpoint(repo).folder / "config.json").read_bytes() == b'{"new": 1}'


def test_progress_counts_every_byte_once(repo: str):
    done: list[int] = []
    opened: list[tuple[str, int]] = []

    @contextmanager
    def progress(what: str, total: int):
        opened.append((what, total))
        yield done.append

    fetch_checkpoint(repo, progress=progress)
    assert opened == [(f"downloading {repo}", sum(done))]
    assert sum(done) > len(WEIGHTS)


def test_offline_uses_the_cache_and_nothing_else(stub: HubStub, repo: str, monkeypatch: pytest.MonkeyPatch):
    fetched = fetch_checkpoint(repo)
    before = len(stub.log)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch_checkpoint(repo).folder == fetched.folder
    assert len(stub.log) == before
    with pytest.raises(EnvironmentProblem, match="not in the cache"):
        fetch_checkpoint("acme/other")


def test_a_damaged_cache_is_noticed_and_mended(stub: HubStub, repo: str):
    weights = fetch_checkpoint(repo).folder / "model.safetensors"
    damaged = bytearray(WEIGHTS)
    damaged[1000] ^= 1
    weights.resolve().write_bytes(damaged)
    assert (fetch_checkpoint(repo).folder / "model.safetensors").read_bytes() == WEIGHTS


def test_the_token_goes_to_the_hub_and_never_to_its_storage(stub: HubStub, repo: str, logged_in: str):
    fetch_checkpoint(repo)
    assert all(r["auth"] == (r["srv"] == "hub") for r in stub.log)


def test_a_cut_connection_goes_on_where_it_ended(stub: HubStub, repo: str):
    stub.fault("GET", "/lfs/", drop_after=1_000_000, srv="cdn")
    assert (fetch_checkpoint(repo).folder / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [r["range"] for r in stub.log if r["srv"] == "cdn"]
    assert ranges[0] is None
    assert 0 < int(ranges[1].removeprefix("bytes=").rstrip("-")) <= 1_000_000


def test_an_interrupted_download_is_continued_by_the_next_run(
    stub: HubStub, repo: str, monkeypatch: pytest.MonkeyPatch
):
    done = 0

    def interrupt(count: int) -> None:
        nonlocal done
        done += count
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_checkpoint(repo, progress=lambda *_: _constant(interrupt))
    before = len(stub.log)
    assert (fetch_checkpoint(repo).folder / "model.safetensors").read_bytes() == WEIGHTS
    starts = [int(r["range"][6:-1]) for r in stub.log[before:] if r["srv"] == "cdn"]
    assert len(starts) == 1
    assert starts[0] > 900_000


@contextmanager
def _constant(value):
    yield value


def test_many_cuts_are_forgiven_as_long_as_bytes_come(stub: HubStub, repo: str):
    stub.fault("GET", "/lfs/", drop_after=200_000, srv="cdn", times=12)
    assert (fetch_checkpoint(repo).folder / "model.safetensors").read_bytes() == WEIGHTS


def test_passing_trouble_is_retried(stub: HubStub, repo: str):
    stub.fault("GET", "/api/models/", 500, times=2)
    stub.fault("GET", "/resolve/", 503, times=2)
    stub.fault("GET", "/lfs/", 500, times=2, srv="cdn")
    assert (fetch_checkpoint(repo).folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_rate_limit_is_waited_for_as_long_as_the_hub_asks(stub: HubStub, repo: str, monkeypatch: pytest.MonkeyPatch):
    waits: list[float] = []
    monkeypatch.setattr(client, "time", SimpleNamespace(sleep=waits.append))
    stub.fault("GET", "/api/models/", 429, headers={"Retry-After": "7"})
    stub.fault("GET", "/resolve/", 429, headers={"RateLimit": '"resolvers";r=0;t=55'})
    fetch_checkpoint(repo)
    assert waits == [7, 55]


def test_wrong_content_of_the_right_length_is_refused_and_not_kept(stub: HubStub, repo: str):
    stub.fault("GET", "/lfs/", corrupt=True, srv="cdn")
    with pytest.raises(EnvironmentProblem, match=r"model\.safetensors arrived with other content") as caught:
        fetch_checkpoint(repo)
    assert "run it again" in caught.value.hint
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.partial"))
    assert (fetch_checkpoint(repo).folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_silent_server_is_given_up(stub: HubStub, repo: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client, "SILENCE_LIMIT", 0.2)
    stub.fault("GET", "/api/models/", silence=5, times=9)
    with pytest.raises(EnvironmentProblem, match="does not answer"):
        fetch_checkpoint(repo)


def test_a_body_that_stops_is_given_up(stub: HubStub, repo: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client, "SILENCE_LIMIT", 0.2)
    stub.fault("GET", "/lfs/", silence=5, times=9, srv="cdn")
    with pytest.raises(EnvironmentProblem, match="does not answer"):
        fetch_checkpoint(repo)


def test_a_slow_body_is_waited_for_as_long_as_bytes_come(stub: HubStub, repo: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client, "SILENCE_LIMIT", 0.25)
    stub.fault("GET", "/lfs/", drip=0.1, srv="cdn")  # 0.8 s in all
    assert (fetch_checkpoint(repo).folder / "model.safetensors").read_bytes() == WEIGHTS
    assert len([record for record in stub.log if record["srv"] == "cdn"]) == 1


def test_too_little_room_is_said_before_anything_is_downloaded(stub: HubStub, repo: str, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(EnvironmentProblem, match=r"needs 3\.1 MB, 1\.0 MB are free"):
        fetch_checkpoint(repo)
    assert not gets(stub)


#: fault, words of the message, words of the hint
REFUSALS = {
    "unauthorized": (401, {}, "does not accept the token", "hf auth login"),
    "forbidden": (403, {}, "may not do that", "write permission"),
    "gated": (403, {"X-Error-Code": "GatedRepo"}, "gated", f"/{REPO}"),
    "missing": (404, {"X-Error-Code": "RepoNotFound"}, "no such repo", "spelling"),
    "conflict": (409, {}, "something else", "again"),
    "rate limit": (429, {"Retry-After": "3600"}, "rate limit", "wait"),
    "server trouble": (500, {}, "problem of its own", "again"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_are_one_sentence_with_a_remedy(stub: HubStub, repo: str, case: str):
    status, headers, words, remedy = REFUSALS[case]
    stub.fault("GET", "/resolve/", status, headers=headers, times=9)
    with pytest.raises(EnvironmentProblem) as caught:
        fetch_checkpoint(repo)
    assert caught.value.exit_code == 3
    assert words in caught.value.what
    assert "\n" not in str(caught.value)
    assert remedy in caught.value.hint


def test_a_gated_repo_names_the_page_with_its_conditions(stub: HubStub, repo: str):
    stub.repos[repo]["gated"] = True
    with pytest.raises(EnvironmentProblem, match="gated") as caught:
        fetch_checkpoint(repo)
    assert f"{stub.endpoint}/{repo}" in caught.value.hint


def test_a_misspelt_official_repo_gets_the_right_name(stub: HubStub):
    with pytest.raises(EnvironmentProblem, match="no such repo") as caught:
        fetch_checkpoint("google/gemma-4-e2b-it-asistant")
    assert "google/gemma-4-E2B-it-assistant" in caught.value.hint


def test_a_missing_revision(repo: str):
    with pytest.raises(EnvironmentProblem, match="no such revision"):
        fetch_checkpoint(f"{repo}@v9")


def test_an_unreachable_hub(repo: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EnvironmentProblem, match=r"127\.0\.0\.1:9 cannot be reached"):
        fetch_checkpoint(repo)


def test_an_answer_that_is_not_the_hubs(stub: HubStub, repo: str):
    stub.fault("GET", "/api/models/", 200, body=b"<html>Please log in to the hotel's network</html>")
    with pytest.raises(EnvironmentProblem, match="not the Hub's"):
        fetch_checkpoint(repo)


def test_a_token_never_gets_into_a_message(stub: HubStub, repo: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    stub.fault("GET", "/api/models/", 403, body={"error": f"token {READ_TOKEN} lacks rights"})
    with pytest.raises(EnvironmentProblem) as caught:
        fetch_checkpoint(repo)
    assert "lacks rights" in str(caught.value)
    assert READ_TOKEN not in str(caught.value)


def test_a_repo_of_ggufs_is_no_checkpoint(stub: HubStub):
    stub.make_repo("acme/ggufs")
    stub.add_file("acme/ggufs", "mtp-x-Q8_0.gguf", b"GGUF")
    with pytest.raises(BadFileError, match="no checkpoint") as caught:
        fetch_checkpoint("acme/ggufs")
    assert "hf://acme/ggufs/mtp-x-Q8_0.gguf" in caught.value.hint


def test_a_file_is_no_checkpoint_and_a_repo_no_file(repo: str):
    with pytest.raises(UsageError, match="not a checkpoint"):
        fetch_checkpoint(f"{repo}:Q8_0")
    with pytest.raises(UsageError, match="name one file"):
        fetch_file(repo)


def test_a_file_that_is_not_there_names_its_like(repo: str):
    with pytest.raises(UsageError, match=r"no file weights\.safetensors") as caught:
        fetch_file(f"hf://{repo}/weights.safetensors")
    assert "model.safetensors" in caught.value.hint
