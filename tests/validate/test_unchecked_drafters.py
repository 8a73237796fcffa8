"""Drafters that can be measured and not checked: EAGLE3 heads and DSpark drafters are told as what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.demo_files import remade
from helpers.dflash_checkpoints import make_drafter

from gemma_mtp.convert import convert_model
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.part import Part
from gemma_mtp.sources.describe import inspect_model
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate import verify_pair
from gemma_mtp.validate.verify import check_file


@pytest.fixture(scope="module")
def files(target_gguf, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A DFlash drafter, called an EAGLE3 head; and one with a Markov head, which makes a DSpark one of it."""
    folder = tmp_path_factory.mktemp("others")
    plain = folder / "plain.gguf"
    convert_model(make_drafter(folder / "tiny-DFlash"), plain, target=target_gguf("BF16"))
    eagle = remade(plain, folder / "eagle3.gguf", {"general.architecture": gv.string("eagle3")})
    with GGUFFile(plain) as file:
        plans = [TensorPlan(name, tensor.shape, tensor.type) for name, tensor in file.tensors.items()]
        head = TensorPlan("markov_w1.weight", (4, 32), GGMLType.F32)
        with GGUFWriter(folder / "dspark.gguf", dict(file.metadata), [*plans, head]) as writer:
            for tensor in file.tensors.values():
                writer.write_next(file.span(tensor).pieces())
            writer.write_next([np.zeros((4, 32), np.float32).data.cast("B")])
    return {"eagle3": eagle, "dspark": folder / "dspark.gguf"}


@pytest.mark.parametrize(("kind", "title"), [("eagle3", "an EAGLE3 head"), ("dspark", "a DSpark block drafter")])
def test_what_it_is_and_what_measures_it(files, target_gguf, kind: str, title: str):
    report = verify_pair(target_gguf("BF16"), files[kind])
    with open_model(files[kind], Part.ASSISTANT) as side:
        alone = check_file(side)
    for found in (report, alone):
        assert len(found.errors) == 1
        finding = found.errors[0].finding
        assert title in finding.message
        assert f"--method {kind}:{files[kind]}" in finding.remedy
    note = inspect_model(files[kind]).note
    assert title in note
    assert f"--method {kind}:" in note
