"""`convert` writes nothing that fails the checks of one file, and owns the keys about a file's layout."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from gemma_mtp.convert import convert_dialect
from gemma_mtp.errors import BadFileError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_writer import LAYOUT_KEYS, TensorPlan, encode_header, padded
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.dialects import DIALECTS, MAINLINE

A = MAINLINE.architecture


@pytest.fixture
def changed(assistant_gguf, tmp_path):
    """`changed(keys, tensors)`: the demo assistant with other keys and tensors (F32); None removes one."""

    def write(keys: dict, tensors: dict) -> Path:
        path = tmp_path / "changed.gguf"
        with GGUFFile(assistant_gguf("Q8_0")) as file:
            content = {info.name: (info.type, info.shape, bytes(file.data(info))) for info in file.tensors.values()}
            content |= {name: data and (GGMLType.F32, data.shape, data.tobytes()) for name, data in tensors.items()}
            kept = {name: one for name, one in content.items() if one is not None}
            metadata = {key: value for key, value in {**file.metadata, **keys}.items() if value is not None}
        plans = [TensorPlan(name, shape, kind) for name, (kind, shape, _) in kept.items()]
        data = b"".join(raw.ljust(padded(len(raw)), b"\0") for _, _, raw in kept.values())
        path.write_bytes(encode_header(metadata, plans) + data)
        return path

    return write


class Numbers:
    """A tensor of ones, true where an array is neither true nor false."""

    def __init__(self, *shape: int):
        self.shape = shape

    def tobytes(self) -> bytes:
        return np.ones(self.shape, "<f4").tobytes()


UNSOUND = {
    "a tensor missing": ({}, {"blk.1.ffn_up.weight": None}, "lacks blk.1.ffn_up.weight"),
    "a tensor of another model": ({}, {"lm_head.weight": Numbers(4, 4)}, "does not know (lm_head.weight)"),
    "a wrong shape": ({}, {"output_norm.weight": Numbers(8)}, "output_norm.weight is [8]"),
    "no target width": ({f"{A}.embedding_length_out": None}, {}, "embedding_length_out is missing"),
    "a text for a number": ({f"{A}.attention.key_length": gv.string("x")}, {}, "key_length is STRING 'x'"),
    "a flag that is a text": ({"tokenizer.ggml.add_bos_token": gv.string("y")}, {}, "add_bos_token is STRING 'y'"),
    "no merges": ({"tokenizer.ggml.merges": None}, {}, "tokenizer.ggml.merges is missing"),
    "too few MTP layers": ({f"{A}.nextn_predict_layers": gv.u32(1)}, {}, "is 1, block_count is 4"),
    "half a head": ({f"{A}.mtp.centroids": gv.array(gv.ValueType.FLOAT32, [1.0])}, {}, "metadata is incomplete"),
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", UNSOUND)
def test_unsound_is_not_written(changed, tmp_path, case, dialect):
    keys, tensors, says = UNSOUND[case]
    with pytest.raises(BadFileError) as error:
        convert_dialect(changed(keys, tensors), tmp_path / "new.gguf", DIALECTS[dialect])
    assert says in error.value.what
    assert not (tmp_path / "new.gguf").exists()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_layout_is_the_writers(assistant_gguf, tmp_path, dialect):
    """Keys about alignment and parts are those of the new file, whatever the old one's were."""
    reader = gguf.GGUFReader(assistant_gguf("Q8_0"))
    writer = gguf.GGUFWriter(tmp_path / "old.gguf", A)
    writer.add_custom_alignment(128)
    for key, kind in (("split.count", "UINT16"), ("split.no", "UINT16"), ("split.tensors.count", "INT32")):
        writer.add_key_value(key, 0, gguf.GGUFValueType[kind])
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            kind = field.types[0]
            items = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), kind, items)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    convert_dialect(tmp_path / "old.gguf", tmp_path / "new.gguf", DIALECTS[dialect])
    convert_dialect(tmp_path / "new.gguf", tmp_path / "back.gguf", MAINLINE)
    with GGUFFile(tmp_path / "old.gguf") as old, GGUFFile(tmp_path / "back.gguf") as new:
        assert old.header.alignment == 128
        assert new.header.alignment == 32
        assert not LAYOUT_KEYS & new.metadata.keys()
        for name in old.tensors:
            assert bytes(old.data(old.tensors[name])) == bytes(new.data(new.tensors[name]))
