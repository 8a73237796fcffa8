"""The marked sections of a card, each a function of what is known and of the card as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from gemma_mtp import __version__
from gemma_mtp.adapt.origin import FIGURES
from gemma_mtp.hosts.export import USUAL_DRAFT, told
from gemma_mtp.hosts.record import Folder
from gemma_mtp.hosts.table import HOSTS
from gemma_mtp.hosts.values import Values
from gemma_mtp.hub.source import Source
from gemma_mtp.model.dialects import ATOMIC, IK
from gemma_mtp.model.family import FAMILY
from gemma_mtp.native.methods import METHODS
from gemma_mtp.publish.bench_table import bench_section, one_line
from gemma_mtp.publish.facts import Facts
from gemma_mtp.publish.proofs import SECTION as ORIGIN_SECTION
from gemma_mtp.publish.proofs import origin_section
from gemma_mtp.validate import Report, Status
from gemma_mtp.validate.checks.hosts import READS
from gemma_mtp.validate.findings import ORIGIN

#: A row of the table of files, and an item of the list of verdicts: kept for files that are not pushed now.
_ROW = re.compile(r"^\| `(?P<name>[^`]+)` \|.*\| `(?P<sha256>[0-9a-f]{64})` \|$", re.MULTILINE)
_PLAIN_NAME = re.compile(r"[\w.-]+")
_ITEM = re.compile(r"^- `(?P<name>[^`]+)`:.*(?:\n  - .*)*", re.MULTILINE)


def marks(name: str) -> tuple[str, str]:
    return f"<!-- gemma-mtp:{name}:begin -->", f"<!-- gemma-mtp:{name}:end -->"


def find_section(body: str, name: str) -> tuple[int, int] | None:
    """Where a section's content begins and ends, between its marks. A mark that lost its partner is just text."""
    begin, end = marks(name)
    at = body.find(begin)
    while at >= 0:
        start = at + len(begin)
        stop, at = body.find(end, start), body.find(begin, start)
        if stop >= 0 and not 0 <= at < stop:
            return start, stop
    return None


def section(body: str, name: str) -> str:
    """What stands between a section's marks; empty without them."""
    found = find_section(body, name)
    return body[slice(*found)].strip("\n") if found else ""


def _commands(facts: Facts, _: str) -> str:
    file, target, repo, local = facts.first, *_target_spellings(facts)
    lines = [
        f"This is a **drafter** ({METHODS[file.family.name].title.split(maxsplit=1)[1]}) for **{facts.target_name}**, "
        "not a chat model: it speeds up its target "
        'and cannot run alone. The Hub\'s "Use this model" box does not know that; these commands are right:',
        "",
        "```sh",
    ]
    spec_type = file.family.spec_type
    if file.dialect is file.family.mainline:
        lines += [
            "# llama.cpp, downloading both",
            f"llama-server -hf {repo} -hfd {facts.repo}:{file.name.type} --spec-type {spec_type}",
            "# llama.cpp, with local files",
            f"llama-server -m {local} -md {file.path.name} --spec-type {spec_type}",
        ]
    if file.family is FAMILY and file.dialect is not ATOMIC:
        since = "" if file.dialect is IK else " since June 19, 2026"
        lines += [f"# ik_llama.cpp{since}", f"llama-server -m {local} -md {file.path.name} -mtp"]
    if file.dialect is file.family.mainline:
        lines += [
            "# gemma-mtp: check the pair before downloading it, then run it",
            f"gemma-mtp verify {target} hf://{facts.repo}/{file.path.name}",
            f"gemma-mtp run {local} {file.path.name}",
        ]
    return "\n".join([*lines, "```"])


def _use(facts: Facts, _: str) -> str:
    """What the hosts want to be told that read the first file, each behind a fold."""
    file, (_, _, local) = facts.first, _target_spellings(facts)
    local = local if _PLAIN_NAME.fullmatch(local) else f"{facts.target_name}.gguf"
    measured = facts.bench.recommendation.draft if facts.bench else 0
    values = Values(f"/path/to/{local}", f"/path/to/{file.path.name}", measured or USUAL_DRAFT, family=file.family)
    parts = ["## Use it in ...", "", "`gemma-mtp export HOST TARGET ASSISTANT` writes these with your paths."]
    for host in HOSTS:
        if host.runtime is None or file.dialect.name not in READS[host.runtime] or isinstance(host.form, Folder):
            continue
        if file.family.name not in host.drafters:
            continue
        parts += ["", f"<details><summary>{host.title}, since {host.since}</summary>", "", "```"]
        parts += [*told(host, values).splitlines(), "```", "", *(f"- {limit}" for limit in host.limits), "</details>"]
    return "\n".join(parts)


def _target_spellings(facts: Facts) -> tuple[str, str, str]:
    """The target for this tool, for `-hf`, and as a local file. No path of the author's machine is shown."""
    target, unknown = facts.target, f"<a GGUF repo of {facts.target_name}>:Q4_K_M"
    name = target.path.name if target and target.path else (target.file if target else None) or ""
    local = name.rsplit("/", 1)[-1] if name.endswith(".gguf") else f"{facts.target_name}.gguf"
    if target is None or target.path is not None:
        return unknown, unknown, local
    return str(target), f"{target.repo}:{target.quant}" if target.quant else str(target.repo), local


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
    old = {match["name"]: match[0] for match in _ITEM.finditer(section(body, "verification"))}
    items = {name: item for name, item in old.items() if name in facts.others}
    for file in facts.files:
        name = file.path.name
        items[name] = _verdict(name, facts.reports[name], facts.target) if facts.reports else _unverified(name)
    return "\n".join(["## Verification", "", *(items[name] for name in sorted(items))])


def _unverified(name: str) -> str:
    return f"- `{name}`: **published without verification** (`--skip-verify`)"


def _verdict(name: str, report: Report, target: Source | None) -> str:
    """The report of one file, check by check; what needs a target is skipped without one."""
    place = target.path.name if target and target.path else target
    against = f"against `{place}`" if place else "without a target"
    results = [result for result in report.results if result.id.split("-")[0] != ORIGIN]  # has a section of its own
    by_status = {status: [result for result in results if result.status is status] for status in Status}
    passed, warnings = by_status[Status.OK], by_status[Status.WARNING]
    lines = [f"- `{name}`: {len(passed)} checks passed {against}, {len(warnings)} warnings (gemma-mtp {__version__})"]
    lines += [f"  - warning: {result.title}: {one_line(result.finding.message)}" for result in warnings]
    for word, status in (("passed", Status.OK), ("noted", Status.NOTE), ("not applicable", Status.SKIPPED)):
        if by_status[status]:
            titles = ", ".join(result.title for result in by_status[status])
            lines.append(f"  - <details><summary>{word}: {len(by_status[status])}</summary>{titles}</details>")
    return "\n".join(lines)


def _origin(facts: Facts, body: str) -> str:
    return origin_section(facts.files, facts.proven, facts.others, section(body, ORIGIN_SECTION))


def _benchmarks(facts: Facts, body: str) -> str:
    """The results given now; without any, the section stays as it is."""
    return section(body, "benchmarks") if facts.bench is None else bench_section(facts.bench)


def _provenance(facts: Facts, _: str) -> str:
    file, origin = facts.first, facts.origin
    made_from = f"Made from [{origin}](https://huggingface.co/{origin})" if origin else "Made"
    commit = f" at commit `{file.revision}`" if origin and origin == file.origin and file.revision else ""
    lines = ["## Provenance", "", f"{made_from}{commit}, and published with gemma-mtp {__version__}."]
    if file.source_hashes:
        lines += ["", "| Source file | SHA-256 |", "| --- | --- |"]
        lines += [f"| `{one_line(name)}` | `{one_line(sha256)}` |" for name, sha256 in file.source_hashes.items()]
    return "\n".join(lines)


def _adapted(facts: Facts, _: str) -> str:
    """Of an assistant that was adapted to another target: from what, and what it gained. Else nothing."""
    origin = facts.first.adapted
    if origin is None:
        return ""
    rows = zip(FIGURES, origin.before, origin.after, origin.drafts, strict=True)
    return "\n".join(
        [
            "## Adapted",
            "",
            f"The drafter {one_line(origin.assistant)} (file SHA-256 `{one_line(origin.assistant_sha256)}`), trained "
            f"further to draft for {one_line(origin.target)} (`{one_line(origin.target_sha256)}`), with that file as "
            f"the teacher: {origin.tokens:,} tokens recorded, {origin.steps:,} steps. On texts that were held out:",
            "",
            "| | before | after | of |",
            "| --- | --- | --- | --- |",
            *(f"| {what} | {before:.1%} | {after:.1%} | {count:,} |" for what, before, after, count in rows),
        ]
    )


#: The marked sections, in the order of a new card.
SECTIONS: Mapping[str, Callable[[Facts, str], str]] = {
    "commands": _commands,
    "use": _use,
    "files": _files,
    "target": _target,
    "adapted": _adapted,
    "runtimes": _runtimes,
    "verification": _verification,
    ORIGIN_SECTION: _origin,
    "benchmarks": _benchmarks,
    "provenance": _provenance,
}
