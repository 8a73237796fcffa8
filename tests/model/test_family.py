"""The record of the family: what the tables beside it say, and what llama.cpp and the Hub call things."""

from __future__ import annotations

import pytest

from gemma_mtp.model.dialects import DIALECTS
from gemma_mtp.model.family import FAMILIES, FAMILY, dialect_of
from gemma_mtp.model.file_name import FileName
from gemma_mtp.model.part import Part


def test_names_of_files_follow_the_record():
    name = FileName.of_checkpoint(Part.ASSISTANT, f"gemma-4-31B-it{FAMILY.ending}").of_type("Q8_0")
    assert str(name) == "mtp-gemma-4-31B-it-Q8_0.gguf" == f"{FAMILY.prefix}gemma-4-31B-it-Q8_0.gguf"


def test_architectures_are_those_of_the_dialects():
    assert FAMILY.all_architectures[0] == FAMILY.architectures[Part.TARGET]
    assert [dialect_of(name) for name in FAMILY.all_architectures[1:]] == list(DIALECTS.values())


def test_official_repos():
    assert len(FAMILY.official_repos) == 4 * len(FAMILY.sizes)
    assert FAMILY.official_repos[:2] == ("google/gemma-4-E2B-it-assistant", "google/gemma-4-E2B-it")
    assert FAMILY.drafter_names == "*gemma-4*-assistant"


def test_each_group_names_roles_that_exist():
    roles = {role.name for family in FAMILIES.values() for part in family.roles.values() for role in part}
    assert all(group - {"output"} <= roles for group in FAMILY.groups.values())  # an untied head, in targets of others


def test_the_speculative_type_is_one_that_the_server_has():
    xllamacpp = pytest.importorskip("xllamacpp")
    from gemma_mtp.native.cpp import speculative_type
    from gemma_mtp.native.methods import METHODS

    types = [speculative_type(method, xllamacpp) for method in METHODS.values()]
    assert len(set(types)) == len(METHODS)
