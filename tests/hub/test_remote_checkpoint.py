"""Checkpoints on the Hub without their weights: whole or sharded, and headers that lie."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.local_hub.stub import HubStub
from safetensors.numpy import save

from gemma_mtp.errors import BadFileError, SafetensorsError
from gemma_mtp.hub.download import list_repo
from gemma_mtp.hub.remote_checkpoint import RemoteCheckpoint, read_remote_checkpoint
from gemma_mtp.hub.source import parse_source

REPO = "acme/gemma-4-tiny-it"
ONE = {"a": np.ones((2, 3), np.float32), "b": np.ones(5, np.float16)}
OTHER = {"c": np.ones((700, 1000), np.float32)}


def add(stub: HubStub, files: dict[str, bytes]) -> None:
    stub.make_repo(REPO)
    for name, content in {"config.json": b"{}", "tokenizer.json": b"{}", **files}.items():
        stub.add_file(REPO, name, content)


def read() -> RemoteCheckpoint:
    source = parse_source(REPO)
    return read_remote_checkpoint(source, list_repo(source))


def from_storage(stub: HubStub) -> int:
    return sum(r["sent"] for r in stub.log if r["srv"] == "cdn" and r["method"] == "GET")


def test_one_file(stub: HubStub):
    add(stub, {"model.safetensors": save(ONE)})
    found = read()
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in found.tensors.items()} == {
        "a": ("F32", (2, 3)),
        "b": ("F16", (5,)),
    }
    assert (found.folder / "config.json").read_bytes() == b"{}"
    assert not (found.folder / "model.safetensors").exists()


def test_shards_cost_a_header_each(stub: HubStub):
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}}
    shards = {"model-1.safetensors": save(ONE), "model-2.safetensors": save(OTHER)}
    add(stub, {**shards, "model.safetensors.index.json": json.dumps(index).encode()})
    found = read()
    assert set(found.tensors) == {"a", "b", "c"}
    assert found.size == sum(map(len, shards.values()))
    assert from_storage(stub) < 70_000 < found.size
    assert found.requests == 3 + 2  # config, tokenizer, index; a header for each shard


def test_a_long_header_takes_a_second_request(stub: HubStub):
    add(stub, {"model.safetensors": save({f"tensor.{n}": np.ones(64, np.float32) for n in range(2000)})})
    found = read()
    assert len(found.tensors) == 2000
    assert found.requests == 2 + 2


def test_shards_that_are_missing_or_overlap(stub: HubStub):
    index = {"weight_map": {"a": "model-1.safetensors", "c": "model-2.safetensors"}}
    add(stub, {"model-1.safetensors": save(ONE), "model.safetensors.index.json": json.dumps(index).encode()})
    with pytest.raises(SafetensorsError, match=r"names model-2\.safetensors, which is not"):
        read()
    stub.add_file(REPO, "model-2.safetensors", save(ONE))
    with pytest.raises(SafetensorsError, match="is also in"):
        read()


def test_no_checkpoint(stub: HubStub):
    add(stub, {"some.gguf": b"GGUF"})
    with pytest.raises(BadFileError, match="no safetensors weights"):
        read()


def header(records: dict, data: int) -> bytes:
    text = json.dumps(records).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


def record(first: int, last: int, shape: list[int], dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty|header would have"),
        (b"<html>not a model</html>" * 10, "its header would have"),
        ((2**62).to_bytes(8, "little") + bytes(100), "its header would have"),
        ((4).to_bytes(8, "little") + b"nope" + bytes(100), "no list of tensors"),
        (header({"a": {"dtype": "F32"}}, 8), "no list of tensors"),
        (header({"a": record(0, 8, [3])}, 8), "not what its shape says"),
        (header({"a": record(4, 12, [2])}, 12), "not what its shape says"),
        (header({"a": record(0, 8, [-2, -1])}, 8), "not what its shape says"),
        (header({"a": record(0, 8, [2]), "b": record(4, 12, [2])}, 12), "not what its shape says"),
        (header({"a": record(0, 8, [2])}, 7), "the file has"),
        (header({"a": record(0, 8, [2])}, 9), "the file has"),
    ],
)
def test_headers_that_lie(stub: HubStub, content: bytes, says: str):
    add(stub, {"model.safetensors": content})
    with pytest.raises(Exception, match=says) as error:
        read()
    assert error.value.exit_code in (1, 3)
    assert REPO in error.value.where
