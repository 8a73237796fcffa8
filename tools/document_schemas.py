"""Write docs/schemas: a JSON schema (2020-12) for each object that `--json` prints.

    python tools/document_schemas.py

The shapes are told below, in Python's own words: `str`, a list of one shape, a dictionary of keys. A test compares the
files with them, and what the commands print with the files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_mtp.cli.schemas import VERSIONS

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
KINDS = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True)
class Maybe:
    """The shape, or null."""

    shape: Any


@dataclass(frozen=True)
class Table:
    """An object with keys of any name, whose values have this shape."""

    shape: Any


@dataclass(frozen=True)
class Sometimes:
    """The value of a key that may be missing."""

    shape: Any


class Anything:
    """Any value."""


@dataclass(frozen=True)
class Choice:
    """One of these shapes."""

    shapes: tuple[Any, ...]


CHECK = dict.fromkeys(("id", "title", "status", "message", "remedy", "target", "assistant"), str)
MEMORY = {"weights": int, "cache": int, "compute": int, "total": int}
SHARE = {"weights": int, "cache": int, "compute": int, "drafter": int, "total": int}
TOKEN = {"token": int, "logit": float, "second": int, "second_logit": float, "other_logit": Maybe(float)}
RUN = {
    "kind": str,
    "tokens": int,
    "plain_speed": float,
    "drafted_speed": float,
    "engine": str,
    "drafted_at": [int],
    "accepted_at": [int],
    "different_at": Maybe(int),
    "plain": Maybe(TOKEN),
    "drafted": Maybe(TOKEN),
    "totals": Maybe([int]),
}
REFERENCE = {
    "kind": str,
    "rounds": int,
    "equal": int,
    "near_ties": int,
    "unscored": int,
    "widest_gap": float,
    "compared": int,
    "difference": float,
}
PROOF = {
    "source": str,
    "of_checkpoint": bool,
    "type": str,
    "exact_type": bool,
    "holds": bool,
    **{key: [str] for key in ("missing", "foreign", "unseen", "keys")},
    "tensors": [{"name": str, "type": str, "wanted": str, "found": str}],
}
REPORT = {
    "ok": bool,
    "part": Maybe(str),
    "verdict": str,
    "notes": [str],
    "memory": Maybe({"tokens": int, "asked": int, "total": int, "target": MEMORY, "assistant": MEMORY}),
    "devices": Maybe(Table(SHARE)),  # GPU, or of several GPU0, GPU1, ..., and RAM
    "run": [RUN],
    "reference": [REFERENCE],
    "origin": Maybe(PROOF),
    "checks": [CHECK],
}
PLAN = {
    "repo": str,
    "repo_is_new": bool,
    "private": bool,
    "files": [{"name": str, "bytes": int, "hash": str, "state": str}],
    "collection": Maybe(str),
    "collection_note": Maybe(str),
    "card": str,
    "preset": Maybe(Anything),  # a plan like this one
    "checks": Table(REPORT),
}
OUTCOME = {
    "url": Sometimes(str),
    "commit": Sometimes(Maybe(str)),
    "collection_url": Sometimes(Maybe(str)),
    "preset_url": Sometimes(Maybe(str)),
}
PUSH = PLAN | OUTCOME
HOST = {
    **dict.fromkeys(("name", "title", "since", "source", "takes", "expect", "checked"), str),
    "runtime": Maybe(str),
    "limits": [str],
}
STATISTICS = {
    "prompt_tokens": int,
    "reused_tokens": int,
    "tokens": [int],
    "rounds": int,
    "drafted_at": [int],
    "accepted_at": [int],
    "drafted": int,
    "accepted": int,
    **{f"{key}_seconds": float for key in ("prompt", "draft", "verify", "sampling", "decode", "first_token")},
    "generation_seconds": float,
    "peak_memory": int,
    "acceptance": Maybe(float),
    "acceptance_by_position": [Maybe(float)],
    "tokens_per_pass": float,
    "tokens_per_second": float,
    "prompt_tokens_per_second": float,
    "overhead": Maybe(float),
    "total_drafted": Sometimes(int),
    "total_accepted": Sometimes(int),  # of the C++ engine, all rounds together
}
ROW = {
    "engine": str,
    "category": str,
    "draft": Choice((int, str)),
    "tokens_per_second": float,
    "speedup": float,
    "tokens": int,
    "rounds": int,
    "drafted": int,
    "accepted": int,
    "acceptance": Maybe(float),
    "acceptance_by_position": [float],
    "tokens_per_round": float,
    "draft_ms": Maybe(float),
    "verify_ms": Maybe(float),
    "ceiling": Maybe(float),
    "identical": bool,
    "method": str,
    "prompt_tokens_per_second": Maybe(float),
    "memory": Maybe(int),
}
MODEL_FILE = {"name": str, "file": str, "bytes": int, "type": str}
METHOD = {"name": str, "types": str, "title": str, "file": Maybe(MODEL_FILE), "table": int, "at_most": int}
RECOMMENDATION = {"draft": int, "speedup": float, "reasons": [str], "command": str, "p_min": float, "method": str}
COUNTS = {
    "drafted_at": [int],
    "accepted_at": [int],
    "rounds": int,
    "drafted": int,
    "accepted": int,
    "acceptance": Maybe(float),
    "by_position": [Maybe(float)],
    "tokens_a_round": float,
}
SCORE = {
    "first": float,
    "expected": float,
    "overlap": float,
    "positions": int,
    "greedy": COUNTS,
    "sampled": COUNTS,
}
MEASURED = {"assistant": str, "texts": int} | {way: COUNTS | {"looping": float} for way in ("greedy", "sampled")}
FAILURE = {"extra_buffers": bool, "what": str, "signal": Maybe(str), "log": [str]}
PYTHON_ENGINE = {
    **dict.fromkeys(("package", "library", "build", "cpu"), str),
    "features": [str],
    "works": bool,
    "extra_buffers": bool,
    "failures": [FAILURE],
    "cards": [str],
    "devices": [{"name": str, "description": str, "kind": str, "memory_total": int, "memory_free": int}],
    "alone": [{"device": str, "what": str, "log": [str]}],
    "advice": Maybe(Anything),
    "remembered_in": str,
}
CPP_ENGINE = {"package": str, "works": bool, "devices": [str], "failure": str, "log": [str]}
#: `doctor` has the Python loop's facts at its top, too, where that is installed.
AT_THE_TOP = {key: Sometimes(shape) for key, shape in PYTHON_ENGINE.items() if key != "works"}
FAILED_JOB = {"source": str, "error": str, "hint": str}
DRY_STEP = {"action": str, "file": str, "inputs": [str], "to_do": Maybe(str)}
STEP = {"action": str, "file": str, "done_because": Maybe(str), "seconds": float}

#: Name -> what it is, and its shape.
SHAPES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "gemma-mtp adapt": (
        "What `adapt` wrote, and what it gained.",
        {
            "files": [str],
            "training": {
                "steps": int,
                "positions": int,
                "trained": int,
                "rate": float,
                "seconds": float,
                "flops": float,
                "peak_memory": int,
                "ended": str,
                "rise": float,
            },
            "replay": {"before": SCORE, "after": SCORE},
            "loop": {"before": MEASURED, "after": MEASURED},
            "gain": {"tokens_a_round": float, "standard_error": float},
            "tokens": int,
            "seconds": float,
            "signals": Table(Anything),
        },
    ),
    "gemma-mtp adapt --dry-run": (
        "What adapting would cost: bytes, operations, minutes.",
        {"tokens": int, "disk": int, "memory": int, "flops": float, "speed": float, "minutes": float},
    ),
    "gemma-mtp adapt --measure": (
        "Assistants measured on the same texts.",
        {"measured": [MEASURED], "original": Maybe(MEASURED), "verdict": Anything},
    ),
    "gemma-mtp bench": (
        "Results of `bench`, which docs/bench.md explains. `version` is their own.",
        {
            "version": int,
            "gemma_mtp": str,
            "date": str,
            "machine": {"system": str, "cpu": str, "devices": [str], "engines": Table(str)},
            "target": MODEL_FILE,
            "assistant": Maybe(MODEL_FILE),
            "settings": {
                **dict.fromkeys(("draft_max", "tokens", "repeats", "threads", "context", "batch", "gpu_layers"), int),
                "cache_type": str,
                "flash_attention": str,
                "prompts": Table(int),
            },
            "rows": [ROW],
            "recommendation": RECOMMENDATION,
            "confidence": [
                {"engine": str, "draft": int, "p_min": float, "tokens_per_second": float, "speedup": float}
                | {"acceptance": Maybe(float)}
            ],
            "methods": [METHOD],
        },
    ),
    "gemma-mtp convert": (
        "The files that were written.",
        {
            "architecture": str,
            "dialect": str,
            "files": [{"path": str, "bytes": int}],
            "left_out": [str],
            "nonfinite": [str],
            "notes": [str],
            "seconds": float,
        },
    ),
    "gemma-mtp demo": (
        "What the demo's steps took, and what drafting gave; rows as in bench's results.",
        {
            "engine": str,
            "identical_output": bool,
            "acceptance": float,
            "heavy_speedup": float,
            "verified": bool,
            "steps": [{"title": str, "seconds": float, "files": Table(int)}],
            "pair": [ROW],
            "heavier_pair": [ROW],
            "differing_prompts": [str],
            "sample": str,
        },
    ),
    "gemma-mtp diff": (
        "Where two models differ; null: it is not there.",
        {
            "left": str,
            "right": str,
            "same_keys": int,
            "same_tensors": int,
            "not_compared": int,
            "differences": [{"what": str, "name": str, "left": Maybe(str), "right": Maybe(str)}],
        },
    ),
    "gemma-mtp doctor": (
        "What is installed, and whether it works here.",
        {
            **AT_THE_TOP,
            "works": Maybe(bool),
            "versions": Table(str),
            "engine": Maybe(str),
            "can": Table(bool),
            "engines": {"python": Maybe(PYTHON_ENGINE), "cpp": Maybe(CPP_ENGINE)},
        },
    ),
    "gemma-mtp edit": (
        "The file that was written, and the keys that changed.",
        {"file": str, "size": int, "changed": Table({"was": Maybe(str), "is": Maybe(str)})},
    ),
    "gemma-mtp explain": (
        "Lines of a log whose cause is known.",
        {"found": [{"line": int, "text": str, "times": int, "cause": str, "remedy": str}], "lines": int},
    ),
    "gemma-mtp export": (
        "What was written for a host.",
        {
            "host": HOST,
            "target": str,
            "assistant": str,
            "name": str,
            "draft": int,
            "draft_from": str,
            "context": Maybe(int),
            "text": str,
            "file": Maybe(str),
            "links": Table(str),
            "then": [str],
            "verdict": str,
            "warnings": [CHECK],
            "written": Sometimes(bool),
        },
    ),
    "gemma-mtp export --list": ("The hosts that are known.", {"hosts": [HOST]}),
    "gemma-mtp fit": (
        "Bytes by device, and the smallest change that makes it fit.",
        {
            "fits": bool,
            "change": Maybe(str),
            "prepare": Maybe(str),
            "command": Maybe(str),
            "tokens": int,
            "note": str,
            "devices": Table({"room": Maybe(int), **SHARE}),
            "asked": Table(SHARE),
        },
    ),
    "gemma-mtp imatrix": (
        "The importance matrix that was written; rows that were seen, by tensor.",
        {"file": str, "tokens": int, "rows": Table(Anything)},
    ),
    "gemma-mtp inspect": (
        "A file's header. `version`: the format's.",
        {
            **dict.fromkeys(("version", "size", "alignment", "data_start", "parameters"), int),
            "file": str,
            "bytes_by_type": Table(int),
            "bytes_by_layer": Table(int),
            "metadata": [{"key": str, "type": str, "count": Maybe(int), "value": Anything}],
            "tensors": [
                {"name": str, "shape": [int], "type": str, "offset": int, "bytes": int}
                | {"bits_per_weight": Maybe(float)}
            ],
        },
    ),
    "gemma-mtp inspect KEY": (
        "One value of a header; count: of an array.",
        {"key": str, "type": str, "count": Maybe(int), "value": Anything},
    ),
    "gemma-mtp make": (
        "What came of each job.",
        {
            "jobs": [
                Choice(
                    (
                        {"source": str, "name": str, "files": [str], "notes": [str], "steps": [STEP]}
                        | {"checks": Table(REPORT), "push": Maybe(PUSH)},
                        FAILED_JOB,
                    )
                )
            ]
        },
    ),
    "gemma-mtp make --dry-run": (
        "What would be done, and why.",
        {
            "jobs": [
                Choice(
                    (
                        {"source": str, "name": str, "steps": [DRY_STEP], "repo": Maybe(str), "push": Maybe(PUSH)},
                        FAILED_JOB,
                    )
                )
            ]
        },
    ),
    "gemma-mtp push": ("The plan, and where it went: with `--dry-run` only the plan.", PUSH),
    "gemma-mtp quantize": (
        "The files that were written.",
        {
            "source": str,
            "source_size": int,
            "requantized": [str],
            "seconds": float,
            "outputs": [
                {"path": str, "kind": str, "size": int, "bits_per_weight": float, "types": Table(int)},
            ],
        },
    ),
    "gemma-mtp quantize --compare": (
        "Types measured against each other. `version` is its own.",
        {
            "version": int,
            "target": str,
            "assistant": str,
            "baseline": float,
            "noise": Maybe(float),
            "candidates": [
                {"kind": str, "bytes": int, "bits_per_weight": float, "step_ms": Maybe(float), "drafted": int}
                | {"accepted": int, "acceptance": float, "acceptance_error": float, "tokens_per_second": float}
                | {"speedup": float, "identical": bool}
            ],
            "recommended": str,
            "reasons": [str],
            "engine": str,
        },
    ),
    "gemma-mtp quantize --list": (
        "Types and recipes on offer; size: of the source's file in that type.",
        {
            "types": [
                {"name": str, "bits": float, "is_recipe": bool, "needs_importance": bool, "summary": str}
                | {"size": Maybe(int)}
            ]
        },
    ),
    "gemma-mtp run": (
        "The text, its tokens, and what they took.",
        STATISTICS
        | {"text": str, "finish": str, "seed": Maybe(int), "context": int, "trained_context": int, "engine": str},
    ),
    "gemma-mtp verify": ("Every check, and what was measured with --run and --reference.", REPORT),
    "gemma-mtp verify --server": (
        "What a running server says of itself; null: it does not say.",
        {
            "address": str,
            "drafts": Maybe(bool),
            "why": str,
            "remedy": str,
            "kind": str,
            "notes": [str],
            **{key: Maybe(str) for key in ("version", "model", "drafter")},
            **{key: Maybe(int) for key in ("context", "slots", "tokens", "drafted", "accepted")},
            "types": Maybe([str]),
            "speculates": Maybe(bool),
            "images": Maybe(bool),
        },
    ),
}
#: These carry a name without a number, and `version`.
OWN = ("gemma-mtp bench", "gemma-mtp quantize --compare")


def schema_of(shape: Any, closed: bool = False) -> dict[str, Any]:
    """A shape as a JSON schema. closed: keys that it does not name are wrong."""
    if shape is Anything:
        return {}
    if isinstance(shape, Maybe):
        return {"anyOf": [schema_of(shape.shape, closed), {"type": "null"}]}
    if isinstance(shape, Choice):
        return {"anyOf": [schema_of(one, closed) for one in shape.shapes]}
    if isinstance(shape, Table):
        return {"type": "object", "additionalProperties": schema_of(shape.shape, closed)}
    if isinstance(shape, list):
        return {"type": "array", "items": schema_of(shape[0], closed)}
    if isinstance(shape, Mapping):
        return _object(shape, closed)
    return {"type": KINDS[shape]}


def _object(shape: Mapping[str, Any], closed: bool) -> dict[str, Any]:
    plain = {key: one.shape if isinstance(one, Sometimes) else one for key, one in shape.items()}
    required = [key for key, one in shape.items() if not isinstance(one, Sometimes)]
    found = {"type": "object", "required": required}
    found["properties"] = {key: schema_of(one, closed) for key, one in plain.items()}
    return found | ({"additionalProperties": False} if closed else {})


def document(name: str, closed: bool = False) -> dict[str, Any]:
    """The schema of this name, whole."""
    title, shape = SHAPES[name]
    told = name if name in OWN else f"{name} {VERSIONS.get(name, 1)}"
    body = schema_of(shape, closed)
    body["required"] = ["schema", *body["required"]]
    body["properties"] = {"schema": {"const": told}, **body["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": told, "description": title, **body}


def path_of(name: str) -> Path:
    """`gemma-mtp verify --server` -> verify-server.json"""
    words = [word.strip("-").lower() for word in name.split()[1:]]
    return FOLDER / f"{'-'.join(words)}.json"


def written(name: str) -> str:
    return json.dumps(document(name), indent=2) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for one in SHAPES:
        path_of(one).write_text(written(one), encoding="utf-8")
    sys.stdout.write(f"{len(SHAPES)} schemas in {FOLDER}\n")
