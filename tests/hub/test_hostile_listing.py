"""A Hub that is none: what it names never becomes a path outside of the cache, and no answer of it is a traceback."""

from __future__ import annotations

import copy
import hashlib
import json
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from helpers.local_hub.stub import HubStub
from huggingface_hub import constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.hub.cache import RepoCache
from gemma_mtp.hub.download import fetch_checkpoint, fetch_file, list_repo
from gemma_mtp.hub.names import is_inside
from gemma_mtp.hub.remote import read_remote_header
from gemma_mtp.hub.source import parse_source
from gemma_mtp.make import Job, jobs_of, schedule
from gemma_mtp.make.selection import Entry, find_assistants

REPO = "acme/gemma-4-tiny-it-assistant"
CONTENT = b'{"architectures": ["Gemma4AssistantForCausalLM"]}'
SHA1 = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
INFO: dict[str, Any] = {
    "id": REPO,
    "sha": "a" * 40,
    "private": False,
    "siblings": [
        {"rfilename": "config.json", "size": len(CONTENT), "blobId": SHA1},
        {
            "rfilename": "model.safetensors",
            "size": len(CONTENT),
            "blobId": SHA1,
            "lfs": {"sha256": SHA256, "size": 9, "pointerSize": 1},
        },
    ],
}
OUTSIDE = ["../../X", "../../../X", "/tmp/gemma-mtp-X", "..", "a/../../X", "..\\..\\X", "x\0y", "", "./X", "a//X"]


def serve(stub: HubStub, info: Any) -> None:
    """Whatever is asked about repos, the answer is this; whatever file is asked for, CONTENT."""
    stub.fault("GET", "/api/models/", 200, body=json.dumps(info).encode(), times=99)
    stub.fault("GET", "/resolve/", 200, body=CONTENT, times=99)


def with_value(path: list[str | int], value: Any) -> dict[str, Any]:
    info = copy.deepcopy(INFO)
    inner: Any = info
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return info


def outside(tmp_path: Path) -> set[Path]:
    """All that is there but not below the repo's own folder of the cache, nor a folder."""
    inside = (RepoCache.of(REPO).root, Path(constants.HF_HUB_CACHE) / ".locks" / RepoCache.of(REPO).root.name)
    return {
        path for path in tmp_path.rglob("*") if not path.is_dir() and not any(path.is_relative_to(p) for p in inside)
    }


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize(
    "path",
    [["sha"], ["siblings", 0, "rfilename"], ["siblings", 0, "blobId"], ["siblings", 1, "lfs", "sha256"]],
    ids=["commit", "file", "git hash", "sha256"],
)
def test_what_leads_out_of_the_cache_is_refused(stub: HubStub, tmp_path: Path, path: list[str | int], name: str):
    serve(stub, with_value(path, name))
    before = outside(tmp_path)
    for fetch in (lambda: fetch_checkpoint(REPO), lambda: fetch_file(f"hf://{REPO}/config.json")):
        with pytest.raises(EnvironmentProblem) as caught:
            fetch()
        assert caught.value.exit_code == 3
        assert "\n" not in str(caught.value)
    with pytest.raises(EnvironmentProblem):
        schedule(Job(REPO, folder=tmp_path / "out"))
    assert outside(tmp_path) == before
    assert not Path("/tmp/gemma-mtp-X").exists()


def test_the_answer_without_a_fault_is_taken(stub: HubStub):
    serve(stub, INFO)
    assert fetch_file(f"hf://{REPO}/config.json").read_bytes() == CONTENT


JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
    st.just(["a"]),
)
PLACES = [[], ["sha"], ["id"], ["private"], ["siblings"], ["siblings", 0], ["siblings", 1, "lfs"]]
PLACES += [["siblings", 0, key] for key in ("rfilename", "size", "blobId")]
PLACES += [["siblings", 1, "lfs", key] for key in ("sha256", "size", "pointerSize")]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.sampled_from(PLACES), value=JSON)
def test_an_answer_of_other_types_is_a_sentence(stub: HubStub, place: list[str | int], value: Any):
    stub.faults.clear()
    serve(stub, with_value(place, value) if place else value)
    with suppress(EnvironmentProblem):
        list_repo(parse_source(f"hf://{REPO}"))


def test_a_commit_in_an_answer_to_a_header_request(stub: HubStub):
    headers = {"X-Repo-Commit": "../../X", "Content-Range": "bytes 0-3/4"}
    stub.fault("GET", "/resolve/", 206, body=b"GGUF", headers=headers, times=9)
    with pytest.raises(EnvironmentProblem, match="names a commit that is none"):
        read_remote_header(parse_source(f"hf://{REPO}/x.gguf"))


def test_more_bytes_than_promised_are_not_taken(stub: HubStub):
    stub.fault("GET", "/api/models/", 200, body=json.dumps(INFO).encode(), times=99)
    stub.fault("GET", "/resolve/", 200, body=CONTENT + bytes(50 << 20), times=99)
    done: list[int] = []
    with pytest.raises(EnvironmentProblem, match="arrived with other content"):
        fetch_file(f"hf://{REPO}/config.json", progress=lambda *_: nullcontext(done.append))
    assert sum(done) < 10 << 20


@pytest.mark.parametrize("revision", ["..", "refs/pr/..", "."])
def test_a_revision_that_leads_elsewhere(revision: str):
    with pytest.raises(UsageError, match="is no revision"):
        parse_source(f"hf://{REPO}@{revision}")


def test_notes_of_the_cache_that_lead_elsewhere(stub: HubStub, monkeypatch: pytest.MonkeyPatch):
    ref = RepoCache.of(REPO).root / "refs" / "main"
    ref.parent.mkdir(parents=True)
    ref.write_text("../../..")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EnvironmentProblem, match="not in the cache"):
        fetch_checkpoint(REPO)


def test_repos_that_a_server_lists(stub: HubStub):
    config = {"architectures": ["Gemma4AssistantForCausalLM"]}
    models = [{"id": name, "config": config} for name in ("../../etc", "/etc/x", "x", "acme/..", "acme/good")]
    models += [
        {"id": "acme/odd", "config": value} for value in (7, "x", [], {"architectures": 7}, {"architectures": [[]]})
    ]
    stub.fault("GET", r"/api/models\?", 200, body=json.dumps(models).encode(), times=9)
    assert find_assistants("acme") == ["acme/good"]


@pytest.mark.parametrize("name", ["../x", "a/b", "/x", "..", "a\\b", ""])
def test_an_assistants_name_is_no_path(name: str):
    with pytest.raises(UsageError, match="no name for files"):
        jobs_of([Entry(REPO, None, {"name": name})])


def test_what_is_inside():
    assert all(
        is_inside(name) for name in ("a", "a/b.gguf", "a b", "\xe4\xf6", "...", "a..b", "refs/pr/1", "\u4e2d\xa0")
    )
    assert not any(is_inside(name) for name in OUTSIDE)
