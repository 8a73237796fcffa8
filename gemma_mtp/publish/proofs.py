"""Whose bytes the files have: proven before they are published, and a section of the card."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files.hashing import sha256_of
from gemma_mtp.model.part import Part
from gemma_mtp.progress import Progress
from gemma_mtp.publish.assistant_file import AssistantFile
from gemma_mtp.publish.bench_table import one_line
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate import Report
from gemma_mtp.validate.findings import ORIGIN
from gemma_mtp.validate.origin import SaidSource, said_source
from gemma_mtp.validate.proof import IMATRIX_KEY, Proof

SECTION = "origin"
#: An item of the section: kept as long as the file in the repo is that one.
_ITEM = re.compile(r"^- `(?P<name>[^`]+)` \(SHA-256 `(?P<sha256>[0-9a-f]{64})`\):.*$", re.MULTILINE)
_INTRODUCTION = (
    "Each tensor was made anew from the source, in the type that it has in the file, and compared. "
    "`gemma-mtp verify FILE --from SOURCE` does it again."
)


def prove_files(
    files: Sequence[AssistantFile],
    reports: Mapping[str, Report],
    origin: str,
    imatrix: str | None,
    progress: Progress,
) -> tuple[dict[str, Report], dict[str, str]]:
    """The reports with what the proof says, and the card's sentence on each file, by its name.

    origin: the checkpoint or the 16-bit GGUF that the files are said to be made of. imatrix: that those were made with
    which say that there was one.

    Raises BadFileError: a file has other bytes; UsageError: there is no use for `imatrix`; and what `said_source` and
    `prove` raise.
    """
    proven, sentences = dict(reports), {}
    with said_source(origin, imatrix, progress) as source:
        words = _named(source, progress)
        matrix = _named_files([source.importance.path], progress) if source.importance else ""
        for file in files:
            name = file.path.name
            with open_model(file.path, Part.ASSISTANT) as side:
                weighted = IMATRIX_KEY in side.metadata
                report = source.put_to(reports[name], side, weighted=weighted, progress=progress)
            assert report.origin is not None
            _require_proven(name, report)
            proven[name], sentences[name] = report, _sentence(report.origin, words, matrix if weighted else "")
    if matrix and not any(matrix in sentence for sentence in sentences.values()):
        raise UsageError("none of these files says that it was made with an importance matrix", hint="leave it out")
    return proven, sentences


def _require_proven(name: str, report: Report) -> None:
    failed = next((result.finding for result in report.errors if result.id == ORIGIN), None)
    if failed:
        raise BadFileError(f"not published: it is {failed.message}", where=name, hint=failed.remedy)


def _named(source: SaidSource, progress: Progress) -> str:
    """The source as a reader finds it: a place on the Hub at a commit, or files by hash, without a path of here."""
    model = source.model
    if model.source is not None and model.source.repo is not None:
        return f"`{model.at_commit}`"
    return _named_files(model.files, progress)


def _named_files(paths: Sequence[Path], progress: Progress) -> str:
    named = []
    for path in paths:
        with progress(f"hashing {path.name}", path.stat().st_size) as advance:
            named.append(f"`{one_line(path.name)}` (SHA-256 `{sha256_of(path, advance)}`)")
    return ", ".join(named)


def _sentence(proof: Proof, source: str, matrix: str) -> str:
    """`these are the bytes that Q8_0 of SOURCE has, in all of 49 tensors`."""
    count = len(proof.tensors)
    words = f"these are the bytes that {one_line(proof.kind)} of {source} has"
    words += f" with the importance matrix {matrix}" if matrix else ""
    words += f", in each of {count} tensors"
    if proof.unseen:
        words += f"; not compared: {one_line(', '.join(proof.unseen))}"
    return words


def origin_section(
    files: Sequence[AssistantFile], sentences: Mapping[str, str], others: Mapping[str, str], old: str
) -> str:
    """An item for each file that was proven: now, or by an earlier push if it has not changed since.

    others: names and sha256 of the files that stay in the repo. old: the section as it is.
    """
    there = {**others, **{file.path.name: file.sha256 for file in files}}
    items = {match["name"]: match[0] for match in _ITEM.finditer(old) if there.get(match["name"]) == match["sha256"]}
    items |= {name: f"- `{name}` (SHA-256 `{there[name]}`): {sentence}" for name, sentence in sentences.items()}
    if not items:
        return ""
    return "\n".join(["## Proof of origin", "", _INTRODUCTION, "", *(items[name] for name in sorted(items))])
