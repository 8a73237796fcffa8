"""Families of drafters: told by architecture, class and prefix, and no two of them by the same."""

from __future__ import annotations

import pickle
from itertools import chain

import pytest

from gemma_mtp.hub.discovery import pick_beside, pick_drafter
from gemma_mtp.model.family import DFLASH, FAMILIES, FAMILY, family_of
from gemma_mtp.model.file_name import FileName
from gemma_mtp.model.part import Part
from gemma_mtp.native.methods import METHODS

MODEL = "gemma-4-31B-it-Q4_K_M.gguf"


def test_nothing_is_of_two_families():
    for names in ("all_architectures", "classes", "dialects"):
        own = [set(getattr(family, names)) for family in FAMILIES.values()]
        shared = set.intersection(*own) - {FAMILY.architectures[Part.TARGET], "mainline"}
        assert not shared, names
    prefixes = [family.prefix for family in FAMILIES.values()]
    assert len(set(prefixes)) == len(prefixes)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_family_is_told_by_any_of_its_dialects_and_its_prefix(family):
    assert {family_of(dialect.architecture) for dialect in family.dialects.values()} == {family}
    assert FileName.parse(f"{family.prefix}gemma-4-31B-it-Q8_0.gguf").family is family
    name = FileName.of_checkpoint(Part.ASSISTANT, f"gemma-4-31B-it{family.ending}", family).of_type("BF16")
    assert str(name) == f"{family.prefix}gemma-4-31B-it-BF16.gguf"
    assert METHODS[family.name].spec_type == family.spec_type
    assert pickle.loads(pickle.dumps(name)) == name


def test_an_assistant_is_taken_before_another_drafter():
    blocks, assistant = (f"{family.prefix}gemma-4-31B-it-Q8_0.gguf" for family in (DFLASH, FAMILY))
    for names, wanted in (([MODEL, blocks, assistant], assistant), ([MODEL, blocks], blocks), ([MODEL], None)):
        assert pick_beside(names, MODEL) == wanted
        assert pick_drafter(names, "Q8_0") == wanted
    assert pick_drafter([MODEL, assistant, blocks.replace("Q8_0", "Q4_0")], "Q4_0") == blocks.replace("Q8_0", "Q4_0")


def test_roles_have_one_name_and_one_source():
    for family in FAMILIES.values():
        for roles in family.roles.values():
            names = [role.name for role in roles]
            sources = [role.source for role in roles]
            assert len(set(names)) == len(names)
            assert len(set(sources)) == len(sources)
    assert set(chain.from_iterable(FAMILY.groups.values())) >= {"fc", "attn_q", "ffn_down"}
