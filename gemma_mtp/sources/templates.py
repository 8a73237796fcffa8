"""A checkpoint's chat templates, in all forms that transformers saves, as the keys that upstream's writer makes.

Where several places have one, transformers' order counts (`PreTrainedTokenizerBase._from_pretrained`): the files
chat_template.jinja and additional_chat_templates/*.jinja, then tokenizer_config.json, then chat_template.json, which
only processors read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_mtp.errors import CheckpointError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.text import read_text, shown
from gemma_mtp.model.config import read_json
from gemma_mtp.sources.card import Note

FILE, FOLDER, LEGACY, CONFIG = (
    "chat_template.jinja",
    "additional_chat_templates",
    "chat_template.json",
    "tokenizer_config.json",
)
DEFAULT = "default"
#: Far more than any model has.
MOST_TEMPLATES = 64

KEY, NAMES = "tokenizer.chat_template", "tokenizer.chat_templates"


@dataclass(frozen=True)
class _Found:
    """The templates of one place by name."""

    place: str
    templates: Mapping[str, str]


def template_files(folder: Path) -> list[Path]:
    """The files that may hold chat templates, as far as they are there."""
    named = sorted((folder / FOLDER).glob("*.jinja")) if (folder / FOLDER).is_dir() else []
    if len(named) > MOST_TEMPLATES:
        raise CheckpointError(f"has {len(named):,} chat templates; {MOST_TEMPLATES} are read", where=folder / FOLDER)
    return [path for path in (folder / FILE, folder / LEGACY, *named) if path.exists() or path.is_symlink()]


def chat_templates(folder: Path, tokenizer_config: Mapping[str, Any], note: Note) -> dict[str, Value]:
    """The `tokenizer.chat_template*` keys; none without a template.

    Raises CheckpointError: a file that is no text or JSON, a list of templates without names, two of one name.
    """
    found = [place for place in _places(folder, tokenizer_config, note) if place.templates]
    if not found:
        return {}
    taken = found[0]
    for other in found[1:]:
        if other.templates != taken.templates:
            both = f"{taken.place} and {other.place}"
            note(f"the chat templates of {both} differ: {taken.place} is taken, as transformers does")
    if DEFAULT not in taken.templates:
        note(f"{taken.place} has named chat templates alone ({', '.join(taken.templates)}): none is the default")
    return _keys(folder, taken.templates)


def _places(folder: Path, tokenizer_config: Mapping[str, Any], note: Note) -> Iterator[_Found]:
    """In the order in which transformers takes them."""
    files = {path: path.name.removesuffix(".jinja") for path in template_files(folder) if path.name != LEGACY}
    named = {DEFAULT if path == folder / FILE else name: path for path, name in files.items()}
    texts = {name: read_text(path, error=CheckpointError) for name, path in named.items()}
    yield _Found(FILE if DEFAULT in texts else FOLDER, texts)
    yield _Found(CONFIG, _given(tokenizer_config.get("chat_template"), folder / CONFIG, note))
    legacy = folder / LEGACY
    if legacy.exists() or legacy.is_symlink():
        if len(texts) > (DEFAULT in texts):
            raise CheckpointError(
                f"has {LEGACY} and {FOLDER}, which transformers refuses together", where=folder, hint=f"remove {LEGACY}"
            )
        yield _Found(LEGACY, _given(read_json(legacy).get("chat_template"), legacy, note))


def _given(value: Any, place: Path, note: Note) -> dict[str, str]:
    """One text, a list of `{"name": ..., "template": ...}`, or a table of name and text. Raises CheckpointError."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {DEFAULT: value}
    if isinstance(value, Mapping):
        value = [{"name": name, "template": template} for name, template in value.items()]
    if not isinstance(value, list):
        note(f"{place.name}: chat_template is {shown(value)}, which is no template, and was skipped")
        return {}
    found: dict[str, str] = {}
    for entry in value:
        name, template = (entry.get("name"), entry.get("template")) if isinstance(entry, Mapping) else (None, None)
        if not isinstance(name, str) or not name or not isinstance(template, str):
            raise CheckpointError("chat_template is a list with entries that have no name and template", where=place)
        found[name] = template  # the last of a name counts, as in transformers
    if len(found) > MOST_TEMPLATES:
        raise CheckpointError(f"has {len(found):,} chat templates; {MOST_TEMPLATES} are read", where=place)
    return found


def _keys(folder: Path, templates: Mapping[str, str]) -> dict[str, Value]:
    """As gguf's `add_chat_template`: names of letters, digits and _; the default one under the plain key."""
    found: dict[str, Value] = {}
    for name, template in templates.items():
        key = KEY if name == DEFAULT else f"{KEY}.{re.sub(r'[^A-Za-z0-9]', '_', name)}"
        if key in found:
            raise CheckpointError(f"two chat templates would both be called {key}", where=folder)
        found[key] = gv.string(template)
    names = [key.removeprefix(f"{KEY}.") for key in found if key != KEY]
    return found | ({NAMES: gv.strings(names)} if names else {})
