"""What is on offer: sizes foretold are sizes written, and names of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_mtp.errors import UsageError
from gemma_mtp.quantize import FILE_TYPES, RECIPES, Output, quantize_file, quantize_model
from gemma_mtp.quantize.catalogue import default_output, offers, outputs_for, parse_kinds, split_words


@pytest.mark.parametrize("part", ["assistant", "target"])
def test_foretold_sizes_are_written_sizes(part: str, request: pytest.FixtureRequest, tmp_path: Path):
    source = request.getfixturevalue(f"{part}_gguf")("BF16")
    foretold = {offer.name: offer.size for offer in offers(source)}
    assert foretold.keys() == FILE_TYPES.keys() | RECIPES.keys()
    kinds = [offer.name for offer in offers() if not offer.needs_importance]
    outputs = [Output(tmp_path / f"{kind}.gguf", kind) for kind in kinds]
    report = quantize_file(source, outputs)
    for made in report.outputs:
        assert made.path.stat().st_size == made.size == foretold[made.kind], made.kind


def test_bits_are_those_of_the_blocks():
    bits = {offer.name: offer.bits for offer in offers()}
    assert (bits["F16"], bits["Q8_0"], bits["Q4_0"], bits["Q6_K"]) == (16, 8.5, 4.5, 6.5625)
    assert bits["draft-mixed"] == 4.5  # of the head


@pytest.mark.parametrize(
    ("source", "kind", "made"),
    [
        ("mtp-gemma-4-31B-it-BF16.gguf", "q4_0", "mtp-gemma-4-31B-it-Q4_0.gguf"),
        ("mtp-gemma-4-31B-it.BF16.gguf", "draft-q4", "mtp-gemma-4-31B-it-draft-q4.gguf"),
        ("assistant.gguf", "Q8_0", "assistant-Q8_0.gguf"),
        ("mtp-x-draft-q8.gguf", "Q4_K", "mtp-x-Q4_K_M.gguf"),
    ],
)
def test_names_of_outputs(source: str, kind: str, made: str):
    assert default_output(Path("folder") / source, kind) == Path("folder") / made


def test_words_of_the_command():
    assert split_words(["o.gguf", "q4_0"]) == (Path("o.gguf"), ["q4_0"])
    assert split_words(["Q4_K", "Q8_0"]) == (None, ["Q4_K", "Q8_0"])
    assert parse_kinds(["Q4_K", "Q4_K_M", "DRAFT-Q4"]) == ["Q4_K_M", "draft-q4"]
    with pytest.raises(UsageError, match="there is no type Q7_0"):
        parse_kinds(["Q7_0"])


def test_outputs(tmp_path: Path):
    source = Path("mtp-x-BF16.gguf")
    assert outputs_for(source, ["Q4_0"], Path("o.gguf")) == [Output(Path("o.gguf"), "Q4_0")]
    assert outputs_for(source, ["Q4_0"], tmp_path) == [Output(tmp_path / "mtp-x-Q4_0.gguf", "Q4_0")]
    with pytest.raises(UsageError, match="cannot have 2 types"):
        outputs_for(source, ["Q4_0", "Q8_0"], Path("o.gguf"))
    with pytest.raises(UsageError, match="no type is given"):
        quantize_model(source, [])
