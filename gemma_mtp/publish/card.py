"""The model card: front matter, and sections between marks. Whatever stands outside the marks belongs to its author.

    <!-- gemma-mtp:files:begin -->
    (rewritten by each push)
    <!-- gemma-mtp:files:end -->

The card depends on nothing but the files, the repo and what was asked for, so that a push without news changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from gemma_mtp import __version__
from gemma_mtp.errors import BadFileError, EnvironmentProblem
from gemma_mtp.hub.source import Source
from gemma_mtp.model.dialects import ATOMIC, MAINLINE
from gemma_mtp.publish.assistant_file import AssistantFile
from gemma_mtp.validate import Report, Status

TAGS = ("gguf", "llama.cpp", "speculative-decoding", "mtp", "draft-model", "gemma4-assistant")
_ROW = re.compile(r"^\| `(?P<name>[^`]+)` \|.*\| `(?P<sha256>[0-9a-f]{64})` \|$", re.MULTILINE)

_ITEM = re.compile(r"^- `(?P<name>[^`]+)`:.*(?:\n  - .*)*", re.MULTILINE)


@dataclass(frozen=True)
class Facts:
    """All that a card is made from.

    files: those that are pushed now. others: names and sha256 of the assistants that stay in the repo.
    target: what the files were checked against. reports: by file name; None if not verified.
    """

    repo: str
    files: Sequence[AssistantFile]
    others: Mapping[str, str] = field(default_factory=dict)
    target: Source | None = None
    base_model: str | None = None
    reports: Mapping[str, Report] | None = None
    bench: Mapping[str, Any] | None = None

    @property
    def target_name(self) -> str:
        return self.files[0].name.target

    @property
    def first(self) -> AssistantFile:
        """The file that commands show: for mainline if there is one."""
        return next((file for file in self.files if file.dialect is MAINLINE), self.files[0])


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


def read_bench(path: Path) -> Mapping[str, Any]:
    """The results of `gemma-mtp bench --json`. Raises BadFileError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFileError(f"these are no bench results: {error}", where=path) from error
    if not isinstance(content, dict):
        raise BadFileError("these are no bench results: not a JSON object", where=path)
    return content


def _front_matter(facts: Facts, old: Mapping[str, Any]) -> dict[str, Any]:
    """Ours, over what was there: an author's licence, language or further tags stay."""
    licence = next((file.license for file in facts.files if file.license), None)
    origin = facts.base_model or next((file.origin for file in facts.files if file.origin), None)
    ours = {
        "base_model": origin,
        "base_model_relation": "quantized" if origin or old.get("base_model") else None,
        "library_name": "gguf",
        "license": old.get("license") or licence,
        "pipeline_tag": "text-generation",
        "tags": [*TAGS, *(tag for tag in old.get("tags") or [] if tag not in TAGS)],
    }
    return {**old, **{key: value for key, value in ours.items() if value is not None}}


def _data(card: ModelCard) -> dict[str, Any]:
    return dict(card.data.to_dict())  # type: ignore[no-untyped-call]


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- gemma-mtp:{name}:begin -->", f"<!-- gemma-mtp:{name}:end -->"


def _section(body: str, name: str) -> str:
    """What stands between a section's marks; empty without them."""
    begin, end = _marks(name)
    content, closed, _ = body.partition(begin)[2].partition(end)
    return content.strip("\n") if closed else ""


def _replace_section(body: str, name: str, content: str) -> str:
    begin, end = _marks(name)
    before, marked, rest = body.partition(begin)
    _, closed, after = rest.partition(end)
    if marked and closed:
        return f"{before}{begin}\n{content}\n{end}{after}"
    return f"{body}\n\n{begin}\n{content}\n{end}" if content else body


def _commands(facts: Facts, _: str) -> str:
    file, target, repo, local = facts.first, *_target_spellings(facts)
    lines = [
        f"This is a **drafter** (MTP assistant) for **{facts.target_name}**, not a chat model: it speeds up its target "
        'and cannot run alone. The Hub\'s "Use this model" box does not know that; these commands are right:',
        "",
        "```sh",
    ]
    if file.dialect is MAINLINE:
        lines += [
            "# llama.cpp, downloading both",
            f"llama-server -hf {repo} -hfd {facts.repo}:{file.name.type} --spec-type draft-mtp",
            "# llama.cpp, with local files",
            f"llama-server -m {local} -md {file.path.name} --spec-type draft-mtp",
        ]
    if file.dialect is not ATOMIC:
        lines += ["# ik_llama.cpp, with local files", f"llama-server -m {local} -md {file.path.name} -mtp"]
    if file.dialect is MAINLINE:
        lines += [
            "# gemma-mtp: check the pair before downloading it, then run it",
            f"gemma-mtp verify {target} hf://{facts.repo}/{file.path.name}",
            f"gemma-mtp run {local} {file.path.name}",
        ]
    return "\n".join([*lines, "```"])


def _target_spellings(facts: Facts) -> tuple[str, str, str]:
    """The target for this tool, for `-hf`, and as a local file. No path of the author's machine is shown."""
    target, unknown = facts.target, f"<a GGUF repo of {facts.target_name}>:Q4_K_M"
    if target is None or target.path is not None:
        return unknown, unknown, target.path.name if target and target.path else f"{facts.target_name}.gguf"
    file = target.file.rsplit("/", 1)[-1] if target.file else f"{facts.target_name}.gguf"
    return str(target), f"{target.repo}:{target.quant}" if target.quant else str(target.repo), file


def _files(facts: Facts, body: str) -> str:
    """A row for each assistant in the repo: new for those pushed now, as it was for the others."""
    old = {(match["name"], match["sha256"]): match[0] for match in _ROW.finditer(body)}
    rows = {
        name: old.get((name, sha256), f"| `{name}` | | | | `{sha256}` |") for name, sha256 in facts.others.items()
    } | {
        file.path.name: f"| `{file.path.name}` | {file.type} | {file.size:,} | {file.bits:.2f} | `{file.sha256}` |"
        for file in facts.files
    }
    header = ["## Files", "", "| File | Type | Bytes | Bits per weight | SHA-256 |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*header, *(rows[name] for name in sorted(rows))])


def _target(facts: Facts, _: str) -> str:
    file = facts.first
    return (
        f"## Target\n\nFor {facts.target_name} and models with the same text part: hidden width {file.backbone:,}, "
        f"vocabulary of {file.vocabulary:,} tokens. With a fine-tuned target the outputs stay the target's own; how "
        "many drafts it accepts has to be measured."
    )


def _runtimes(facts: Facts, _: str) -> str:
    found = {file.dialect.name: file.dialect for file in facts.files}
    lines = [f"- dialect `{name}` (`{dialect.architecture}`): {dialect.runtimes}" for name, dialect in found.items()]
    return "\n".join(["## Runtimes", "", *lines])


def _verification(facts: Facts, body: str) -> str:
    """An item for each assistant in the repo: new for those pushed now, as it was for the others."""
    old = {match["name"]: match[0] for match in _ITEM.finditer(_section(body, "verification"))}
    items = {name: item for name, item in old.items() if name in facts.others}
    for file in facts.files:
        name = file.path.name
        items[name] = _verdict(name, facts.reports[name], facts.target) if facts.reports else _unverified(name)
    return "\n".join(["## Verification", "", *(items[name] for name in sorted(items))])


def _unverified(name: str) -> str:
    return f"- `{name}`: **published without verification** (`--skip-verify`)"


def _verdict(name: str, report: Report, target: Source | None) -> str:
    place = target.path.name if target and target.path else target
    against = f"against `{place}`" if place else "without a target"
    passed = sum(result.status is Status.OK for result in report.results)
    lines = [f"- `{name}`: {passed} checks passed {against}, {len(report.warnings)} warnings (gemma-mtp {__version__})"]
    return "\n".join([*lines, *(f"  - {result.title}: {result.finding.message}" for result in report.warnings)])


def _benchmarks(facts: Facts, body: str) -> str:
    """The results given now; without any, the section stays as it is."""
    if facts.bench is None:
        return _section(body, "benchmarks")
    lines = ["## Benchmarks", ""]
    lines += [f"- {key}: {value}" for key, value in facts.bench.items() if not isinstance(value, list | dict)]
    for key, value in facts.bench.items():
        rows = [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
        if rows:
            lines += ["", *_table(key, rows)]
    return "\n".join(lines)


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = [key for key, value in rows[0].items() if not isinstance(value, list | dict)]
    cells = [[_cell(row.get(column, "")) for column in columns] for row in rows]
    return [
        f"**{title}**",
        "",
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
        *(f"| {' | '.join(row)} |" for row in cells),
    ]


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")


def _provenance(facts: Facts, _: str) -> str:
    origin = facts.base_model or facts.first.origin
    made_from = f"Made from [{origin}](https://huggingface.co/{origin})" if origin else "Made"
    return f"## Provenance\n\n{made_from} and published with gemma-mtp {__version__}."


#: The marked sections, in the order of a new card.
SECTIONS: Mapping[str, Callable[[Facts, str], str]] = {
    "commands": _commands,
    "files": _files,
    "target": _target,
    "runtimes": _runtimes,
    "verification": _verification,
    "benchmarks": _benchmarks,
    "provenance": _provenance,
}
