"""The name of a GGUF file, built and parsed: `[mtp-]<model>[-<TYPE>[-<dialect>]].gguf`.

An assistant's name begins with its family's prefix, which is how llama.cpp's `-hf` finds a drafter beside its target;
what follows is the target's name. A type is the last part, where `-hf repo:TYPE` looks for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePath

from gemma_mtp.errors import UsageError
from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.model.family import FAMILIES, FAMILY, Family
from gemma_mtp.model.part import Part

ENDING = ".gguf"
#: What a file's name must not contain to count as a model; each marks a companion of its own kind (llama.cpp's
#: common/download.cpp, `find_best_model`).
OTHER_ROLES = ("mmproj", "imatrix", *(family.prefix for family in FAMILIES.values()), "eagle3-", "dspark-")
#: What a type's name looks like: llama.cpp's, those of the future, and recipes.
_TYPE = r"(?i:BF16|F16|F32|I?Q\d\w*|TQ\d\w*|(?:MX|NV)FP4\w*)|draft-\w+"
_DIALECT = "|".join(name for one in FAMILIES.values() for name in one.dialects if name != MAINLINE.name)
_NAME = re.compile(rf"(?P<model>.+?)(?:[-.](?P<type>{_TYPE}))?(?:-(?P<dialect>{_DIALECT}))?")
#: What a part of a split GGUF has at the end of its name, which is no part of the model's.
PART_ENDING = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True)
class FileName:
    """The parts of a GGUF file's name.

    model: the target's name (for an assistant too), or whatever stands there. type: as it is spelled; None if the name
    has none. family: a drafter's.
    """

    part: Part
    model: str
    type: str | None = None
    dialect: str = MAINLINE.name
    family: Family = FAMILY

    @classmethod
    def parse(cls, name: str | PurePath) -> FileName:
        """The parts of any name or path, whether it follows the rules or not; `check_published` tells."""
        stem = PART_ENDING.sub("", PurePath(name).name.removesuffix(ENDING))
        family = next((one for one in FAMILIES.values() if stem.startswith(one.prefix)), None)
        part = Part.TARGET if family is None else Part.ASSISTANT
        match = _NAME.fullmatch(stem.removeprefix(family.prefix if family else ""))
        if match is None:  # nothing but the prefix
            return cls(Part.TARGET, stem)
        return cls(part, match["model"], match["type"], match["dialect"] or MAINLINE.name, family or FAMILY)

    @classmethod
    def of_checkpoint(cls, part: Part, name: str, family: Family = FAMILY) -> FileName:
        """The name for a checkpoint's GGUF: of `gemma-4-31B-it-assistant` it is `mtp-gemma-4-31B-it`."""
        return cls(part, name.removesuffix(family.ending) if part is Part.ASSISTANT else name, family=family)

    @property
    def checkpoint(self) -> str:
        """The way back: what the model that the file was made from is called."""
        return self.model + (self.family.ending if self.part is Part.ASSISTANT else "")

    def of_type(self, kind: str, dialect: str | None = None) -> FileName:
        """The same model as another type (and in another dialect)."""
        return replace(self, type=kind, dialect=dialect or self.dialect)

    def in_dialect(self, dialect: str) -> FileName:
        return replace(self, dialect=dialect)

    def __str__(self) -> str:
        prefix = self.family.prefix if self.part is Part.ASSISTANT else ""
        dialect = None if self.dialect == MAINLINE.name else self.dialect
        return prefix + "-".join(filter(None, (self.model, self.type, dialect))) + ENDING


def parse_published(name: str) -> FileName:
    """The parts of an assistant's file name in a repo.

    Raises UsageError with the reason if llama.cpp would not find the file, or would take it for something else.
    """
    parsed = FileName.parse(name)
    prefix = parsed.family.prefix
    other = next((mark for mark in OTHER_ROLES if mark in name and mark != prefix), None)
    if other:
        why = f"`{other}` in its name makes llama.cpp take it for another kind of file"
    elif prefix not in name:
        why = f"without `{prefix}` (lower case) llama.cpp takes it for a full model and loads it as the target"
    elif parsed.part is not Part.ASSISTANT or str(parsed) != name or parsed.type is None:
        why = "a type (Q8_0, BF16, ...) must be the last part, after a hyphen, for `-hfd repo:TYPE` to find it"
    else:
        return parsed
    raise UsageError(
        f"this name cannot be published: {why}", where=name, hint=f"name it {prefix}<target>-<TYPE>{ENDING}"
    )


#: The name of a part of a split GGUF, as llama.cpp writes and demands it (llama.h, `llama_split_path`).
_SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def split_names(name: str) -> tuple[int, list[str]] | None:
    """The number of this part of a split GGUF, from 1, and the names of all parts; None for a whole file's name."""
    match = _SPLIT.fullmatch(name)
    if match is None:
        return None
    count = match["count"]
    return int(match["number"]), [f"{match['stem']}-{index:05}-of-{count}.gguf" for index in range(1, int(count) + 1)]
