"""Odd surroundings: an ASCII locale, no home, a narrow screen, an unknown time zone; names that shells stumble at.

What a command computes is the same, whatever it is called in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.forked import Forked
from helpers.left_behind import assert_sound, contents, fresh, unfinished

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing can be forked there")

#: No variable of the usual ones, and a Python that neither coerces nor ignores the locale.
BARE = {
    **dict.fromkeys(("HOME", "XDG_CACHE_HOME", "HF_HOME", "GEMMA_MTP_CACHE", "LANG", "USER", "TMPDIR", "TERM")),
    "LC_ALL": "C",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONUTF8": "0",
    "COLUMNS": "40",
    "LINES": "5",
    "TZ": "Mars/Phobos",
}
#: Commands, and whether their output is JSON, which must not depend on anything.
COMMANDS = {
    "convert checkpoint --type Q8_0 -o out.gguf": False,
    "quantize a.gguf b.gguf Q8_0 --json": True,
    "verify t.gguf a.gguf --json": True,
    "verify t.gguf a.gguf --all": False,
    "inspect a.gguf --json": True,
    "inspect a.gguf": False,
    "diff a.gguf old.gguf --json": True,
    "fit t.gguf a.gguf --vram 16GB --json": True,
    "edit a.gguf -o c.gguf --set general.name=Größe": False,
    "export llama-router t.gguf a.gguf": False,
    "make checkpoint --type Q4_0 -o made": False,
    "explain server.log": False,
}
LOG = "llama_model_load: error loading model: unknown model architecture: 'gemma4-assistant'\n"
NAMES = ("with space", "öß\u2581\U0001f600", "new\nline", "-dash", "quote'\"$HOME`id`", "tab\t\x1b[31m", "100%d%s{}")


@pytest.fixture(scope="module")
def bare() -> Iterator[Forked]:
    with Forked(BARE) as process:
        yield process


def test_what_is_computed_is_the_same(forked: Forked, bare: Forked, sources: Path, tmp_path: Path):
    here, there = fresh(sources, tmp_path / "here"), fresh(sources, tmp_path / "there")
    for work in (here, there):
        (work / "server.log").write_text(LOG)
    for command, is_json in COMMANDS.items():
        usual, odd = forked.run(command.split(), here), bare.run(command.split(), there)
        assert (odd.code, usual.code) in ((0, 0), (1, 1)), (command, usual, odd)
        assert "Traceback" not in odd.err
        assert odd.out.isascii(), command
        assert odd.err.isascii(), command
        if is_json:
            assert without_times(json.loads(odd.out)) == without_times(json.loads(usual.out)), command
    assert contents(here) == contents(there)
    assert not unfinished(there)


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if "seconds" not in key}
    return [without_times(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str, forked: Forked, bare: Forked, sources: Path, tmp_path: Path):
    """As a folder, a source and an output, typed and in a jobs file; also where the locale has no such letters."""
    work = fresh(sources, tmp_path / name)
    (work / f"mtp-{name}-F32.gguf").symlink_to(sources / "a.gguf")
    source, output = f"./mtp-{name}-F32.gguf", f"./{name}-out.gguf"
    jobs = {"job": [{"source": source, "type": ["Q4_0"], "output": f"{name}-made"}]}
    (work / "jobs.yaml").write_text(json.dumps(jobs, ensure_ascii=False), encoding="utf-8")
    calls = (
        ["quantize", source, output, "Q8_0"],
        ["verify", "t.gguf", output],
        ["inspect", work / output],
        ["edit", output, "-o", f"./{name}-2.gguf", "--set", f"general.name={name}"],
        ["make", "jobs.yaml"],
        ["export", "lmstudio", "t.gguf", output, "-o", f"./{name}-lm"],
    )
    for words in calls:
        ended = (bare if words[0] == "quantize" else forked).run(words, work)
        told = words[0] == "make" and "\n" in name  # nothing of that name can be published
        assert ended.code == (2 if told else 0), (words, ended)
        assert "\x1b" not in ended.out + ended.err
    assert_sound(work)
    assert not unfinished(work)
