"""A model is called the same, and has the same type, whichever command looks at it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.placed import CHECKPOINTS, Models

from gemma_mtp.bench.bench import model_file
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.metadata import Metadata
from gemma_mtp.hub.download import fetch_checkpoint
from gemma_mtp.make.material import look_at
from gemma_mtp.model.file_name import FileName
from gemma_mtp.model.file_type import type_name
from gemma_mtp.model.part import Part
from gemma_mtp.publish.assistant_file import read_assistant
from gemma_mtp.quantize import Output, quantize_file


@pytest.mark.parametrize("kind", ["draft-q4", "Q4_K_M", "F16"])
def test_bench_and_publish_say_the_same_type(kind: str, models: Models, tmp_path: Path):
    path = tmp_path / f"mtp-demo-{kind}.gguf"
    quantize_file(models[Part.ASSISTANT, "whole"], [Output(path, kind)], threads=1)
    assert (model_file(path).type, read_assistant(path).type) == (kind, kind)


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({}, "unknown"),
        ({"general.file_type": gv.string("Q8_0")}, "unknown"),
        ({"general.file_type": gv.u32(0)}, "F32"),
        ({"general.file_type": gv.u32(15)}, "Q4_K_M"),
        ({"general.file_type": gv.u32(9999)}, "file type 9999"),
        ({"general.file_type": gv.u32(2), "quantize.recipe": gv.string("draft-q4")}, "draft-q4"),
        ({"general.file_type": gv.u32(2), "quantize.recipe": gv.u32(1)}, "Q4_0"),
    ],
)
def test_the_type_that_a_file_says(keys: dict[str, gv.Value], name: str):
    assert type_name(Metadata(keys)) == name


@pytest.mark.usefixtures("hub")
def test_make_names_a_folder_of_the_hubs_cache_after_its_repo():
    folder = fetch_checkpoint(CHECKPOINTS[Part.ASSISTANT]).folder
    assert look_at(str(folder), lambda *_: {}).name == "demo-assistant"


def test_a_part_of_a_split_model_is_named_as_the_whole():
    name = FileName.parse("sub/mtp-x-Q4_0-00001-of-00003.gguf")
    assert (name.part, name.model, name.type) == (Part.ASSISTANT, "x", "Q4_0")
    assert str(name.of_type("Q8_0")) == "mtp-x-Q8_0.gguf"
