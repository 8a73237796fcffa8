"""Nothing broken is published: the checks that files go through before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.model.part import Part
from gemma_mtp.publish.assistant_file import AssistantFile
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate import Report
from gemma_mtp.validate.checks import of_family
from gemma_mtp.validate.pair import Pair
from gemma_mtp.validate.verify import check_file, run_checks

#: Findings that only say that a file is not for mainline llama.cpp, which its name says, too.
DIALECT_CHECK = "dialect"


def require_one_target(files: Sequence[AssistantFile]) -> None:
    if not files:
        raise UsageError("name at least one file")
    targets = {file.name.model for file in files}
    if len(targets) > 1:
        raise UsageError(
            f"these are drafters for {len(targets)} targets: {', '.join(sorted(targets))}",
            hint="give each target a repo of its own: llama.cpp chooses among a repo's drafters by type alone",
        )
    if len({file.family for file in files}) > 1:
        kinds = ", ".join(sorted({file.family.prefix for file in files}))
        raise UsageError(f"these are drafters of several kinds: {kinds}", hint="push each kind by itself")
    names = [file.path.name for file in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError("two files have this name", where=twice)


def check_files(files: Sequence[AssistantFile], target: str | None) -> dict[str, Report]:
    """The report on each file, by its name: against the target if there is one, else on the file alone.

    Raises GGUFError, and what the target's place raises (see `gemma_mtp.sources.opening`).
    """
    reports = {file.path.name: check_assistant(file.path) for file in files}
    if target is not None and not any(report.errors for report in reports.values()):
        with open_model(target, Part.TARGET) as side:
            reports = {file.path.name: check_pair(side, file.path) for file in files}
    return reports


def require_sound(reports: Mapping[str, Report]) -> None:
    """Raises BadFileError for the first file with an error."""
    for name, report in reports.items():
        if report.errors:
            worst = report.errors[0]
            more = f" (and {len(report.errors) - 1} more)" if len(report.errors) > 1 else ""
            raise BadFileError(
                f"not published, because it is broken: {worst.finding.message}{more}",
                where=name,
                hint=f"{worst.finding.remedy}; --skip-verify publishes it all the same and says so in the card",
            )


def check_assistant(path: Path) -> Report:
    """All checks that one file can be put to. Raises GGUFError."""
    with open_model(path, Part.ASSISTANT) as side:
        return check_file(side)


def check_pair(target: OpenModel, path: Path) -> Report:
    """All checks of a file against a target, local or remote. Raises GGUFError."""
    with open_model(path, Part.ASSISTANT) as side:
        # A file for another runtime than mainline is no broken file: its name and its card say what loads it.
        wanted = [check for check in of_family(side.family) if check.id != DIALECT_CHECK]
        return Report(tuple(run_checks(Pair(target=target, assistant=side), wanted)))
