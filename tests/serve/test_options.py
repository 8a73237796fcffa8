"""What `serve` offers beside drafting: places, kept prompts, thinking, an end in good order."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from helpers.chat_templates import with_template
from helpers.commands import command
from helpers.servers import PROMPT, Served, serving

OTHER = "def main():\n    import sys\n\n    for name in sys.argv[1:]:\n        print(name, len(name))\n"


def completion(served: Served, prompt: str, **more: Any) -> dict[str, Any]:
    body = {"prompt": prompt, "temperature": 0, "n_predict": 4, "cache_prompt": True, **more}
    answer: dict[str, Any] = served.post("/completion", body)
    return answer


@pytest.mark.parametrize(("megabytes", "kept"), [("0", False), ("64", True)])
def test_conversations_that_take_turns_keep_their_prompts(
    quantized_pair: tuple[Path, Path], megabytes: str, kept: bool
):
    with serving(*quantized_pair, "--cache-ram", megabytes) as served:
        for prompt in (PROMPT, OTHER):
            completion(served, prompt)
        reused = completion(served, PROMPT)["timings"]["cache_n"]
    assert (reused > 10) is kept


def test_places_answer_at_the_same_time_each_with_a_context_of_its_own(quantized_pair: tuple[Path, Path]):
    """The short answer does not wait for the long one, and both are as long as --ctx allows."""
    with serving(*quantized_pair, "--parallel", "2", "--ctx", "640") as served:
        texts: dict[str, str] = {}
        order: list[str] = []

        def ask(name: str, prompt: str, tokens: int) -> None:
            answer = completion(served, prompt, n_predict=tokens, ignore_eos=True)
            texts[name] = answer["content"]
            order.append(name)

        long, short = (
            threading.Thread(target=ask, args=arguments) for arguments in (("long", PROMPT, 600), ("short", OTHER, 8))
        )
        long.start()
        time.sleep(0.05)
        short.start()
        long.join()
        short.join()
        assert order == ["short", "long"]
        alone = completion(served, PROMPT, n_predict=600, ignore_eos=True)
        assert alone["content"] == texts["long"]
        assert len(served.post("/v1/completions", {"prompt": PROMPT, "n": 2, "max_tokens": 4})["choices"]) == 2


@pytest.mark.parametrize(("option", "thinks"), [((), False), (("--no-think",), False), (("--think",), True)])
def test_thinking_is_off_unless_it_is_asked_for(
    quantized_pair: tuple[Path, Path], tmp_path: Path, option: tuple[str, ...], thinks: bool
):
    target = with_template(quantized_pair[0], tmp_path / "chat.gguf")
    messages = {"messages": [{"role": "user", "content": "hi"}]}
    with serving(target, quantized_pair[1], *option) as served:
        assert ("<|think|>" in served.post("/apply-template", messages)["prompt"]) is thinks
        other = {**messages, "chat_template_kwargs": {"enable_thinking": not thinks}}
        assert ("<|think|>" in served.post("/apply-template", other)["prompt"]) is not thinks


def lines_of_a_stream(served: Served, tokens: int) -> Iterator[str]:
    body = {"prompt": PROMPT, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
    asked = Request(f"{served.address}/v1/completions", json.dumps(body).encode())
    with urlopen(asked, timeout=60) as answer:
        for line in answer:
            if line.strip():
                yield line.decode().strip()


def test_an_end_waits_for_what_is_under_way_and_counts_it(quantized_pair: tuple[Path, Path]):
    with serving(*quantized_pair, "--ctx", "2048", "--grace", "60") as served:
        stream = lines_of_a_stream(served, 1000)
        next(stream)
        served.process.send_signal(signal.SIGTERM)
        assert list(stream)[-1] == "data: [DONE]"
        _, notes = served.process.communicate(timeout=60)
        assert served.process.returncode == 0
        assert "finishing 1 requests" in notes
        assert "1000 tokens generated" in notes
        assert "cut off" not in notes


@pytest.mark.parametrize(("grace", "signals"), [("0", 1), ("600", 2)])
def test_who_is_in_a_hurry_cuts_it_off(quantized_pair: tuple[Path, Path], grace: str, signals: int):
    with serving(*quantized_pair, "--ctx", "16384", "--grace", grace) as served:
        stream = lines_of_a_stream(served, 16000)
        next(stream)
        for _ in range(signals):
            served.process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        _, notes = served.process.communicate(timeout=60)
        assert served.process.returncode == 0
        assert "1 requests were cut off" in notes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{target}",), "no assistant is named"),
        (("{target}", "--no-draft", "--parallel", "1000"), "1 to 256"),
        (("{target}", "--no-draft", "--threads", "1000"), "equal to 512"),
        (("{target}", "--no-draft", "--log", "/no/such/folder/log"), "log cannot be written"),
    ],
)
def test_what_is_wrong_is_said_at_once(quantized_pair: tuple[Path, Path], arguments: tuple[str, ...], words: str):
    arguments = tuple(str(quantized_pair[0]) if one == "{target}" else one for one in arguments)
    done = command("serve", *arguments, "--port", "0")
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
