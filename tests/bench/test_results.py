"""A results file: what is written can be read, and nothing else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.bench_results import RESULTS

from gemma_mtp.bench.results import (
    AUTO,
    PLAIN,
    parse_results,
    read_results,
)
from gemma_mtp.errors import BadFileError


def test_what_is_written_is_read(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS.to_dict()), encoding="utf-8")
    assert read_results(path) == RESULTS
    assert json.loads(path.read_text())["rows"][3]["draft"] == "auto"


def test_questions_that_readers_ask():
    assert RESULTS.engines == ["python"]
    assert RESULTS.categories == ["code", "math"]
    assert RESULTS.drafts == [PLAIN, 1, 2, AUTO]
    assert RESULTS.overall("python", 2).speedup == 1.4
    assert len(RESULTS.of("python", "code")) == 4
    with pytest.raises(KeyError):
        RESULTS.overall("cpp", 2)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        pytest.param(("schema",), "other", "no bench results", id="another schema"),
        pytest.param(("version",), 2, "version 2", id="a later version"),
        pytest.param(("rows", 2, "speedup"), "fast", 'rows[2].speedup is "fast", a number is needed', id="a text"),
        pytest.param(("rows", 2, "speedup"), float("nan"), "finite", id="not a number"),
        pytest.param(("rows", 0, "tokens"), True, "rows[0].tokens is true", id="a truth"),
        pytest.param(("rows", 0, "identical"), 1, "true or false", id="no truth"),
        pytest.param(("rows",), {}, "rows is {}, a list is needed", id="no rows"),
        pytest.param(("settings", "prompts"), {"code": "one"}, "settings.prompts.code", id="a count"),
        pytest.param(("machine",), None, "machine is null, an object is needed", id="no machine"),
        pytest.param(("recommendation", "reasons"), ["a", 1], "recommendation.reasons[1] is 1", id="a reason"),
    ],
)
def test_what_is_damaged_is_named(path: tuple[Any, ...], value: Any, words: str):
    content: Any = copy.deepcopy(RESULTS.to_dict())
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(BadFileError) as raised:
        parse_results(content, where="results.json")
    assert words in str(raised.value)
    assert "results.json" in str(raised.value)


def test_every_field_is_needed_and_more_are_skipped():
    content: Any = RESULTS.to_dict()
    assert parse_results(content | {"new": 1}) == RESULTS
    earlier = {
        key: value for key, value in content.items() if key not in ("confidence", "methods")
    }  # which had neither
    assert parse_results(earlier) == RESULTS
    for field in earlier:
        with pytest.raises(BadFileError, match=field if field not in ("schema", "version") else "bench results"):
            parse_results({key: value for key, value in content.items() if key != field})


def test_no_file_and_no_json(tmp_path: Path):
    with pytest.raises(BadFileError, match="No such file"):
        read_results(tmp_path / "none.json")
    (tmp_path / "text").write_text("text")
    with pytest.raises(BadFileError, match="no bench results"):
        read_results(tmp_path / "text")
