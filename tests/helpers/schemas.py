"""Whether what a command printed with `--json` is what docs/schemas promises."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from tools import document_schemas


def name_of(told: str) -> str:
    """`gemma-mtp verify 1` -> `gemma-mtp verify`"""
    return told if told in document_schemas.OWN else told.rpartition(" ")[0]


def checked(printed: str) -> dict[str, Any]:
    """The object, after it was held to its schema, in which no key may stand that the schema does not name."""
    found = json.loads(printed)
    jsonschema.validate(found, document_schemas.document(name_of(found["schema"]), closed=True))
    return found
