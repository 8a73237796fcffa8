"""Recipes made for drafters: role -> type.

In llama.cpp's mixes the tied embedding stays at six bits. In a drafter it is two thirds of the file and, as the head,
read in full at every draft step. A drafter's errors cost acceptance, never quality, because the target checks every
token: a recipe can be bolder there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gemma_mtp.errors import UsageError, meant
from gemma_mtp.files.gguf_writer import TensorPlan
from gemma_mtp.ggml import GGMLType, bits_per_weight, native
from gemma_mtp.model.family import FAMILIES, FAMILY
from gemma_mtp.quantize.mixes import KEPT_ROLES, fitting, is_kept
from gemma_mtp.quantize.names import role_of
from gemma_mtp.quantize.types import file_type, tensor_type

_T = GGMLType


@dataclass(frozen=True)
class Recipe:
    """A type for each role.

    types: group or role -> type; a role's own entry beats its group's.
    file_type: what `general.file_type` says, the nearest of llama.cpp's.
    summary: for people.
    """

    name: str
    file_type: int
    summary: str
    types: Mapping[str, GGMLType]

    @property
    def bits(self) -> float:
        """Bits for each weight of the head, the largest tensor by far."""
        return bits_per_weight(self.types["head"])


def _recipe(name: str, base: str, summary: str, **types: GGMLType) -> Recipe:
    return Recipe(name, file_type(base).number, summary, MappingProxyType(types))


#: `embeddings` is only in targets (E2B, E4B): rows are looked up there, not multiplied, so they follow the layers.
RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _recipe(
            "draft-q8",
            "Q8_0",
            "all in 8 bits: drafts as the original does",
            head=_T.Q8_0, embeddings=_T.Q8_0, attention=_T.Q8_0, mlp=_T.Q8_0, projections=_T.Q8_0,
        ),
        _recipe(
            "draft-mixed",
            "Q4_0",
            "the head in 4 bits, for speed; everything else in 8, for acceptance",
            head=_T.Q4_0, embeddings=_T.Q8_0, attention=_T.Q8_0, mlp=_T.Q8_0, projections=_T.Q8_0,
        ),
        _recipe(
            "draft-q4",
            "Q4_0",
            "head and layers in 4 bits with the quickest kernels, projections in 8",
            head=_T.Q4_0, embeddings=_T.Q4_0, attention=_T.Q4_0, mlp=_T.Q4_0, projections=_T.Q8_0,
        ),
        _recipe(
            "draft-iq4",
            "IQ4_NL",
            "as draft-q4, with the more exact 4-bit type (slower to make)",
            head=_T.IQ4_NL, embeddings=_T.IQ4_NL, attention=_T.IQ4_NL, mlp=_T.IQ4_NL, projections=_T.Q8_0,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Override:
    """`--tensor ROLE=TYPE`: the tensors of a role or group get this type."""

    target: str
    type: GGMLType

    def __str__(self) -> str:
        return f"{self.target}={self.type.name}"

    def covers(self, role: str) -> bool:
        return role == self.target or role in FAMILY.groups.get(self.target, ())


def known_roles() -> list[str]:
    """The roles that can be given a type, groups first."""
    parts = (part for family in FAMILIES.values() for part in family.roles.values())
    roles = dict.fromkeys(role.name for part in parts for role in part if not role.plain)
    return [*FAMILY.groups, *(role for role in roles if role not in KEPT_ROLES)]


def parse_override(text: str) -> Override:
    """`head=Q4_0` or `ffn_down=Q8_0`. Raises UsageError."""
    role, equals, kind = text.partition("=")
    target = role.lower()
    if not equals or target not in known_roles():
        hint = f"{meant(role, known_roles())} roles: {', '.join(known_roles())}".lstrip()
        raise UsageError(f"{text!r} is not ROLE=TYPE", hint=hint)
    return Override(target, tensor_type(kind))


def recipe_types(recipe: Recipe, tensors: Sequence[TensorPlan]) -> list[GGMLType]:
    """The type of each tensor; what the recipe doesn't name, and what llama.cpp keeps, stays as it is."""
    return [native(tensor.type) if is_kept(tensor) else _given(recipe, tensor) for tensor in tensors]


def _given(recipe: Recipe, tensor: TensorPlan) -> GGMLType:
    role = role_of(tensor.name)
    names = (role, *(group for group, roles in FAMILY.groups.items() if role in roles))
    given = next((recipe.types[name] for name in names if name in recipe.types), None)
    return native(tensor.type) if given is None else fitting(given, tensor)
