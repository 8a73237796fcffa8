"""What a user says about the host is used, or it is said that it is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gemma_mtp
from gemma_mtp.errors import UsageError
from gemma_mtp.model.dialects import ATOMIC, IK, MAINLINE, Dialect
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.validate import context_for, parse_host, verify_pair
from gemma_mtp.validate.host import OPTIONS

CHECKS = Path(gemma_mtp.__file__).parent / "validate" / "checks"


@pytest.mark.parametrize(
    ("said", "runtime"),
    [
        ("LM Studio", "lmstudio"),
        ("lm-studio@0.4.19", "lmstudio"),
        ("Llama.cpp", "llama.cpp"),
        ("llama_server@b10743", "llama.cpp"),
        ("KoboldCPP", "koboldcpp"),
        ("IK Llama.cpp", "ik_llama.cpp"),
        ("Ollama", "ollama"),
    ],
)
def test_runtimes_are_known_however_they_are_spelled(said: str, runtime: str):
    assert parse_host(said, None).runtime == runtime


@pytest.mark.parametrize(
    ("said", "says", "hint"),
    [
        ("vllm", "no GGUF", "leave --runtime out"),
        ("vLLM@0.21", "no GGUF", "leave --runtime out"),
        ("mlx-vlm", "MLX", "leave --runtime out"),
        ("LocalAI", "llama.cpp in it", "--runtime llama.cpp@b10743"),
        ("nothing", "unknown", "choose one of"),
        ("llama.cpp@foo", "is no version", "b10743"),
        ("koboldcpp@1.x", "is no version", "1.115"),
    ],
)
def test_what_is_not_covered_is_said(said: str, says: str, hint: str):
    with pytest.raises(UsageError, match=says) as caught:
        parse_host(said, None)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("word", ["latest", "rolling", "master"])
def test_the_newest_version_has_names(word: str):
    assert parse_host(f"koboldcpp@{word}", None).version is None


#: Settings -> the context that memory is estimated for.
CONTEXTS = {
    "": ContextSettings(),
    "-c 131072 -ctk q8_0 -ctv q8_0": ContextSettings(131072, cache_k="q8_0", cache_v="q8_0"),
    "--ctx-size 8192 -ub 1024": ContextSettings(8192, 1024),
    "-fa off": ContextSettings(flash_attention="off"),
    "-fa --mlock": ContextSettings(flash_attention="on"),
    "-ctk turbo3": ContextSettings(),
    "-c 0": ContextSettings(2**31 - 1),
}


@pytest.mark.parametrize("settings", CONTEXTS)
def test_settings_say_what_memory_is_estimated_for(settings: str):
    assert context_for(parse_host(None, settings)) == CONTEXTS[settings]


def test_options_of_the_command_go_before_settings():
    host = parse_host(None, "-c 131072 -ctk q8_0")
    assert context_for(host, 2048, "f16") == ContextSettings(2048)


def notes(good_pair, runtime=None, settings=None) -> dict[str, str]:
    report = verify_pair(*good_pair, host=parse_host(runtime, settings))
    return {result.id: result.finding.message for result in report.results if result.finding.status.value == "note"}


def test_options_that_nothing_depends_on_are_named(good_pair):
    said = notes(good_pair, None, "--foo bar -t 8 -sm layer --split-mod tensor")["settings"]
    assert "--foo" in said
    assert "-t" in said
    assert "--split-mod (is --split-mode meant?)" in said
    assert "-sm" not in said
    assert "settings" not in notes(good_pair, None, "-sm layer -c 4096 -ctk f16")


def test_a_version_that_cannot_be_compared_is_said(good_pair):
    assert "days (2026-08-01)" in notes(good_pair, "ik@b3500")["version"]
    assert "builds (b10743)" in notes(good_pair, "llama.cpp@2026-09-01")["version"]
    assert "version" not in notes(good_pair, "llama.cpp@b10800")


def test_a_cache_that_only_a_fork_has_is_said(good_pair):
    assert "turbo3" in notes(good_pair, "buun", "-ctk turbo3")["cache-types"]


def test_a_context_beyond_the_trained_one_is_said_to_be_cut(good_pair):
    memory = verify_pair(*good_pair, context=ContextSettings(300_000)).memory
    assert memory is not None
    assert (memory.tokens, memory.asked, memory.to_dict()["asked"]) == (1024, 300_000, 300_000)
    from gemma_mtp.cli.verify_table import memory_line

    assert "300,000 were asked for" in memory_line(memory)
    fits = verify_pair(*good_pair, context=ContextSettings(512)).memory
    assert fits is not None
    assert "asked for" not in memory_line(fits)


def test_every_option_that_a_row_looks_at_is_in_the_table():
    looked_at = set()
    for name in ("known.py", "conditions.py"):
        looked_at |= set(re.findall(r'"(--[a-z-]+)"', (CHECKS / name).read_text(encoding="utf-8")))
    assert looked_at <= set(OPTIONS)


MAINLINE_SINCE = (
    "(llama.cpp: b9553, June 7, 2026; koboldcpp: 1.115; ik_llama.cpp: June 19, 2026; Atomic's fork: b10018; Ollama: "
    "0.32.7; or later)"
)
CONVERT = "`gemma-mtp convert {} -o OUT.gguf`"
WRITTEN_FOR = "the assistant is written for {}; {} stops with `unknown model architecture: '{}'`"
NOT_YET = "the file is fine, but this version of {} does not know `gemma4-assistant` yet"
IK_SINCE = "ik_llama.cpp since May 10, 2026"
#: Runtime and dialect of the assistant, what is said, and what to do.
DIALECTS = [
    ("llama.cpp", MAINLINE, f"loads in {MAINLINE.runtimes}", ""),
    ("llama.cpp@b9552", MAINLINE, NOT_YET.format("llama.cpp"), f"update llama.cpp {MAINLINE_SINCE}"),
    ("llama.cpp", IK, WRITTEN_FOR.format(IK_SINCE, "llama.cpp", "gemma4_mtp"), CONVERT),
    (
        *("llama.cpp@b9552", IK, WRITTEN_FOR.format(IK_SINCE, "llama.cpp", "gemma4_mtp")),
        f"update llama.cpp {MAINLINE_SINCE}, and {CONVERT}",
    ),
    (
        *("ik@2026-06-18", MAINLINE, NOT_YET.format("ik_llama.cpp")),
        f"update ik_llama.cpp {MAINLINE_SINCE}, or `gemma-mtp convert {{}} -o OUT.gguf --dialect ik`",
    ),
    (
        "ik",
        ATOMIC,
        WRITTEN_FOR.format("AtomicChat's fork before b10018 (July 2026)", "ik_llama.cpp", "gemma4_assistant"),
        CONVERT,
    ),
    (
        "atomic@b10018",
        ATOMIC,
        "the assistant is in Atomic's old form, which the fork refuses since b10018 (July 23, 2026); new files have "
        "the names that the old ones had",
        f"delete the cached file and download it again, or {CONVERT}",
    ),
]


@pytest.mark.parametrize(("runtime", "dialect", "message", "remedy"), DIALECTS)
def test_who_reads_a_dialect(runtime: str, dialect: Dialect, message: str, remedy: str, verify, tmp_path: Path):
    report = verify(None, {"dialect": dialect}, host=parse_host(runtime, None))
    (found,) = (result.finding for result in report.results if result.id == "dialect")
    assert (found.message, found.remedy) == (message, remedy.format(tmp_path / "mtp-target.gguf"))
    assert (found.target, found.assistant) == ("", f"{dialect.architecture} ({dialect.name})")


@pytest.mark.parametrize(("version", "ok"), [("", True), ("@0.32.7", True), ("@0.32.6", False)])
def test_ollama_drafts_from_a_mainline_file(version: str, ok: bool, good_pair):
    report = verify_pair(*good_pair, host=parse_host(f"ollama{version}", None))
    results = {result.id: result for result in report.results}
    assert report.ok is ok
    if ok:
        assert "DRAFT" in results["host-ollama"].finding.message
    else:
        assert "update ollama" in results["dialect"].finding.remedy
        assert "convert" not in results["dialect"].finding.remedy
