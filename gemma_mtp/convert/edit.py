"""A GGUF with other metadata and the same weights, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gemma_mtp.convert.soundness import require_chat_template, require_sound_plan
from gemma_mtp.convert.spelling import NamedTensor
from gemma_mtp.errors import BadFileError, UsageError, meant
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.atomic import check_output
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import DTYPES, Value, ValueType
from gemma_mtp.files.gguf_writer import LAYOUT_KEYS, GGUFWriter
from gemma_mtp.files.text import read_text, typed
from gemma_mtp.model.part import Part
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.splits import MERGE_PARTS
from gemma_mtp.sources.templates import KEY as TEMPLATE
from gemma_mtp.validate.differences import shown

#: How a type is written in `KEY=TYPE:VALUE`, as llama.cpp's --override-kv does and a little more.
TYPES = {
    "str": ValueType.STRING,
    "bool": ValueType.BOOL,
    "int": ValueType.INT32,
    "float": ValueType.FLOAT32,
    **{name: getattr(ValueType, name.upper()) for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32")},
    **{name: getattr(ValueType, name.upper()) for name in ("uint64", "int64", "float32", "float64")},
}
TRUTHS = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True)
class Changes:
    """set: `KEY=VALUE`, in the type that the key has; for a new key `KEY=TYPE:VALUE`, or a text.

    unset: keys to leave out. chat_template: a file with the template.
    """

    set: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    chat_template: Path | None = None


@dataclass(frozen=True)
class Edited:
    """changed: key -> what it was and is, as people read it; None: not there. size: of the new file, in bytes.

    warnings: what is odd about a new chat template.
    """

    output: Path
    size: int
    changed: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def edit_file(source: Path, output: Path, changes: Changes, *, force: bool = False) -> Edited:
    """Write the target or assistant in `source` to `output` with these changes, if it is sound with them.

    Raises GGUFError (a malformed file), BadFileError (it is neither, or llama.cpp could not use it then), UsageError
    (an unknown key, a value that is none, the output).
    """
    check_output(output, force)
    with GGUFFile(source) as file:
        if "split.count" in file.metadata and (file.metadata["split.count"].integer() or 0) > 1:
            raise BadFileError("this is a part of a split model", where=source, hint=MERGE_PARTS)
        metadata = changed_metadata(file.metadata, changes, source)
        plans = list(file.tensors.values())
        part = OpenModel(str(source), None, file.header).actual_part
        if part is None:
            raise BadFileError("this is neither a Gemma 4 target nor an assistant", where=source)
        require_sound_plan(part, output, metadata, plans)
        changed = _differences(file.metadata, metadata)
        odd = require_chat_template(output, metadata) if part is Part.TARGET and TEMPLATE in changed else ()
        with GGUFWriter(output, metadata, plans, force=force) as writer:
            for plan, tensor in zip(plans, file.tensors.values(), strict=True):
                writer.write_next(NamedTensor(plan, file.span(tensor)).pieces())
        return Edited(output, writer.size, _differences(file.metadata, writer.metadata), odd)


def changed_metadata(metadata: Mapping[str, Value], changes: Changes, where: Path) -> dict[str, Value]:
    """The metadata with the changes, keys in their order, new ones at the end. Raises UsageError, BadFileError."""
    new = dict(metadata)
    for key in changes.unset:
        if key not in new:
            raise UsageError(f"there is no key {key}", where=where, hint=meant(key, metadata) or "leave --unset out")
        del new[key]
    for setting in changes.set:
        key, equals, text = setting.partition("=")
        if not key or not equals:
            raise UsageError(f"{setting!r} is no change", hint="write KEY=VALUE")
        new[key] = _value(key, text, metadata.get(key))
    if changes.chat_template is not None:
        new[TEMPLATE] = _text(read_text(changes.chat_template), TEMPLATE)
    for key in (*new.keys() - metadata.keys(), *(key for key in metadata if new.get(key) != metadata[key])):
        if key in LAYOUT_KEYS:
            raise UsageError(f"{key} says how the file is laid out, and is the writer's", where=where)
    return new


def _value(key: str, text: str, old: Value | None) -> Value:
    """Raises UsageError."""
    if old is not None and old.type is ValueType.ARRAY:
        raise UsageError(f"{key} is a list, and single values alone can be set", hint="--unset leaves it out")
    kind = None if old is None else old.type
    if old is None and (named := text.partition(":"))[1] and named[0] in TYPES:
        kind, text = TYPES[named[0]], named[2]
    if kind is None or kind is ValueType.STRING:
        return _text(text, key)
    try:
        return gv.scalar(kind, _number(kind, text))
    except (ValueError, OverflowError, KeyError):
        raise UsageError(f"{text!r} is no {kind.name} for {key}", hint=_wanted(kind)) from None


def _number(kind: ValueType, text: str) -> float | bool:
    """Raises ValueError, OverflowError, KeyError."""
    if kind is ValueType.BOOL:
        return TRUTHS[text.lower()]
    if DTYPES[kind].kind == "f":
        return float(text)
    number = int(text, 0)
    size = 8 * DTYPES[kind].itemsize
    low, high = (-(1 << size - 1), 1 << size - 1) if DTYPES[kind].kind == "i" else (0, 1 << size)
    if not low <= number < high:
        raise OverflowError
    return number


def _wanted(kind: ValueType) -> str:
    return "true or false" if kind is ValueType.BOOL else "a number that this type can hold"


def _text(text: str, key: str) -> Value:
    """Raises UsageError: no text (a lone surrogate, from a command line that is no UTF-8)."""
    try:
        return gv.string(typed(text))
    except UnicodeEncodeError:
        raise UsageError(f"the value for {key} is no UTF-8 text") from None


def _differences(old: Mapping[str, Value], new: Mapping[str, Value]) -> dict[str, tuple[str | None, str | None]]:
    keys: Iterable[str] = [*old, *(key for key in new if key not in old)]
    return {key: (shown(old.get(key)), shown(new.get(key))) for key in keys if old.get(key) != new.get(key)}
