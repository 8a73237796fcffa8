"""The model card: front matter, and sections between marks. Whatever stands outside the marks belongs to its author.

    <!-- gemma-mtp:files:begin -->
    (rewritten by each push)
    <!-- gemma-mtp:files:end -->

The card depends on nothing but the files, the repo and what was asked for, so that a push without news changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from gemma_mtp.errors import EnvironmentProblem
from gemma_mtp.publish.facts import Facts
from gemma_mtp.publish.front_matter import FrontMatter
from gemma_mtp.publish.sections import SECTIONS, find_section, marks

#: Of every repo, before those of the drafter's family.
TAGS = ("gguf", "llama.cpp")


def read_card(content: bytes, where: str) -> str:
    """A card's text, with its byte order mark and line ends. Raises EnvironmentProblem: it is not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        raise EnvironmentProblem(
            f"the repo's README.md is not UTF-8, in line {line}",
            where=where,
            hint="save it as UTF-8 and run it again; nothing was uploaded",
        ) from error


def write_card(facts: Facts, existing: str | None) -> str:
    """The whole README.md: a new one, or `existing` with front matter and marked sections brought up to date.

    Raises EnvironmentProblem if the existing front matter is not YAML.
    """
    new = f"# {facts.target_name}: {facts.kind} drafter as GGUF\n"
    card = _with_front_matter(facts, FrontMatter.of(existing or new, facts.repo))
    body = card.tail
    for name, section in SECTIONS.items():
        content = section(facts, body.replace("\r\n", "\n"))
        body = _with_section(body, name, content.replace("\n", card.newline), card.newline)
    return str(replace(card, tail=body))


def _with_front_matter(facts: Facts, card: FrontMatter) -> FrontMatter:
    """With ours where the author has nothing; only a base model that was asked for by name goes over another."""
    licence = next((file.license for file in facts.files if file.license), None)
    if facts.origin:
        card = card.with_text("base_model", facts.origin, over=facts.base_model is not None)
    ours = {
        "base_model_relation": ("finetune" if facts.first.adapted else "quantized") if card.has("base_model") else None,
        "library_name": "gguf",
        "license": licence,
        "pipeline_tag": "text-generation",
        "quantized_by": facts.repo.split("/")[0],
    }
    for key, value in ours.items():
        if value is not None:
            card = card.with_text(key, value)
    return card.with_items("tags", (*TAGS, *facts.first.family.tags))


def _with_section(body: str, name: str, content: str, newline: str) -> str:
    """With this content between the section's marks, which are put at the end if they are not there."""
    content = f"{newline}{content}{newline}"
    if found := find_section(body, name):
        start, end = found
        return f"{body[:start]}{content}{body[end:]}"
    if not content.strip():
        return body
    begin, end_mark = marks(name)
    ended = body if body.endswith(newline) else f"{body}{newline}"
    return f"{ended}{newline}{begin}{content}{end_mark}{newline}"
