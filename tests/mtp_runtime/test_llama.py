"""Owners of native objects: released once and in order, and every failure has words."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import llama_cpp.llama_cpp as lib
import numpy as np
import pytest
from helpers.demo_files import PROMPT, SETTINGS, GGUFFactory, with_metadata

from gemma_mtp.errors import BadFileError, GGUFError, LlamaError, UsageError
from gemma_mtp.files.gguf_values import ValueType, array, u32
from gemma_mtp.mtp_runtime import MtpEngine
from gemma_mtp.native.backend import settings_for_this_machine
from gemma_mtp.native.llama import LOG, Context, Model


def load(path: Path) -> Model:
    return Model(path, settings_for_this_machine())


def test_closing_twice_and_in_any_order(target_gguf: GGUFFactory):
    model = load(target_gguf("F32"))
    first, second = Context(model, SETTINGS), Context(model, SETTINGS)
    second.close()
    second.close()
    model.close()
    assert first.closed
    first.close()
    model.close()
    for use in (lambda: first.decode([5], 0, 1), lambda: model.tokenize("x"), first.logits, lambda: first.cut(0)):
        with pytest.raises(UsageError, match="is closed"):
            use()


def test_a_closed_target_closes_its_drafter(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory):
    target, assistant = load(target_gguf("F32")), load(assistant_gguf("F32"))
    context = Context(target, SETTINGS)
    drafting = Context(assistant, replace(SETTINGS, batch=1, outputs=1), target=context)
    context.close()
    assert drafting.closed
    assistant.close()
    target.close()


def test_forgotten_objects_are_released(target_gguf: GGUFFactory):
    context = Context(load(target_gguf("F32")), SETTINGS)
    finalizers = [context._finalizer, context.model._finalizer]
    del context
    gc.collect()
    assert not any(finalizer.alive for finalizer in finalizers)


def test_an_engine_closes_twice_and_two_live_together(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory):
    engines = [MtpEngine(target_gguf("F32"), assistant_gguf("F32"), context=SETTINGS) for _ in range(2)]
    running = [engine.generate(PROMPT, max_tokens=30, draft_max=3) for engine in engines]
    pairs = list(zip(*running, strict=True))  # in turns
    assert all(mine == other for mine, other in pairs)
    for engine in engines:
        engine.close()
        engine.close()
    with pytest.raises(UsageError, match="is closed"):
        engines[0].generate(PROMPT)


def test_logits_of_a_batch_are_those_of_single_tokens(target_gguf: GGUFFactory):
    with load(target_gguf("F32")) as model:
        tokens = model.tokenize(PROMPT)
        batch, single = Context(model, SETTINGS), Context(model, SETTINGS)
        for context in (batch, single):
            context.give_hidden_rows()
        batch.decode(tokens, 0, 3)
        assert batch.logits().shape == (3, model.vocabulary)
        assert batch.hidden().shape == (3, model.output_width)
        for position, token in enumerate(tokens):
            single.decode([token], position, 1)
        np.testing.assert_allclose(single.logits()[0], batch.logits()[2], atol=2e-3)
        np.testing.assert_allclose(single.hidden()[0], batch.hidden()[2], atol=2e-2)


def test_a_failed_decode_says_what_and_the_context_lives_on(target_gguf: GGUFFactory):
    with load(target_gguf("F32")) as model, Context(model, SETTINGS) as context:
        context.decode([5, 6], 0, 1)
        with pytest.raises(LlamaError, match="llama_decode returned -1: the batch is invalid") as caught:
            context.decode([5, 6], 300, 1)  # a gap: nothing is at 2 .. 299
        assert any("position" in line for line in caught.value.log)
        assert not context.broken
        context.cut(0)
        context.decode([5, 6], 0, 1)
        with pytest.raises(UsageError, match="600 tokens"):
            context.decode([5] * 600, 0, 1)


def test_a_full_kv_cache_says_so(target_gguf: GGUFFactory):
    with load(target_gguf("F32")) as model, Context(model, replace(SETTINGS, size=256, batch=256)) as context:
        context.decode([5] * context.size, 0, 1)
        with pytest.raises(LlamaError, match="returned 1: no room in the KV cache") as caught:
            context.decode([5], context.size, 1)
        assert "context" in (caught.value.hint or "")


def test_the_log_is_kept_line_by_line_even_when_cut_in_a_character():
    mark = LOG.count
    for piece in (b"half a ", "char\u00e4".encode()[:-1], "\u00e4".encode()[-1:] + b"cter\nnext", b"\n"):
        LOG._receive(4, piece, None)
    LOG._receive(4, b"broken \xff\n", None)
    assert LOG.since(mark) == ("half a char\u00e4cter", "next", "broken \ufffd")


def test_files_that_are_no_pair(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, tmp_path: Path):
    target, assistant = target_gguf("F32"), assistant_gguf("F32")
    text, cut = tmp_path / "text.gguf", tmp_path / "cut.gguf"
    text.write_text("not a model")
    cut.write_bytes(target.read_bytes()[:-1000])
    for first, second, kind, words in (
        (tmp_path / "none.gguf", None, BadFileError, "no such file"),
        (text, None, GGUFError, "not a GGUF file"),
        (cut, None, GGUFError, "the file has"),
        (assistant, None, BadFileError, "where the target is expected"),
        (assistant, target, BadFileError, "where the target is expected"),
        (target, target, BadFileError, "an assistant's is gemma4-assistant"),
        (target, text, GGUFError, "not a GGUF file"),
    ):
        with pytest.raises(kind, match=words):
            MtpEngine(first, second, context=SETTINGS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"embedding_length_out": u32(1024)}, "backbone width is 1,024", id="backbone"),
        pytest.param({"attention.head_count_kv": array(ValueType.INT32, [1, 1, 1, 1])}, r"KV heads", id="heads"),
        pytest.param(
            {"attention.key_length": u32(64)}, "attention.key_length and attention.value_length differ", id="head size"
        ),
    ],
)
def test_pairs_on_which_llama_cpp_would_abort(
    target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, tmp_path: Path, changes: dict, words: str
):
    named = {f"gemma4-assistant.{key}": value for key, value in changes.items()}
    other = with_metadata(assistant_gguf("F32"), tmp_path / "other.gguf", named)
    with pytest.raises(BadFileError, match=words):
        MtpEngine(target_gguf("F32"), other, context=SETTINGS)


def test_llama_cpps_own_words_reach_the_error(target_gguf: GGUFFactory, tmp_path: Path):
    """A header that we find plausible and llama.cpp does not."""
    path = with_metadata(target_gguf("F32"), tmp_path / "odd.gguf", {"gemma4.feed_forward_length": u32(77)})
    with pytest.raises(LlamaError, match="cannot load") as caught:
        MtpEngine(path, context=SETTINGS)
    assert any("wrong shape" in line for line in caught.value.log)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("part", ["target", "drafter"])
@pytest.mark.parametrize("after", [1, 9])
def test_a_decode_that_fails_ends_the_generation_and_the_engine_goes_on(engine: MtpEngine, part: str, after: int):
    """llama.cpp is told to abort, which it does in the middle of a batch."""
    context = (engine._verifier if part == "target" else engine._drafter).context
    aborting = lib.ggml_abort_callback(lambda _: True)
    whole = [token.id for token in engine.generate(PROMPT, max_tokens=40, draft_max=3)]
    generation = engine.generate(PROMPT, max_tokens=40, draft_max=3)
    said = [next(generation).id for _ in range(after)]
    lib.llama_set_abort_callback(context.handle, aborting, None)
    try:
        with pytest.raises(LlamaError, match=r"llama_decode returned 2: aborted \(\d tokens at position \d+") as caught:
            said.extend(token.id for token in generation)
    finally:
        lib.llama_set_abort_callback(context.handle, lib.ggml_abort_callback(), None)
    assert str(context.model.path) in str(caught.value)
    assert generation.finish == "failed"
    assert list(generation) == []
    assert said == whole[: len(said)] == generation.tokens
    rest = engine.generate([*generation.prompt, *said], max_tokens=40 - len(said), draft_max=3, reuse=True)
    assert said + [token.id for token in rest] == whole
    assert rest.statistics.reused_tokens > 0


def test_an_engine_that_cannot_go_on_says_so(target_gguf: GGUFFactory):
    """After codes below -1, which nothing here can provoke, llama.cpp calls the state of its memory undefined."""
    with MtpEngine(target_gguf("F32"), context=SETTINGS) as broken:
        broken._verifier.context.broken = True
        for _ in range(2):
            with pytest.raises(LlamaError, match="cannot be used any more") as caught:
                next(broken.generate(PROMPT))
            assert "make a new one" in (caught.value.hint or "")
