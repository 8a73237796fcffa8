"""Which file of a repo is meant: llama.cpp's rules for `-hf owner/repo:QUANT`, and the names that follow from them.

llama.cpp (common/download.cpp, `find_best_model` and `find_best_sibling`) takes as the model the first .gguf that
matches the tag and has none of `OTHER_ROLES` in its name, and as the MTP drafter a .gguf with `mtp-` in its path that
lies beside the model or above it. The comparison is case-sensitive: `MTP-x.gguf` and `x-assistant-Q8_0.gguf` count as
models, and llama.cpp would load the drafter in the target's place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.model.dialects import DIALECTS, MAINLINE
from gemma_mtp.model.part import Part

DRAFTER_PREFIX = "mtp-"
#: What a file's name must not contain to count as a model; each marks a companion of its own kind.
OTHER_ROLES = ("mmproj", "imatrix", DRAFTER_PREFIX, "eagle3-", "dflash-", "dspark-")
#: The types that `-hf owner/repo` without a tag looks for, in this order.
DEFAULT_TAGS = ("Q4_K_M", "Q8_0")
_SPLIT = re.compile(r"^(?P<stem>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)
#: What a type's name looks like: llama.cpp's, those of the future, and recipes.
_TYPE = r"(?i:BF16|F16|F32|I?Q\d\w*|TQ\d\w*|(?:MX|NV)FP4\w*)|draft-\w+"
_DRAFTER = re.compile(
    rf"{DRAFTER_PREFIX}(?P<target>.+?)-(?P<type>{_TYPE})"
    rf"(?:-(?P<dialect>{'|'.join(name for name in DIALECTS if name != MAINLINE.name)}))?\.gguf"
)


@dataclass(frozen=True)
class DrafterName:
    """The parts of `mtp-<target>-<TYPE>[-<dialect>].gguf`."""

    target: str
    type: str
    dialect: str


def parse_drafter_name(name: str) -> DrafterName:
    """The parts of an assistant's file name in a repo.

    Raises UsageError with the reason if llama.cpp would not find the file, or would take it for something else.
    """
    match = _DRAFTER.fullmatch(name)
    other = next((mark for mark in OTHER_ROLES if mark in name and mark != DRAFTER_PREFIX), None)
    if match and not other:
        return DrafterName(match["target"], match["type"], match["dialect"] or MAINLINE.name)
    if other:
        why = f"`{other}` in its name makes llama.cpp take it for another kind of file"
    elif DRAFTER_PREFIX not in name:
        why = f"without `{DRAFTER_PREFIX}` (lower case) llama.cpp takes it for a full model and loads it as the target"
    else:
        why = "a type (Q8_0, BF16, ...) must be the last part, after a hyphen, for `-hfd repo:TYPE` to find it"
    raise UsageError(
        f"this name cannot be published: {why}", where=name, hint=f"name it {DRAFTER_PREFIX}<target>-<TYPE>.gguf"
    )


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


def pick_drafter(names: Iterable[str], tag: str | None) -> str | None:
    """The drafter of exactly this type at the repo's root. llama.cpp would take the nearest one without a word."""
    drafters = [name for name in names if name.endswith(".gguf") and DRAFTER_PREFIX in name and "/" not in name]
    if tag is None:
        return drafters[0] if len(drafters) == 1 else None
    return next((name for name in drafters if f"-{tag.upper()}." in name.upper()), None)


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
    match = _SPLIT.match(name)
    if match is None:
        return [name]
    count, stem = int(match["count"]), match["stem"]
    wanted = [f"{stem}-{index:05d}-of-{count:05d}.gguf" for index in range(1, count + 1)]
    there = set(names)
    missing = [part for part in wanted if part not in there]
    if missing:
        raise EnvironmentProblem(
            f"{len(missing)} of {count} parts are missing, the first is {missing[0]}",
            where=name,
            hint="use another repo",
        )
    return wanted


def _part(name: str) -> int:
    match = _SPLIT.match(name)
    return int(match["index"]) if match else 1
