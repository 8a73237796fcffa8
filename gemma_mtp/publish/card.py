"""The model card: front matter, and sections between marks. Whatever stands outside the marks belongs to its author.

    <!-- gemma-mtp:files:begin -->
    (rewritten by each push)
    <!-- gemma-mtp:files:end -->

The card depends on nothing but the files, the repo and what was asked for, so that a push without news changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from gemma_mtp.errors import EnvironmentProblem
from gemma_mtp.publish.facts import Facts
from gemma_mtp.publish.sections import SECTIONS, marks

TAGS = ("gguf", "llama.cpp", "speculative-decoding", "mtp", "draft-model", "gemma4-assistant")


def write_card(facts: Facts, existing: str | None) -> str:
    """The whole README.md: a new one, or `existing` with front matter and marked sections brought up to date.

    Raises EnvironmentProblem if the existing front matter is not YAML.
    """
    try:
        old = ModelCard(existing or "", ignore_metadata_errors=True)
    except ValueError as error:
        raise EnvironmentProblem(
            f"the front matter of the repo's README.md is damaged: {error}", where=facts.repo, hint="mend it there"
        ) from error
    body = old.text.strip("\n") if existing else f"# {facts.target_name}: MTP drafter as GGUF"
    for name, section in SECTIONS.items():
        body = _replace_section(body, name, section(facts, body))
    data = _front_matter(facts, _data(old) if existing else {})
    return f"---\n{ModelCardData(**data).to_yaml()}\n---\n\n{body}\n"


def _front_matter(facts: Facts, old: Mapping[str, Any]) -> dict[str, Any]:
    """Ours, over what was there: an author's licence, language or further tags stay."""
    licence = next((file.license for file in facts.files if file.license), None)
    origin = facts.origin
    ours = {
        "base_model": origin,
        "base_model_relation": "quantized" if origin or old.get("base_model") else None,
        "library_name": "gguf",
        "license": old.get("license") or licence,
        "pipeline_tag": "text-generation",
        "quantized_by": old.get("quantized_by") or facts.repo.split("/")[0],
        "tags": [*TAGS, *(tag for tag in old.get("tags") or [] if tag not in TAGS)],
    }
    return {**old, **{key: value for key, value in ours.items() if value is not None}}


def _data(card: ModelCard) -> dict[str, Any]:
    return dict(card.data.to_dict())  # type: ignore[no-untyped-call]


def _replace_section(body: str, name: str, content: str) -> str:
    begin, end = marks(name)
    before, marked, rest = body.partition(begin)
    _, closed, after = rest.partition(end)
    if marked and closed:
        return f"{before}{begin}\n{content}\n{end}{after}"
    return f"{body}\n\n{begin}\n{content}\n{end}" if content else body
