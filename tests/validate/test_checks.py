"""For every check a pair that fails this check and no other."""

from __future__ import annotations

import pytest
from helpers.pair_faults import CASES
from helpers.reports import TEMPLATE, statuses, untroubled

from gemma_mtp.validate import Status
from gemma_mtp.validate.checks import CHECKS


@pytest.mark.parametrize("name", CASES)
def test_fails_alone(name, verify):
    case = CASES[name]
    report = verify(case.target, case.assistant)
    assert statuses(report) == {case.check: case.status}
    finding = next(result.finding for result in report.results if result.id == case.check)
    for words in case.says:
        assert words in f"{finding.message} {finding.remedy}"
    assert report.ok is (case.status is not Status.ERROR)
    assert finding.remedy or case.status is Status.NOTE


def test_every_check_has_a_case():
    elsewhere = {"files", "target-content", "assistant-content", "target-layout", "assistant-layout"}
    assert {case.check for case in CASES.values()} == {check.id for check in CHECKS} - elsewhere - TEMPLATE


def test_good_pair(verify):
    report = verify()
    assert untroubled(report)
    assert report.ok
    assert verify(strict=True).ok
