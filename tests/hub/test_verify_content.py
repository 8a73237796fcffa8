"""Files compared with what the Hub has: `--hub`, and the Hub's own cache with `--deep`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.local_hub.stub import HubStub

from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.hub.download import fetch_file
from gemma_mtp.validate import Report, Status, verify_pair

REPO = "acme/tiny-GGUF"
NAMES = ("tiny-BF16.gguf", "mtp-tiny-BF16.gguf")


@pytest.fixture
def files(stub: HubStub, tmp_path: Path, target_gguf, assistant_gguf) -> tuple[Path, Path]:
    """The demo pair in a folder, and the same published."""
    stub.make_repo(REPO)
    for name, path in zip(NAMES, (target_gguf("BF16"), assistant_gguf("BF16")), strict=True):
        stub.add_file(REPO, name, path.read_bytes())
        shutil.copy(path, tmp_path / name)
    return tmp_path / NAMES[0], tmp_path / NAMES[1]


def spoil(path: Path) -> None:
    """Flip a bit in the middle, where a finite weight stays a finite weight."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.resolve().write_bytes(content)


def content(report: Report, part: str):
    return next(result.finding for result in report.results if result.id == f"{part}-content")


def test_equal(files, stub):
    report = verify_pair(*files, hub=[REPO])
    assert content(report, "target").status is content(report, "assistant").status is Status.OK
    assert not [r for r in stub.log if r["srv"] == "cdn"]


def test_damaged(files):
    spoil(files[1])
    report = verify_pair(*files, hub=[REPO])
    finding = content(report, "assistant")
    assert finding.status is Status.ERROR
    assert [result.id for result in report.errors] == ["assistant-content"]
    assert "mtp-tiny-BF16.gguf has other content than the published file" in finding.message
    assert "download it again" in finding.remedy
    assert content(report, "target").status is Status.OK
    assert verify_pair(*files).ok


def test_another_length(files):
    with files[0].open("ab") as file:
        file.write(bytes(32))
    finding = content(verify_pair(*files, hub=[REPO]), "target")
    assert finding.status is Status.ERROR
    assert f"has {files[0].stat().st_size:,} bytes, the published file" in finding.message


def test_one_file_is_named(files):
    report = verify_pair(*files, hub=[f"hf://{REPO}/{NAMES[1]}"])
    assert content(report, "assistant").status is Status.OK
    assert content(report, "target").status is Status.SKIPPED
    assert "has no file tiny-BF16.gguf" in content(report, "target").message


def test_files_of_the_cache(files):
    """Downloaded by the client, spoilt on the disk: only `--deep` reads enough to see it."""
    cached = [fetch_file(f"hf://{REPO}/{name}") for name in NAMES]
    assert content(verify_pair(*cached, deep=True), "target").status is Status.OK
    assert "--deep" in content(verify_pair(*cached), "target").message
    spoil(cached[0])
    assert verify_pair(*cached).ok
    assert [result.id for result in verify_pair(*cached, deep=True).errors] == ["target-content"]


def test_not_asked_for(files):
    finding = content(verify_pair(*files, deep=True), "target")
    assert finding.status is Status.SKIPPED
    assert "--hub owner/repo" in finding.message


@pytest.mark.parametrize("name", [f"blobs/sha256-{'a' * 64}", f"models/{'a' * 64}"])
def test_other_caches_name_their_files_otherwise(name: str, files, tmp_path: Path):
    """Ollama's blobs, for one: of a name that is no hash, or is one by chance, nothing follows."""
    (tmp_path / name).parent.mkdir()
    files[0].rename(tmp_path / name)
    assert content(verify_pair(tmp_path / name, files[1], deep=True), "target").status is Status.SKIPPED


def test_progress(files):
    from contextlib import contextmanager

    done: dict[str, list[int]] = {}

    @contextmanager
    def progress(what: str, total: int):
        done[what] = []
        yield done[what].append

    verify_pair(*files, hub=[REPO], progress=progress)
    assert {what: sum(counts) for what, counts in done.items()} == {
        f"hashing {path.name}": path.stat().st_size for path in files
    }


def test_no_such_place(files, tmp_path):
    with pytest.raises(UsageError, match="a path, not a repo"):
        verify_pair(*files, hub=[str(tmp_path)])
    with pytest.raises(UsageError, match="no file other"):
        verify_pair(*files, hub=[f"hf://{REPO}/other.gguf"])
    with pytest.raises(EnvironmentProblem, match="no such repo"):
        verify_pair(*files, hub=["acme/nothing"])
