"""What stands in the place of `{target}` and the like in a host's record."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from gemma_mtp.model.family import FAMILY, Family

#: A piece of a record that names this is left out where no length of the context is asked for.
CONTEXT = "{ctx}"
#: Pieces that stay numbers: a quoted number in YAML would be a text.
NUMBERS = {"{ctx}": "ctx", "{draft}": "draft", "{block}": "block"}
#: Names that every host takes, as a section, a tag, a key or a folder.
_STRANGE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Values:
    """target, assistant: absolute paths of files, or folders and repos of checkpoints. draft: tokens in a round.

    ctx: tokens of context, None: what the host takes by itself. family: the drafter's.
    """

    target: str
    assistant: str
    draft: int
    ctx: int | None = None
    family: Family = FAMILY

    @property
    def name(self) -> str:
        """What the model is called in the host: the target's name without what some hosts would not take."""
        stem = PurePath(self.target).name.removesuffix(".gguf")
        return _STRANGE.sub("-", stem).strip("-.") or "model"

    @property
    def image(self) -> str:
        """The same as a name of an OCI artifact, which has no capital letters and no two separators in a row."""
        return re.sub(r"[._-]{2,}", "-", self.name.lower().strip("._-")) or "model"

    def fields(self) -> dict[str, Any]:
        """Placeholder -> what stands there. block: a round's tokens, the drafts and the one before them."""
        target, assistant = PurePath(self.target), PurePath(self.assistant)
        return {
            "target": self.target,
            "target_file": target.name,
            "target_folder": str(target.parent),
            "assistant": self.assistant,
            "assistant_file": assistant.name,
            "assistant_json": json.dumps(self.assistant),
            "name": self.name,
            "image": self.image,
            "draft": self.draft,
            "block": self.draft + 1,
            "ctx": self.ctx,
            "kind": self.family.name,
            "spec_type": self.family.spec_type,
        }


def filled(template: Any, values: Values) -> Any:
    """A template of texts, tuples and mappings with everything in its place; without a context, without its pieces."""
    if isinstance(template, str):
        if template in NUMBERS:
            return values.fields()[NUMBERS[template]]
        return template.format_map(values.fields())
    if isinstance(template, Mapping):
        return {key.format_map(values.fields()): filled(item, values) for key, item in kept(template.items(), values)}
    if isinstance(template, tuple):
        return [filled(item, values) for _, item in kept(enumerate(template), values)]
    return template


def kept(items: Any, values: Values) -> list[tuple[Any, Any]]:
    """Pairs of which the second does not name a context where there is none."""
    return [(key, item) for key, item in items if values.ctx is not None or not _names_context(item)]


def _names_context(item: Any) -> bool:
    if isinstance(item, str):
        return CONTEXT in item
    return isinstance(item, tuple) and all(isinstance(word, str) for word in item) and any(CONTEXT in w for w in item)
