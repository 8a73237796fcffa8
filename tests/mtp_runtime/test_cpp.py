"""llama.cpp's C++ engine behind the same commands: the same text, drafts and ends as this package's loop."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.chat_templates import with_template
from helpers.schemas import checked

from gemma_mtp.errors import BadFileError, LlamaError, UsageError
from gemma_mtp.mtp_runtime.session import Request, run, turns
from gemma_mtp.native.child import in_child
from gemma_mtp.native.cpp import CppEngine, Loading, sampling_fields
from gemma_mtp.native.settings import NO_DRAFTS, ChatSettings, ContextSettings, Drafting, ModelSettings, Sampling

PROMPT = "class Stack:\n\n    def __init__(self):\n        self._items = []\n\n    def push(self, item):\n"
CONTEXT = ContextSettings(512, threads=1)


@pytest.fixture(scope="module")
def pair(target_gguf, assistant_gguf) -> tuple[Path, Path]:
    return target_gguf("F32"), assistant_gguf("F32")


def request(pair: tuple[Path, Path], **more) -> Request:
    options = {"max_tokens": 40, "ignore_end": True, "context": CONTEXT, "model": ModelSettings()}
    return Request(pair[0], pair[1], PROMPT, **(options | more))


def quietly(_: str) -> None:
    pass


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="three drafts"),
        pytest.param({"drafting": Drafting(5, 2, 0.6)}, id="confident drafts"),
        pytest.param({"drafting": NO_DRAFTS}, id="plain"),
        pytest.param({"stop": ("self._items",)}, id="stop text"),
        pytest.param({"sampling": Sampling(repeat_penalty=1.3)}, id="penalty"),
    ],
)
def test_the_same_as_ours(pair: tuple[Path, Path], more: dict):
    ours, theirs = (run(request(pair, engine=engine, **more), quietly) for engine in ("python", "cpp"))
    assert theirs.text == ours.text
    assert theirs.finish == ours.finish
    if ours.finish == "length":
        assert theirs.tokens == ours.tokens
        assert theirs.statistics.tokens == ours.statistics.tokens
    if not more:
        for name in ("drafted", "accepted", "rounds", "prompt_tokens"):
            assert getattr(theirs.statistics, name) == getattr(ours.statistics, name)
        assert theirs.statistics.drafted > theirs.statistics.accepted > 0
        assert theirs.statistics.peak_memory > 0


def test_a_full_context_ends_it_a_token_early_or_late(pair: tuple[Path, Path]):
    full = {"max_tokens": 400, "context": ContextSettings(256, threads=1)}
    ours, theirs = (run(request(pair, engine=engine, **full), quietly) for engine in ("python", "cpp"))
    assert (ours.finish, theirs.finish) == ("context", "context")
    assert abs(len(ours.tokens) - len(theirs.tokens)) <= 2
    assert ours.text.startswith(theirs.text) or theirs.text.startswith(ours.text)


def test_text_comes_in_pieces_and_a_seed_is_kept(pair: tuple[Path, Path]):
    drawn = request(pair, engine="cpp", sampling=Sampling(temperature=1.0, seed=7))
    pieces: list[str] = []
    first = run(drawn, pieces.append)
    assert len(pieces) > 10
    assert "".join(pieces) == first.text == run(drawn, quietly).text
    assert first.text != run(request(pair, engine="cpp"), quietly).text


def test_what_it_does_not_do_is_said_at_once(pair: tuple[Path, Path]):
    with pytest.raises(UsageError, match="does not adapt"):
        request(pair, engine="cpp", drafting=Drafting(auto=True))


@pytest.mark.parametrize("draft_max", [0, 3])
def test_conversations_are_those_of_ours(pair: tuple[Path, Path], tmp_path: Path, draft_max: int):
    """Three turns, each with all that was said before, and what of it is in the cache is not decoded again."""
    target = with_template(pair[0], tmp_path / "target.gguf")
    talks = []
    for engine in ("python", "cpp"):
        messages = iter(["class Stack:\n    def push(self,", "and def pop(self):", "x = 1"])
        said = replace(
            request(
                (target, pair[1]),
                chat=ChatSettings("python"),
                engine=engine,
                max_tokens=20,
                drafting=Drafting(draft_max),
            ),
            prompt=None,
        )
        talks.append(list(turns(said, quietly, lambda messages=messages: next(messages, None))))
    ours, theirs = talks
    assert [turn.text for turn in theirs] == [turn.text for turn in ours]
    assert [turn.tokens for turn in theirs] == [turn.tokens for turn in ours]
    for name in ("prompt_tokens", "drafted", "accepted"):
        assert [getattr(turn.statistics, name) for turn in theirs] == [getattr(turn.statistics, name) for turn in ours]
    assert [turn.statistics.reused_tokens > 0 for turn in theirs] == [False, True, True]


def test_one_message_and_a_model_without_a_template(pair: tuple[Path, Path], tmp_path: Path):
    target = with_template(pair[0], tmp_path / "target.gguf")
    chat = {"chat": ChatSettings(), "sampling": Sampling(temperature=0.0, repeat_penalty=1.2)}
    ours, theirs = (run(request((target, pair[1]), engine=one, **chat), quietly) for one in ("python", "cpp"))
    assert theirs.tokens == ours.tokens
    assert theirs.statistics.reused_tokens == 0
    with pytest.raises(UsageError, match="no chat template"):
        run(request(pair, engine="cpp", chat=ChatSettings()), quietly)


def test_no_sampling_by_rejection():
    with pytest.raises(UsageError, match="reject"):
        sampling_fields(Sampling(temperature=1.0, mode="reject"))
    assert sampling_fields(Sampling()) == {}


def refusals(target: Path, assistant: Path):
    """Runs in a child: what the engine says to a prompt that is too long, and that it works afterwards."""
    with CppEngine(Loading(target, assistant, Drafting(2), context=CONTEXT)) as engine:
        try:
            engine.complete("x " * 600)
        except UsageError as error:
            yield str(error)
        yield engine.complete(PROMPT, max_tokens=4).finish
        engine.close()


def test_refusals_are_errors_and_leave_it_usable(pair: tuple[Path, Path]):
    said = list(in_child(f"{__name__}:refusals", *pair))
    assert "exceeds the available context size" in said[0]
    assert said[1] == "length"


def loading(target: Path, assistant: Path):
    """Runs in a child."""
    with CppEngine(Loading(target, assistant, Drafting(2), context=CONTEXT)):
        yield "loaded"


def test_what_it_cannot_load(pair: tuple[Path, Path], tmp_path: Path):
    with pytest.raises(BadFileError, match="where the target is expected"):
        run(request(pair[::-1], engine="cpp"), quietly)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(pair[0].read_bytes()[:-4096])
    with pytest.raises((LlamaError, BadFileError)):
        list(in_child(f"{__name__}:loading", cut, pair[1]))


def test_the_command(pair: tuple[Path, Path]):
    command = [sys.executable, "-m", "gemma_mtp", "run", *map(str, pair), "-p", PROMPT, "-n", "24", "-t", "1"]
    texts = [
        checked(subprocess.run([*command, "--json", "--engine", engine], capture_output=True, check=True).stdout)
        for engine in ("python", "cpp")
    ]
    assert texts[0]["text"] == texts[1]["text"]
    shown = subprocess.run([*command, "--engine", "cpp"], capture_output=True, text=True, check=True)
    assert shown.stdout == texts[1]["text"] + "\n"
    assert "accepted" in shown.stderr
    assert "by position" not in shown.stderr


def test_ctrl_c_stops_the_text_and_the_statistics_are_told(pair: tuple[Path, Path]):
    command = [sys.executable, "-m", "gemma_mtp", "run", *map(str, pair), "-p", PROMPT, "-n", "1900", "--ignore-eos"]
    started = subprocess.Popen(
        [*command, "--engine", "cpp", "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert started.stdout
    started.stdout.read(20)
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=300)
    assert started.returncode == 130, errors
    assert b"interrupted" in errors
    assert b"accepted" in errors
    assert b"Traceback" not in errors
