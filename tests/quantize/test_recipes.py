"""Which tensor gets which type: the five assistants' tables, overrides, and what is recorded."""

from __future__ import annotations

import pytest
from helpers.assistant_types import GOLDEN, SIZES, all_tables, tensor_plans

from gemma_mtp.errors import UsageError
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.family import FAMILY
from gemma_mtp.quantize import FILE_TYPES, RECIPES, file_metadata, parse_override, plan_types
from gemma_mtp.quantize.names import role_of
from gemma_mtp.quantize.recipes import known_roles

#: What keeps its type in every file.
KEPT = ("centroids", "token_ordering", "rope_freqs", "layer_output_scale")


def test_the_assistants_tables():
    """Types and recipes over the real shapes, as reviewed (see assistant_types.py)."""
    assert all_tables() == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [*FILE_TYPES, *RECIPES])
@pytest.mark.parametrize("size", SIZES)
def test_norms_scales_and_the_centroid_head_keep_their_type(size: str, kind: str):
    """In every type and recipe, also where overrides name every group."""
    keys, plans = tensor_plans(size)
    overrides = [parse_override(f"{group}=Q8_0") for group in FAMILY.groups]
    everything = {plan.name for plan in plans}
    for chosen in (
        plan_types(kind, keys, plans, importance=everything),
        plan_types(kind, keys, plans, importance=everything, overrides=overrides),
    ):
        for plan, given in zip(plans, chosen, strict=True):
            role = role_of(plan.name)
            if role in KEPT or role.endswith("_norm"):
                assert given is plan.type, plan.name


def types_by_role(kind: str, *overrides: str, size: str = "26B-A4B") -> dict[str, GGMLType]:
    keys, plans = tensor_plans(size)
    given = plan_types(kind, keys, plans, overrides=[parse_override(text) for text in overrides])
    return {role_of(plan.name): one for plan, one in zip(plans, given, strict=True)}


def test_an_override_covers_a_role_or_a_group():
    before = types_by_role("draft-q4")
    after = types_by_role("draft-q4", "ffn_down=Q8_0", "head=IQ4_NL")
    assert {role for role in before if before[role] != after[role]} == {"ffn_down", "token_embd"}
    assert (after["ffn_down"], after["token_embd"]) == (GGMLType.Q8_0, GGMLType.IQ4_NL)
    mlp = types_by_role("Q8_0", "mlp=Q4_0")
    assert {role for role, kind in mlp.items() if kind is GGMLType.Q4_0} == {"ffn_gate", "ffn_up", "ffn_down"}


def test_of_two_overrides_the_first_counts():
    assert types_by_role("Q8_0", "ffn_down=Q5_0", "mlp=Q4_0")["ffn_down"] is GGMLType.Q5_0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("head", "not ROLE=TYPE"),
        ("nose=Q4_0", "not ROLE=TYPE"),
        ("attn_norm=Q4_0", "not ROLE=TYPE"),
        ("centroids=Q4_0", "not ROLE=TYPE"),
        ("head=Q9_9", "no tensor type Q9_9"),
    ],
)
def test_overrides_that_make_no_sense(text: str, words: str):
    with pytest.raises(UsageError, match=words):
        parse_override(text)


def test_every_role_of_a_recipe_is_one_that_can_be_named():
    for recipe in RECIPES.values():
        assert set(recipe.types) <= set(known_roles())
        assert set(recipe.types) == set(FAMILY.groups)


def test_recipes_and_overrides_are_recorded():
    keys, _ = tensor_plans("31B")
    recorded = file_metadata("draft-q4", keys, overrides=[parse_override("head=q8_0")])
    assert recorded["quantize.recipe"].decode() == "draft-q4"
    assert recorded["quantize.overrides"].decode() == ["head=Q8_0"]
    assert recorded["quantize.tool"].decode().startswith("gemma-mtp ")
    assert recorded["general.file_type"].decode() == FILE_TYPES["Q4_0"].number
    assert recorded["general.quantization_version"].decode() == 2
    again = file_metadata("Q8_0", recorded)  # made from that file: the old recipe is gone
    assert not any(key.startswith("quantize.") for key in again)
