"""A results file: what `gemma-mtp bench` found, typed, to be written and read. docs/bench.md explains every field.

results = read_results(Path("results.json"))
print(results.recommendation.speedup, results.overall("python", 3).acceptance)
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from gemma_mtp.errors import BadFileError
from gemma_mtp.files.text import read_json, shown
from gemma_mtp.native.methods import MTP

SCHEMA = "gemma-mtp bench"
VERSION = 1

PLAIN = 0  # the draft length of plain decoding
AUTO = -1  # the draft length that adapts itself; "auto" in a results file
NONE = "none"  # the method of plain decoding
OVERALL = "all"  # the category of the rows that sum up the others

Record = TypeVar("Record")


@dataclass(frozen=True)
class ModelFile:
    """A measured file. name: the model's, as its metadata gives it; file: without its folder; bytes: its size."""

    name: str
    file: str
    bytes: int
    type: str


@dataclass(frozen=True)
class Machine:
    """Where it was measured. engines: engine -> its version."""

    system: str
    cpu: str
    devices: tuple[str, ...]
    engines: dict[str, str]


@dataclass(frozen=True)
class Settings:
    """How it was measured. tokens: generated for each prompt; repeats: of every row; context, batch: tokens."""

    draft_max: int
    tokens: int
    repeats: int
    threads: int
    context: int
    batch: int
    cache_type: str
    flash_attention: str
    gpu_layers: int
    prompts: dict[str, int]


@dataclass(frozen=True)
class Row:
    """One engine, one category of prompts (OVERALL: all of them), one method and draft length (PLAIN, a number, AUTO).

    tokens, rounds, drafted, accepted: of the first repeat. tokens_per_second: generated; the prompt's pass and the
        token that it gave are left out; times are medians over the repeats, summed over the prompts.
    speedup: against plain decoding of the same engine. draft_ms, verify_ms: of an average round; None if the engine
        doesn't tell. ceiling: the speed-up if drafting had taken no time.
    identical: the text is, token for token, what plain decoding gave.
    method: how is drafted, a label of `BenchResults.methods`; of plain decoding NONE. draft: the model's, or of n-grams
        alone theirs. prompt_tokens_per_second: what the prompts' passes came to, None where nothing was told.
    memory: bytes, main memory's and devices', beyond plain decoding's peak; None where that was not measured.
    """

    engine: str
    category: str
    draft: int
    tokens_per_second: float
    speedup: float
    tokens: int
    rounds: int
    drafted: int
    accepted: int
    acceptance: float | None
    acceptance_by_position: tuple[float, ...]
    tokens_per_round: float
    draft_ms: float | None
    verify_ms: float | None
    ceiling: float | None
    identical: bool
    method: str = MTP
    prompt_tokens_per_second: float | None = None
    memory: int | None = None

    @property
    def drafts(self) -> bool:
        return self.draft != PLAIN


@dataclass(frozen=True)
class ConfidenceRow:
    """Drafts of at most `draft` tokens that end where the drafter is less sure than p_min, over all prompts. The
    figures are a Row's."""

    engine: str
    draft: int
    p_min: float
    tokens_per_second: float
    speedup: float
    acceptance: float | None


@dataclass(frozen=True)
class Recommendation:
    """The draft length that pays most, PLAIN if none does; its overall speed-up; why; llama-server's command line.

    p_min: where its drafts should end, 0 if nowhere. method: which way's draft it is, NONE if none pays.
    """

    draft: int
    speedup: float
    reasons: tuple[str, ...]
    command: str
    p_min: float = 0.0
    method: str = MTP


@dataclass(frozen=True)
class MeasuredMethod:
    """A way of drafting. name: its label in the rows. types: llama.cpp's, `--spec-type`. file: None: it needs none.

    table: bytes of its own tables. at_most: tokens of its longest draft.
    """

    name: str
    types: str
    title: str
    file: ModelFile | None
    table: int
    at_most: int


@dataclass(frozen=True)
class BenchResults:
    """Everything. `gemma_mtp`: the version that measured; `date`: ISO 8601, UTC.

    assistant: None where none was measured. methods: all that were measured; missing in files of earlier versions.
    """

    gemma_mtp: str
    date: str
    machine: Machine
    target: ModelFile
    assistant: ModelFile | None
    settings: Settings
    rows: tuple[Row, ...]
    recommendation: Recommendation
    confidence: tuple[ConfidenceRow, ...] = ()
    methods: tuple[MeasuredMethod, ...] = ()

    @property
    def engines(self) -> list[str]:
        return list(dict.fromkeys(row.engine for row in self.rows))

    @property
    def categories(self) -> list[str]:
        """The categories of the prompts, without OVERALL."""
        return [name for name in dict.fromkeys(row.category for row in self.rows) if name != OVERALL]

    @property
    def drafts(self) -> list[int]:
        """The assistant's measured draft lengths: PLAIN, 1 .. N, and AUTO if it was measured."""
        return list(dict.fromkeys(row.draft for row in self.rows if row.method in (NONE, MTP)))

    @property
    def compares(self) -> bool:
        """Whether there is more than an assistant alone."""
        return any(method.name != MTP for method in self.methods) or self.assistant is None

    def of(self, engine: str, category: str, method: str | None = MTP) -> list[Row]:
        """Plain decoding's row, then those of a method; None: of all."""
        rows = [row for row in self.rows if (row.engine, row.category) == (engine, category)]
        return [row for row in rows if method in (None, row.method) or row.draft == PLAIN]

    def overall(self, engine: str, draft: int, method: str = MTP) -> Row:
        """The row of all categories together. Raises KeyError."""
        for row in self.of(engine, OVERALL, method):
            if row.draft == draft:
                return row
        raise KeyError((engine, draft))

    def to_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "version": VERSION, **_plain(self)}


def read_results(path: Path) -> BenchResults:
    """Raises BadFileError: not readable, no results of `gemma-mtp bench`, a field missing or of another kind."""
    try:
        content = read_json(path)
    except BadFileError as error:
        raise BadFileError(f"these are no bench results: the file {error.what}", where=path, hint=error.hint) from error
    return parse_results(content, where=path)


def parse_results(content: Any, *, where: str | Path | None = None) -> BenchResults:
    """The results in a JSON object. Raises BadFileError. Fields that are unknown are skipped: a later version's."""
    if not isinstance(content, Mapping) or content.get("schema") != SCHEMA:
        raise BadFileError(
            f'these are no bench results: a JSON object with "schema": "{SCHEMA}" is needed',
            where=where,
            hint="gemma-mtp bench TARGET ASSISTANT --json > results.json",
        )
    if content.get("version") != VERSION:
        raise BadFileError(
            f"these bench results have version {shown(content.get('version'))}, version {VERSION} is needed",
            where=where,
        )
    try:
        return _record(BenchResults, content, "")
    except _Mismatch as mismatch:
        raise BadFileError(f"these bench results are damaged: {mismatch}", where=where) from mismatch


def draft_name(draft: int) -> str:
    """A draft length for people, and in a results file when it is no number."""
    return {PLAIN: "no", AUTO: "auto"}.get(draft, str(draft))


class _Mismatch(Exception):
    """A value of another kind than its field's."""


def _plain(value: Any) -> Any:
    """Dataclasses to what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return fields | {"draft": "auto"} if fields.get("draft") == AUTO else fields
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _typed(kind: Any, value: Any, place: str) -> Any:
    """`value` from JSON as the annotated type `kind`. Raises _Mismatch."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _record(kind, value, place)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return None if value is None else _typed(arguments[0], value, place)
    if origin is tuple:
        return tuple(
            _typed(arguments[0], item, f"{place}[{number}]") for number, item in enumerate(_checked(list, value, place))
        )
    if origin is dict:
        return {key: _typed(arguments[1], item, f"{place}.{key}") for key, item in _checked(dict, value, place).items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise _Mismatch(f"{place} is {value}, a finite number is needed")
    return _checked(kind, value, place)


def _record(kind: type[Record], value: Any, place: str) -> Record:
    fields = {}
    optional = {field.name for field in dataclasses.fields(cast(Any, kind)) if field.default is not dataclasses.MISSING}
    for name, field_kind in get_type_hints(kind).items():
        inner = f"{place}.{name}".lstrip(".")
        if name not in _checked(dict, value, place or "the whole"):
            if name in optional:  # which earlier versions did not write
                continue
            raise _Mismatch(f"{inner} is missing")
        item = AUTO if name == "draft" and value[name] == "auto" else value[name]
        fields[name] = _typed(field_kind, item, inner)
    return kind(**fields)


def _checked(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _Mismatch(f"{place} is {json.dumps(value)[:80]}, {_KINDS[kind]} is needed")
    return value


_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}
