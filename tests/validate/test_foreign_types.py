"""Types that ik_llama.cpp alone has: known by name, fine for that runtime, an error for the others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_pairs import ASSISTANT, TARGET, Model
from typer.testing import CliRunner

from gemma_mtp.cli.main import application
from gemma_mtp.convert import convert_dialect
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.ggml import FOREIGN_TYPES, GGMLType, bits_per_weight, tensor_bytes
from gemma_mtp.model.dialects import IK, MAINLINE
from gemma_mtp.validate import Status, parse_host, verify_pair

IQ4_KS = FOREIGN_TYPES[144]
UP = "blk.1.ffn_up.weight"
ROWS, COLUMNS = 128, 256


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A target, and an assistant with one matrix in ik's IQ4_KS: for each row four bytes, then blocks."""
    blocks = np.zeros((ROWS, IQ4_KS.nbytes + IQ4_KS.row), "u1")
    wide = {"hidden": COLUMNS, "backbone": TARGET.hidden}
    model = Model(replace(ASSISTANT, **wide), tensors={UP: (IQ4_KS, blocks)}, seed=1)
    return Model(TARGET).write(tmp_path / "target.gguf"), model.write(tmp_path / "mtp-target.gguf")


def by_id(report, check: str):
    return next(result for result in report.results if result.id == check)


def test_sizes():
    """As ik_llama.cpp's `ggml_row_size`: what belongs to a row, and its blocks."""
    assert tensor_bytes(IQ4_KS, (3, 512)) == 3 * (4 + 2 * 136)
    assert tensor_bytes(FOREIGN_TYPES[137], (2, 256)) == 2 * 76
    assert bits_per_weight(FOREIGN_TYPES[141]) == 6.625
    assert not FOREIGN_TYPES.keys() & {kind.value for kind in GGMLType}
    assert len({kind.name for kind in FOREIGN_TYPES.values()}) == len(FOREIGN_TYPES)


def test_loads_in_its_own_runtime_alone(pair):
    mainline, ik = verify_pair(*pair), verify_pair(*pair, host=parse_host("ik_llama.cpp", None))
    finding = by_id(mainline, "assistant-types").finding
    assert finding.status is Status.ERROR
    assert "in IQ4_KS, ik_llama.cpp's own: llama.cpp stops" in finding.message
    assert "--runtime ik_llama.cpp" in finding.remedy
    assert ik.ok
    assert by_id(ik, "assistant-types").status is Status.OK
    assert by_id(ik, "assistant-finite").status is Status.SKIPPED
    assert "IQ4_KS" in by_id(ik, "assistant-finite").finding.message


def test_inspect_names_it(pair):
    result = CliRunner().invoke(application(), ["inspect", str(pair[1]), "--json"])
    assert result.exit_code == 0
    found = next(tensor for tensor in json.loads(result.stdout)["tensors"] if tensor["name"] == UP)
    assert (found["type"], found["bytes"]) == ("IQ4_KS", ROWS * (4 + 136))


def test_quantize_says_who_decodes_it(pair, tmp_path):
    result = CliRunner().invoke(application(), ["quantize", str(pair[1]), str(tmp_path / "o.gguf"), "Q8_0"])
    assert result.exit_code == 1
    assert "is in IQ4_KS, which only ik_llama.cpp decodes" in " ".join(result.output.split())


def test_changes_its_dialect(pair, tmp_path):
    """ik_llama.cpp reads mainline's dialect, too: the bytes pass both ways."""
    convert_dialect(pair[1], tmp_path / "ik.gguf", IK)
    with GGUFFile(pair[1]) as old, GGUFFile(tmp_path / "ik.gguf") as new:
        assert bytes(old.data(old.tensors[UP])) == bytes(new.data(new.tensors[UP]))
    convert_dialect(tmp_path / "ik.gguf", tmp_path / "main.gguf", MAINLINE)
    assert verify_pair(pair[0], tmp_path / "main.gguf", host=parse_host("ik", None)).ok
