"""A checkpoint's model card (README.md) and generation_config.json, as the values that a GGUF's `general.*` can hold.

Both are written by people. In YAML `yes` is a boolean, `1.10` a number and `2026-05-01` a date: what was meant is the
text that stands there. What cannot be meant (a table as the licence) is skipped, with a note.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gemma_mtp.errors import CheckpointError
from gemma_mtp.files.text import parse_yaml, read_text, shown
from gemma_mtp.model.config import LARGEST, read_json

#: Is told what was skipped, a sentence each.
Note = Callable[[str], None]

CARD, GENERATION = "README.md", "generation_config.json"
_NAMES = (
    *("name", "author", "version", "organization", "description", "finetune", "basename", "size_label"),
    *("url", "doi", "uuid", "repo_url"),
)
#: Fields of a card that are one text, as the gguf package reads them (`Metadata.apply_metadata_heuristic`).
TEXTS = frozenset(
    [*_NAMES, *(f"model_{name}" for name in _NAMES), "model_creator", "model_type", "license_name", "license_link"]
)
#: Those that are one or several. `license` may be a list, too, and so may what a model was made from.
LISTS = frozenset(["license", "tags", "pipeline_tag", "languages", "language"])
ORIGINS = frozenset(["base_model", "base_models", "base_model_sources", "datasets", "dataset", "dataset_sources"])

#: Fields of generation_config.json -> the gguf package's name for them, and whether they are whole numbers.
SAMPLING = {
    "sequence": ("sampling_sequence", str),
    "top_k": ("sampling_top_k", int),
    "top_p": ("sampling_top_p", float),
    "min_p": ("sampling_min_p", float),
    "xtc_probability": ("sampling_xtc_probability", float),
    "xtc_threshold": ("sampling_xtc_threshold", float),
    "temperature": ("sampling_temp", float),
    "penalty_last_n": ("sampling_penalty_last_n", int),
    "penalty_repeat": ("sampling_penalty_repeat", float),
    "mirostat": ("sampling_mirostat", int),
    "mirostat_tau": ("sampling_mirostat_tau", float),
    "mirostat_eta": ("sampling_mirostat_eta", float),
}


def read_card(folder: Path, note: Note) -> dict[str, Any]:
    """The front matter of the folder's card: texts, lists of texts, tables of texts; empty without one.

    Raises CheckpointError: no text, or no YAML.
    """
    path = folder / CARD
    if not path.is_file():
        return {}
    lines = read_text(path, error=CheckpointError).splitlines()
    if not lines or lines[0] != "---":
        return {}
    end = lines.index("---", 1) if "---" in lines[1:] else len(lines)
    matter = "\n".join(lines[1:end]).replace("\t", "  ")  # YAML forbids tabs, and upstream forgives them
    try:
        card = parse_yaml(matter, path, as_texts=True, error=CheckpointError)
    except CheckpointError as error:
        raise CheckpointError(f"the front matter {error.what}", where=path, hint=error.hint) from error
    if not isinstance(card, Mapping):
        if card is not None:
            note(f"the front matter of {CARD} is no table of keys and values, and was skipped")
        return {}
    return {key: _meant(key, value, note) for key, value in card.items() if isinstance(key, str)}


def _meant(key: str, value: Any, note: Note) -> Any:
    """The value as the gguf package can read it, None if there is nothing in it that can be meant."""
    if value is None or isinstance(value, str) or key not in TEXTS | LISTS | ORIGINS:
        return value
    texts = [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
    if isinstance(value, list) and key in ORIGINS:
        texts += [_texts_of(item) for item in value if isinstance(item, Mapping)]  # type: ignore[misc]
    lost = len([item for item in value if item is not None]) - len(texts) if isinstance(value, list) else 1
    if lost:
        note(f"{CARD}: {key} is {shown(value)}; what of it is no text was skipped")
    if isinstance(value, list) and key in TEXTS:
        return ", ".join(texts) or None
    return texts if isinstance(value, list) else None


def _texts_of(table: Mapping[Any, Any]) -> dict[str, str]:
    return {key: value for key, value in table.items() if isinstance(key, str) and isinstance(value, str)}


def read_sampling(folder: Path, note: Note) -> dict[str, Any]:
    """What generation_config.json recommends, by the gguf package's names. Raises CheckpointError: no JSON object."""
    content = read_generation_config(folder)
    found: dict[str, Any] = {}
    for key, (name, kind) in SAMPLING.items():
        value = content.get(key)
        if value is None:
            continue
        if isinstance(value, float) and kind is int and value.is_integer():
            value = int(value)
        if _fits(value, kind):
            found[name] = value
        else:
            note(f"{GENERATION}: {key} is {shown(value)}, which no GGUF can hold there, and was skipped")
    return found


def _fits(value: Any, kind: type) -> bool:
    if kind is str:
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return False
    return -(2**31) <= value < 2**31 if kind is int else -LARGEST <= value <= LARGEST


def read_generation_config(folder: Path) -> dict[str, Any]:
    """The JSON object in generation_config.json; empty without the file. Raises CheckpointError."""
    path = folder / GENERATION
    return read_json(path) if path.is_file() else {}
