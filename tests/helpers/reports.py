"""What a report says, for tests."""

from __future__ import annotations

from gemma_mtp.validate import Status
from gemma_mtp.validate.checks import TEMPLATE_CHECKS

#: Skipped unless a hash to compare with is at hand.
CONTENT = {"target-content", "assistant-content"}


#: Of a chat template.
TEMPLATE = {check.id for check in TEMPLATE_CHECKS}
#: Made only of what these pairs have not: a centroid head, a mix of types, a template, a name or a width of Google's.
NOTHING_TO_SEE = {"centroids", "token-ordering", "quantizer", "qat", "fine-tune", *TEMPLATE}


def untroubled(report) -> bool:
    """Whether every check was made and is fine, but for those that were not asked for or found nothing to look at."""
    skipped = {result.id for result in report.results if result.status is Status.SKIPPED}
    return skipped <= CONTENT | NOTHING_TO_SEE and {r.status for r in report.results} <= {Status.OK, Status.SKIPPED}


def statuses(report) -> dict[str, Status]:
    return {r.id: r.status for r in report.results if r.status not in (Status.OK, Status.SKIPPED)}


def by_id(report):
    return {result.id: result for result in report.results}
