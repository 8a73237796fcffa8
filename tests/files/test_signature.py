"""A file that is no GGUF is told what it is."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save
from typer.testing import CliRunner

from gemma_mtp.cli.main import application
from gemma_mtp.files.signature import SIGNATURES


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.gguf"))
    return file.getvalue()


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n"
FILES = {
    "safetensors": (save({"a": np.zeros(4, "f4")}), "a safetensors file", "takes the folder"),
    "PyTorch": (_zip(), "a zip archive, as PyTorch", "safetensors"),
    "an old PyTorch": (pickle.dumps({"a": 1}), "a pickle", "safetensors"),
    "Git LFS": (POINTER.encode(), "a Git LFS pointer", "git lfs pull"),
    "a web page": (b"<!DOCTYPE html>\n<html>", "a web page", "download"),
    "a web page with a mark": (b"\xef\xbb\xbf<html>", "a web page", "download"),
    "JSON": (json.dumps({"error": "Repository not found"}).encode(), "JSON", "checkpoint"),
    "gzip": (gzip.compress(b"GGUF"), "gzip", "unpack"),
    "tar": (_tar(), "a tar archive", "unpack"),
    "an old model": (b"tjgg" + bytes(40), "from before GGUF", "GGUF"),
    "nothing written": (bytes(4096), "zero bytes alone", "again"),
    "a note": (b"see elsewhere\n", "a text", "name the model"),
}


@pytest.mark.parametrize("command", [["inspect"], ["convert", "--type", "Q8_0"], ["quantize", "--list"]])
@pytest.mark.parametrize("kind", FILES)
def test_told_what_it_is(tmp_path, kind, command):
    data, says, hint = FILES[kind]
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    result = CliRunner().invoke(application(), [*command, str(path)])
    assert result.exit_code == 1
    told = " ".join(result.output.split())
    assert says in told
    assert hint in told
    assert "keeps its types" not in told


def test_every_signature_is_a_sentence():
    assert all(one.what and one.hint for one in SIGNATURES)
