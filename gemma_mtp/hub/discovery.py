"""Which file of a repo is meant: llama.cpp's rules for `-hf owner/repo:QUANT`, and the names that follow from them.

llama.cpp (common/download.cpp, `find_best_model` and `find_best_sibling`) takes as the model the first .gguf that
matches the tag and has none of `OTHER_ROLES` in its name, and as the MTP drafter a .gguf with `mtp-` in its path that
lies beside the model or above it. The comparison is case-sensitive: `MTP-x.gguf` and `x-assistant-Q8_0.gguf` count as
models, and llama.cpp would load the drafter in the target's place.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath

from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.model.family import FAMILIES, Family
from gemma_mtp.model.file_name import OTHER_ROLES, FileName, split_names
from gemma_mtp.model.part import Part

#: The types that `-hf owner/repo` without a tag looks for, in this order.
DEFAULT_TAGS = ("Q4_K_M", "Q8_0")


def is_model(name: str) -> bool:
    """Whether llama.cpp counts a file of a repo as a model."""
    base = name.rsplit("/", 1)[-1]
    return base.endswith(".gguf") and not any(mark in base for mark in OTHER_ROLES)


def pick_model(names: Iterable[str], tag: str | None = None) -> str | None:
    """The file that `-hf repo[:tag]` loads; of a split model the first part."""
    models = [name for name in names if is_model(name) and _part(name) == 1]
    for wanted in (tag,) if tag else DEFAULT_TAGS:
        pattern = re.compile(rf"{re.escape(wanted)}[.-]", re.IGNORECASE)
        found = next((name for name in models if pattern.search(name)), None)
        if found:
            return found
    return models[0] if models and not tag else None


def pick_drafter(names: Collection[str], tag: str | None) -> str | None:
    """The drafter of exactly this type at the repo's root, an assistant before one of another family.

    llama.cpp would take the nearest one without a word.
    """
    for family in FAMILIES.values():
        drafters = [name for name in names if name.endswith(".gguf") and family.prefix in name and "/" not in name]
        if drafters and tag is None:
            return drafters[0] if len(drafters) == 1 else None
        found = next((name for name in drafters if f"-{(tag or '').upper()}." in name.upper()), None)
        if found:
            return found
    return None


def pick_beside(names: Collection[str], model: str) -> str | None:
    """The drafter that `-hf` takes with a model of the same repo: in its folder or one above.

    The deepest folder counts first, then the model's own type, then the nearest number of bits, then the order. A
    drafter of another family is taken where there is no assistant.
    """
    return next(filter(None, (_beside(names, model, family) for family in FAMILIES.values())), None)


def _beside(names: Iterable[str], model: str, family: Family) -> str | None:
    folders = PurePosixPath(model).parents
    kind = FileName.parse(model).type or ""
    candidates = [
        name
        for name in names
        if name.endswith(".gguf")
        and family.prefix in name
        and PurePosixPath(name).parent in folders
        and _part(name) == 1
    ]

    def distance(name: str) -> tuple[int, bool, int]:
        own = FileName.parse(name).type or ""
        return -name.count("/"), own.upper() != kind.upper(), abs(_bits(own) - _bits(kind))

    return min(candidates, key=distance, default=None)


def _bits(kind: str) -> int:
    """The first number in a type's name."""
    number = re.search(r"\d+", kind)
    return int(number[0]) if number else 0


def pick_gguf(repo: str, names: Sequence[str], tag: str | None, part: Part) -> str:
    """The file of `repo` that is the `part` (target or assistant) of this type.

    Raises UsageError with the types there are.
    """
    found = pick_drafter(names, tag) if part is Part.ASSISTANT else pick_model(names, tag)
    # A repo of assistants may follow other conventions for its names; then the type alone decides.
    found = found or (pick_model(names, tag) if part is Part.ASSISTANT else None)
    if found:
        return found
    there = [name for name in names if name.endswith(".gguf")]
    raise UsageError(
        f"the repo has no {part} of type {tag}" if tag else f"the repo has no single {part}: name a type or a file",
        where=repo,
        hint=f"its GGUF files are: {', '.join(there[:12])}" if there else "it has no GGUF files at all",
    )


def parts_of(name: str, names: Iterable[str]) -> list[str]:
    """All files of a split model, in order; a whole file alone."""
    split = split_names(name)
    if split is None:
        return [name]
    wanted, there = split[1], set(names)
    missing = [part for part in wanted if part not in there]
    if missing:
        raise EnvironmentProblem(
            f"{len(missing)} of {len(wanted)} parts are missing, the first is {missing[0]}",
            where=name,
            hint="use another repo",
        )
    return wanted


def _part(name: str) -> int:
    split = split_names(name)
    return split[0] if split else 1
