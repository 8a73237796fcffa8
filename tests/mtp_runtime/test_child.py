"""The child process: items and errors come through, and native code that dies becomes an error with a name."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.demo_files import SETTINGS, GGUFFactory

from gemma_mtp.errors import GGUFError, MissingExtra, UsageError
from gemma_mtp.native.child import NativeCrash, converse, in_child


def crash() -> Iterator[int]:
    """Runs in a child: some items, then death."""
    yield from (1, 2)
    os.abort()


def crash_twice() -> Iterator[int]:
    """Runs in a child: what two threads leave that crash at once, the one within the other's report."""
    yield 1
    os.write(2, b"ggml: a last word, said at 0.5\n, numpy.linalg._umath_linalg, numpy.random._pcg64,\n")
    os.write(2, b"numpy.random._philox, numpy.random.mtrand (total: 13\n")
    os.abort()


def overfill(model: Path) -> Iterator[int]:
    """Runs in a child: a batch that llama.cpp answers with a failed GGML_ASSERT."""
    from gemma_mtp.native import llama

    with llama.Model(model) as loaded, llama.Context(loaded, SETTINGS) as context:
        context._batch = llama._Batch(context.capacity + 1, 0)
        yield 1
        context.decode([5] * (context.capacity), 0, 1)


def read_address_zero(model: Path) -> Iterator[int]:
    """Runs in a child: a call that llama.cpp answers with a segmentation fault."""
    from gemma_mtp.native import llama

    yield 1
    llama.lib.llama_decode(None, llama._Batch(1, 0).native)


def complain(kind: str) -> Iterator[int]:
    """Runs in a child: an item, then an error."""
    yield 1
    raise {
        "usage": UsageError("nothing to do", hint="do something"),
        "gguf": GGUFError("odd bytes", where="a.gguf", offset=12),
        "extra": MissingExtra("reference", feature="it"),
        "bug": ZeroDivisionError("one over nothing"),
    }[kind]


def count_and_note(note: Path) -> Generator[int, None, str]:
    """Runs in a child: counts for ever, and writes a file when it is told to stop."""
    try:
        yield from range(10**9)
    finally:
        note.write_text("closed")
    return "never"


def printing() -> Generator[int, None, Any]:
    """Runs in a child: prints where the answers go, and returns a value."""
    os.write(1, b"noise on stdout\n")
    yield 1
    os.write(1, b"\x80\x04noise")
    return {"result": [1, 2]}


def adding(note: Path) -> Generator[int, int, str]:
    """Runs in a child: the sum of what was sent so far, until it passes ten or is told to stop."""
    total = 0
    try:
        while total <= 10:
            total += yield total
    finally:
        note.write_text(f"closed at {total}")
    return "enough"


def test_a_conversation_is_in_lock_step(tmp_path: Path):
    child = converse(f"{__name__}:adding", tmp_path / "note")
    assert [next(child), child.send(4), child.send(5)] == [0, 4, 9]
    with pytest.raises(StopIteration) as stop:
        child.send(6)
    assert stop.value.value == "enough"
    assert (tmp_path / "note").read_text() == "closed at 15"


def test_a_conversation_can_be_left(tmp_path: Path):
    child = converse(f"{__name__}:adding", tmp_path / "note")
    assert [next(child), child.send(4)] == [0, 4]
    child.close()
    assert (tmp_path / "note").read_text() == "closed at 4"


def test_a_death_in_a_conversation_is_named():
    child = converse(f"{__name__}:crash")
    assert [next(child), child.send(None)] == [1, 2]
    with pytest.raises(NativeCrash, match="SIGABRT"):
        child.send(None)


def test_items_and_the_returned_value_arrive():
    running = in_child(f"{__name__}:printing")
    assert next(running) == 1
    with pytest.raises(StopIteration) as stop:
        next(running)
    assert stop.value.value == {"result": [1, 2]}


def test_death_is_named_after_what_came_before():
    running = in_child(f"{__name__}:crash")
    assert [next(running), next(running)] == [1, 2]
    with pytest.raises(NativeCrash, match=r"crashed \(SIGABRT\)") as caught:
        next(running)
    assert caught.value.signal_name == "SIGABRT"
    assert caught.value.exit_code == 1


def test_last_words_are_told_without_the_list_of_modules():
    with pytest.raises(NativeCrash) as caught:
        list(in_child(f"{__name__}:crash_twice"))
    assert caught.value.log == ("ggml: a last word, said at 0.5",)


def test_an_assertion_in_llama_cpp_is_quoted(target_gguf: GGUFFactory):
    with pytest.raises(NativeCrash, match=r"crashed in llama_decode \(SIGABRT\)") as caught:
        list(in_child(f"{__name__}:overfill", target_gguf("F32")))
    assert any("GGML_ASSERT(n_tokens_all <= cparams.n_batch) failed" in line for line in caught.value.log)


def test_a_segmentation_fault_names_the_call(target_gguf: GGUFFactory):
    with pytest.raises(NativeCrash, match=r"crashed in llama_decode \(SIGSEGV\)"):
        list(in_child(f"{__name__}:read_address_zero", target_gguf("F32")))


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("usage", UsageError, "nothing to do"),
        ("gguf", GGUFError, "a.gguf: odd bytes"),
        ("extra", MissingExtra, "it needs the package torch and transformers"),
        ("bug", RuntimeError, "ZeroDivisionError: one over nothing"),
    ],
)
def test_errors_arrive_as_themselves_and_bugs_with_their_traceback(kind: str, error: type[Exception], words: str):
    with pytest.raises(error, match=words) as caught:
        list(in_child(f"{__name__}:complain", kind))
    if kind == "usage":
        assert caught.value.hint == "do something"
    if kind == "gguf":
        assert caught.value.offset == 12


def test_closing_ends_the_child_in_good_order(tmp_path: Path):
    running = in_child(f"{__name__}:count_and_note", tmp_path / "note")
    assert [next(running) for _ in range(5)] == [0, 1, 2, 3, 4]
    running.close()
    assert (tmp_path / "note").read_text() == "closed"
