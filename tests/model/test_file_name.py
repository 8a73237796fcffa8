"""Names of GGUF files are built and parsed by the same rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_mtp.errors import UsageError
from gemma_mtp.model.dialects import DIALECTS
from gemma_mtp.model.file_name import FileName, parse_published
from gemma_mtp.model.part import Part
from gemma_mtp.quantize.recipes import RECIPES
from gemma_mtp.quantize.types import FILE_TYPES

KINDS = [*FILE_TYPES, *RECIPES]
MODELS = st.from_regex(r"gemma-4-[A-Za-z0-9]{1,8}(-it)?(-[a-z]{3,9})?", fullmatch=True)


@given(st.sampled_from(Part), MODELS, st.sampled_from(KINDS), st.sampled_from(list(DIALECTS)))
def test_a_built_name_parses_to_its_parts(part, model, kind, dialect):
    name = FileName(part, model, kind, dialect)
    assert FileName.parse(str(name)) == name
    assert FileName.parse(f"some/folder/{name}") == name
    if part is Part.ASSISTANT:
        assert parse_published(str(name)) == name
        assert FileName.of_checkpoint(part, name.checkpoint) == FileName(part, model)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0"), min_size=1, max_size=40))
def test_every_name_parses_and_the_rest_is_kept(text):
    parsed = FileName.parse(f"{text}.gguf")
    assert parsed.model
    assert str(parsed.of_type("Q8_0")).endswith(("-Q8_0.gguf", "-Q8_0-ik.gguf", "-Q8_0-atomic.gguf"))


def test_a_type_is_replaced_where_it_stands():
    assert str(FileName.parse("mtp-x-BF16-atomic.gguf").of_type("draft-q4")) == "mtp-x-draft-q4-atomic.gguf"
    assert str(FileName.parse("gemma.F16.gguf").of_type("Q4_0")) == "gemma-Q4_0.gguf"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("MTP-x-Q8_0.gguf", "lower case"),
        ("x-Q8_0.gguf", "loads it as the target"),
        ("mtp-x.gguf", "a type"),
        ("mtp-x-mmproj-Q8_0.gguf", "another kind"),
        ("mtp-x-mainline.gguf", "a type"),
        ("mtp-.gguf", "a type"),
    ],
)
def test_names_that_llama_cpp_would_not_find_are_refused(name, why):
    with pytest.raises(UsageError, match=why):
        parse_published(name)
