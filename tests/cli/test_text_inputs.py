"""Prompts, jobs, results and notes are read by one reader: marks, line ends, encodings, pipes, depth."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from gemma_mtp.bench.results import read_results
from gemma_mtp.cli.run_input import read_prompt
from gemma_mtp.errors import BadFileError, GemmaMtpError, UsageError
from gemma_mtp.make.jobs_file import read_jobs
from gemma_mtp.make.manifest import Manifest
from gemma_mtp.mtp_runtime.prompts import read_prompts

MARK = b"\xef\xbb\xbf"
JOBS = {
    "jobs.toml": '[[job]]\nsource = "a/b"\ntype = ["Q8_0"]\n',
    "jobs.yaml": "job:\n- source: a/b\n  type: [Q8_0]\n",
}


@pytest.mark.parametrize("mark", [b"", MARK])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_prompts(mark, end, tmp_path, monkeypatch):
    """What the model sees is the same, whichever editor saved it; from a pipe, too."""
    path = tmp_path / "prompt.txt"
    path.write_bytes(mark + end.join([b"def main():", b"    x = 1", b""]))
    assert read_prompt(None, path) == "def main():\n    x = 1"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert read_prompt(None, None) == "def main():\n    x = 1"
    path.write_bytes(mark + end.join([b"one", b"---", b"two", b""]))
    assert read_prompts(path) == {"prompt 1": "one", "prompt 2": "two"}


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("mark", [b"", MARK])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_jobs(name, mark, end, tmp_path):
    path = tmp_path / name
    path.write_bytes(mark + JOBS[name].replace("\n", end).encode())
    (job,) = read_jobs(path)
    assert (job.source, job.options["types"]) == ("a/b", ("Q8_0",))


READERS = {
    "prompt": (lambda path: read_prompt(None, path), UsageError),
    "prompts": (read_prompts, UsageError),
    "jobs": (read_jobs, UsageError),
    "results": (read_results, BadFileError),
    "notes": (lambda path: Manifest.beside(path.parent, path.name.removeprefix("mtp-")[:-10]), BadFileError),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "UTF-16", "deep", "huge", "latin"])
def test_what_is_no_such_file(reader, kind, tmp_path):
    """A sentence with the file's name, at once."""
    name = {"notes": "mtp-t.make.json", "jobs": "jobs.yaml"}.get(reader, "file")
    path: Path = tmp_path / name
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    else:
        content = {"UTF-16": "{}".encode("utf-16"), "deep": b"[" * 100_000, "latin": b"\xe4"}[kind]
        path.write_bytes(content)
    read, kind_of_error = READERS[reader]
    if kind == "deep" and reader in ("prompt", "prompts"):
        assert read(path)  # brackets are a text like any other
        return
    with pytest.raises(kind_of_error) as caught:
        read(path)
    assert isinstance(caught.value, GemmaMtpError)
    assert str(path) in str(caught.value)


def test_results_with_a_value_of_any_depth(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"schema": "gemma-mtp bench", "version": [[[1]]] * 1000}))
    with pytest.raises(BadFileError, match="version") as caught:
        read_results(path)
    assert len(str(caught.value)) < 500
