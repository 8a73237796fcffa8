"""One engine in several threads: what another thread generates is never harmed, and who comes second is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from helpers.demo_files import PROMPT, SETTINGS, GGUFFactory

from gemma_mtp.errors import UsageError
from gemma_mtp.mtp_runtime import MtpEngine

OPTIONS: dict[str, Any] = {"max_tokens": 60, "ignore_end": True}


def in_thread(work: Callable[[], Any]) -> Any:
    """What `work` returns, or raises, in another thread."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(300)
    return result[0]


def test_a_second_thread_is_refused_between_tokens_and_the_text_is_whole(engine: MtpEngine):
    wanted = [token.id for token in engine.generate(PROMPT, **OPTIONS)]
    running = engine.generate(PROMPT, **OPTIONS)
    tokens = []
    for token in running:
        tokens.append(token.id)
        if running.finish:  # that was the last one
            break
        refused = in_thread(lambda: engine.generate("another", **OPTIONS))
        assert isinstance(refused, UsageError), refused
        assert "another thread" in str(refused)
        assert refused.hint
    assert tokens == wanted
    assert running.finish == "length"


def test_many_threads_at_once_one_text_and_errors(engine: MtpEngine):
    """Whoever begins, all others get the error, and what is generated is right."""
    wanted = engine.generate(PROMPT, **OPTIONS)
    for _ in wanted:
        pass
    outcomes: list[Any] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        try:
            running = engine.generate(PROMPT, **OPTIONS)
            for _ in running:
                pass
            outcomes.append(running.text)
        except UsageError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = [one for one in outcomes if isinstance(one, str)]
    assert len(outcomes) == 4
    assert set(texts) == {wanted.text}


def test_one_generation_taken_by_two_threads_loses_no_token(engine: MtpEngine):
    wanted = [token.id for token in engine.generate(PROMPT, **OPTIONS)]
    running = engine.generate(PROMPT, **OPTIONS)

    def take() -> None:
        for _ in running:
            pass

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert running.tokens == wanted


def test_a_generation_is_stopped_from_another_thread(engine: MtpEngine):
    running = engine.generate(PROMPT, max_tokens=300, ignore_end=True)
    next(running)
    stopper = threading.Thread(target=running.close)
    stopper.start()
    for _ in running:
        pass
    stopper.join()
    assert running.finish == "stopped"
    assert len(list(engine.generate(PROMPT, **OPTIONS))) == OPTIONS["max_tokens"]


def test_what_a_thread_left_behind_is_in_nobodys_way(engine: MtpEngine):
    """Begun and dropped, or begun by a thread that has ended."""
    in_thread(lambda: next(engine.generate(PROMPT, **OPTIONS)).id)
    kept = in_thread(lambda: engine.generate(PROMPT, **OPTIONS))
    assert len(list(engine.generate(PROMPT, **OPTIONS))) == OPTIONS["max_tokens"]
    assert kept.finish == "stopped"


def test_a_generation_may_wander_from_thread_to_thread(engine: MtpEngine):
    wanted = [token.id for token in engine.generate(PROMPT, **OPTIONS)]
    running = engine.generate(PROMPT, **OPTIONS)
    assert [in_thread(lambda: next(running)).id for _ in wanted] == wanted


def test_an_engine_is_closed_while_another_thread_generates(target_gguf: GGUFFactory):
    """The step that runs is waited for: nothing is freed under it."""
    engine = MtpEngine(target_gguf("Q8_0"), context=SETTINGS)
    running = engine.generate(PROMPT, max_tokens=400, draft_max=0, ignore_end=True)
    begun = threading.Event()

    def work() -> int:
        count = 0
        for _ in running:
            count += 1
            begun.set()
        return count

    closer = threading.Thread(target=lambda: (begun.wait(300), engine.close()))
    closer.start()
    count = in_thread(work)
    closer.join()
    assert isinstance(count, int), count
    assert running.finish in ("stopped", "length")
    with pytest.raises(UsageError):
        engine.generate(PROMPT)
