"""Remote headers: the same as the local file's, for few bytes and requests; servers and files that misbehave."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from helpers.local_hub.stub import HubStub

from gemma_mtp.errors import EnvironmentProblem, GGUFError, UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_writer import TensorPlan, encode_header
from gemma_mtp.ggml import GGMLType
from gemma_mtp.hub.remote import find_remote_gguf, read_remote_header
from gemma_mtp.hub.source import parse_source
from gemma_mtp.model.part import Part

REPO = "acme/tiny-GGUF"
URL = f"hf://{REPO}/mtp-tiny-Q8_0.gguf"


def gguf(tokens: int, rows: int = 4096) -> bytes:
    """A GGUF whose header grows with `tokens` (12 bytes each) and whose data is 256 bytes a row."""
    plans = [TensorPlan("token_embd.weight", (rows, 64), GGMLType.F32)]
    words = gv.strings([f"{index:04d}" for index in range(tokens)])
    header = encode_header({"general.architecture": gv.string("gemma4-assistant"), "tokens": words}, plans)
    return header + bytes(rows * 256)


@pytest.fixture
def repo(stub: HubStub) -> HubStub:
    stub.make_repo(REPO)
    return stub


@pytest.mark.parametrize(("tokens", "requests"), [(10, 1), (8_000, 2), (1_400_000, 3)])
def test_the_header_is_the_local_ones_for_few_bytes(repo: HubStub, tmp_path, tokens: int, requests: int):
    content = gguf(tokens, rows=100_000)
    path = tmp_path / "local.gguf"
    path.write_bytes(content)
    repo.add_file(REPO, "mtp-tiny-Q8_0.gguf", content)
    remote = read_remote_header(parse_source(URL))
    with GGUFFile(path) as local:
        assert remote.header.metadata == local.metadata
        assert remote.header.tensors == local.tensors
        assert remote.header.size == len(content)
    assert remote.requests == requests
    assert sum(r["sent"] for r in repo.log if r["srv"] == "cdn") == remote.bytes_read
    assert remote.bytes_read < len(content) or tokens > 1_000_000
    assert remote.sha256 == hashlib.sha256(content).hexdigest()
    assert remote.source.revision == repo.repos[REPO]["commits"][-1]["oid"]


def test_a_server_without_ranges_is_not_read_to_the_end(repo: HubStub, monkeypatch: pytest.MonkeyPatch):
    content = gguf(8_000, rows=200_000)
    repo.add_file(REPO, "mtp-tiny-Q8_0.gguf", content)
    repo.ranges = False
    remote = read_remote_header(parse_source(URL))
    assert remote.header.size == len(content)
    assert remote.header.metadata["tokens"].count == 8_000


def test_what_is_no_gguf_costs_one_small_request(repo: HubStub):
    repo.add_file(REPO, "mtp-tiny-Q8_0.gguf", b"<html>" * 100_000)
    with pytest.raises(GGUFError, match="not a GGUF file") as caught:
        read_remote_header(parse_source(URL))
    assert caught.value.where == URL
    assert sum(r["sent"] for r in repo.log if r["srv"] == "cdn") == 64 << 10


def test_a_cut_off_file_is_recognised(repo: HubStub):
    repo.add_file(REPO, "mtp-tiny-Q8_0.gguf", gguf(8_000)[:-1000])
    with pytest.raises(GGUFError, match="the file has"):
        read_remote_header(parse_source(URL))


def test_an_absurd_header_is_not_fetched(repo: HubStub):
    header = encode_header({"general.architecture": gv.string("gemma4")}, [])
    lying = bytearray(header + gv.encode_strings(["k"]) + np.uint32(gv.ValueType.STRING).tobytes())
    lying[16:24] = np.uint64(2).tobytes()  # two pairs, the second a string of 100 MB
    position = header.rindex(b"gemma4") + len(b"gemma4")
    content = bytes(lying[:position]) + gv.encode_strings(["k"]) + np.uint32(8).tobytes()
    content += np.uint64(100 << 20).tobytes() + bytes(101 << 20)
    repo.add_file(REPO, "mtp-tiny-Q8_0.gguf", content)
    with pytest.raises(GGUFError, match="more than any model's"):
        read_remote_header(parse_source(URL))
    assert sum(r["sent"] for r in repo.log if r["srv"] == "cdn") == 64 << 10


def test_an_empty_file(repo: HubStub):
    repo.add_file(REPO, "mtp-tiny-Q8_0.gguf", b"")
    with pytest.raises(EnvironmentProblem, match="empty"):
        read_remote_header(parse_source(URL))


def test_passing_trouble_is_retried(repo: HubStub):
    repo.add_file(REPO, "mtp-tiny-Q8_0.gguf", gguf(8_000))
    repo.fault("GET", "/lfs/", 500, srv="cdn")
    repo.fault("GET", "/lfs/", drop_after=1000, srv="cdn")
    assert read_remote_header(parse_source(URL)).header.metadata["tokens"].count == 8_000


def test_a_file_that_changes_meanwhile_is_read_at_one_commit(repo: HubStub):
    repo.add_file(REPO, "mtp-tiny-Q8_0.gguf", gguf(8_000))
    commit = repo.repos[REPO]["commits"][-1]["oid"]
    read_remote_header(parse_source(URL))
    paths = [r["path"] for r in repo.log if "/resolve/" in r["path"]]
    assert [path.split("/resolve/")[1].split("/")[0] for path in paths] == ["main", commit]


def test_a_type_names_a_file(repo: HubStub):
    for name in ("mtp-tiny-Q8_0.gguf", "tiny-Q8_0-00001-of-00002.gguf", "tiny-Q8_0-00002-of-00002.gguf"):
        repo.add_file(REPO, name, gguf(10))
    commit = repo.repos[REPO]["commits"][-1]["oid"]
    source = parse_source(f"{REPO}:Q8_0")
    assert [found.file for found in find_remote_gguf(source, Part.ASSISTANT)] == ["mtp-tiny-Q8_0.gguf"]
    assert [found.file for found in find_remote_gguf(source, Part.TARGET)] == [
        "tiny-Q8_0-00001-of-00002.gguf",
        "tiny-Q8_0-00002-of-00002.gguf",
    ]
    assert {found.revision for found in find_remote_gguf(source, Part.TARGET)} == {commit}
    with pytest.raises(UsageError, match="no file other"):
        find_remote_gguf(parse_source(f"hf://{REPO}/other.gguf"), "target")


def test_a_repo_is_no_file():
    with pytest.raises(UsageError, match="no file on the Hub"):
        read_remote_header(parse_source(REPO))
