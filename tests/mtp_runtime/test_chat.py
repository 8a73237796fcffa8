"""Conversations: the file's own template in a sandbox, a history that stays in the KV cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.chat_templates import TEMPLATE, with_template
from helpers.demo_files import SETTINGS, GGUFFactory

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.mtp_runtime import MtpEngine
from gemma_mtp.mtp_runtime.chat import Conversation
from gemma_mtp.mtp_runtime.conversation import template_of
from gemma_mtp.native.settings import ChatSettings

OPTIONS = {"max_tokens": 20, "draft_max": 3, "ignore_end": True}
MESSAGES = ["class Stack:\n    def push(self,", "and def pop(self):", "x = 1"]


@pytest.fixture(scope="module")
def talker(
    target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MtpEngine]:
    target = with_template(target_gguf("F32"), tmp_path_factory.mktemp("chat") / "target.gguf")
    with MtpEngine(target, assistant_gguf("F32"), context=SETTINGS) as engine:
        yield engine


def said(engine: MtpEngine, conversation: Conversation, message: str) -> list[int]:
    answer = conversation.say(message, **OPTIONS)
    for _ in answer:
        pass
    return answer.tokens


def test_a_rendered_conversation(talker: MtpEngine):
    template = template_of(talker.target.path)
    messages = [{"role": "user", "content": " one "}, {"role": "assistant", "content": "two"}]
    expected = "<|turn>user\none<turn|>\n<|turn>model\ntwo<turn|>\n<|turn>model\n"
    assert template.render(messages) == expected
    assert talker.tokenize(template.render(messages)).count(talker.tokenize("")[0]) == 1  # one begin token
    system = [{"role": "system", "content": "be brief"}, *messages]
    expected = "<|turn>system\n<|think|>\nbe brief<turn|>\n" + expected
    assert template.render(system, thinking=True) == expected


def test_turns_are_those_of_a_fresh_engine_and_the_history_is_not_decoded_again(talker: MtpEngine):
    conversation = Conversation(talker, ChatSettings(system="python"))
    before = 0
    for message in MESSAGES:
        answer = conversation.say(message, **OPTIONS)
        tokens = [token.id for token in answer]
        plain = talker.generate(answer.prompt, **{**OPTIONS, "draft_max": 0})
        assert [token.id for token in plain] == tokens
        # The answer itself may be other tokens as a part of the history: the template trims it.
        assert answer.statistics.reused_tokens >= before - 1
        before = len(answer.prompt)
    assert [message["role"] for message in conversation.messages] == ["system", *["user", "assistant"] * 2, "user"]


def test_an_answer_that_was_stopped_is_history_as_far_as_it_came(talker: MtpEngine):
    conversation = Conversation(talker)
    answer = conversation.say(MESSAGES[0], **OPTIONS)
    for _ in range(5):
        next(answer)
    next_answer = conversation.say(MESSAGES[1], **OPTIONS)
    assert answer.finish == "stopped"
    assert conversation.messages[1] == {"role": "assistant", "content": answer.text}
    assert len(list(next_answer)) == 20


def test_a_history_that_changes_is_decoded_again_from_there(talker: MtpEngine):
    first = [token.id for token in talker.generate(talker.tokenize("a = 1\nb = 2\n"), **OPTIONS)]
    other = talker.tokenize("a = 1\nc = 3\n")
    reused = talker.generate(other, **OPTIONS, reuse=True)
    tokens = [token.id for token in reused]
    assert 0 < reused.statistics.reused_tokens < len(other)
    assert tokens == [token.id for token in talker.generate(other, **OPTIONS)]
    assert tokens != first


def test_beyond_the_sliding_window_the_history_is_kept_or_decoded_again_but_never_wrong(talker: MtpEngine):
    """A cut far back would leave the sliding layers without what they look back on."""
    long = talker.tokenize("def f(a):\n    return a\n" * 20)
    assert len(long) > 2 * talker.target.sliding_window
    for keep in (len(long), len(long) - 5, len(long) // 2, 3):
        for _ in talker.generate(long, **OPTIONS):
            pass
        prompt = [*long[:keep], *talker.tokenize("x = [")[1:]]
        reused = [token.id for token in talker.generate(prompt, **OPTIONS, reuse=True)]
        assert reused == [token.id for token in talker.generate(prompt, **OPTIONS)]


def test_a_conversation_that_outgrows_the_context_is_told(talker: MtpEngine, assistant_gguf: GGUFFactory):
    with MtpEngine(talker.target.path, assistant_gguf("F32"), context=replace(SETTINGS, size=256)) as small:
        conversation = Conversation(small)
        for _ in range(4):
            said(small, conversation, MESSAGES[0])
        with pytest.raises(UsageError, match="the context has room for 256"):
            said(small, conversation, MESSAGES[0] * 12)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        pytest.param("{% if %}", "chat template fails: Expected an expression", id="syntax"),
        pytest.param("{{ raise_exception('not so') }}", "chat template fails: not so", id="its own refusal"),
        pytest.param("{{ messages[0].nothing.at_all }}", "chat template fails: .*no attribute 'nothing'", id="missing"),
        pytest.param("{{ messages.append(1) }}", "'append' of 'list' object is unsafe", id="changes the messages"),
        pytest.param("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe", id="escape"),
        pytest.param("{{ range(10**9) | list }}", "Range too big", id="without end"),
        pytest.param("{{ 1 / 0 }}", "division by zero", id="arithmetic"),
    ],
)
def test_templates_from_strangers(target_gguf: GGUFFactory, tmp_path: Path, template: str, words: str):
    path = with_template(target_gguf("F32"), tmp_path / "target.gguf", template)
    with pytest.raises(BadFileError, match=words) as caught:
        template_of(path).render([{"role": "user", "content": "hello"}])
    assert str(path) in str(caught.value)


def test_a_model_without_a_template(engine: MtpEngine):
    with pytest.raises(UsageError, match="no chat template"):
        Conversation(engine)


def test_rendering_equals_transformers(talker: MtpEngine):
    from transformers import PreTrainedTokenizerFast

    from gemma_mtp.demo.pair import PAIR

    tokenizer = PreTrainedTokenizerFast.from_pretrained(PAIR / "target")
    messages = [
        {"role": "system", "content": "Ünïcode <b>&'\"\n"},
        {"role": "user", "content": "  first\n"},
        {"role": "assistant", "content": "second"},
        {"role": "user", "content": "third"},
    ]
    for thinking in (False, True):
        for length in (2, 4):
            wanted = tokenizer.apply_chat_template(
                messages[:length],
                chat_template=TEMPLATE,
                add_generation_prompt=True,
                enable_thinking=thinking,
                tokenize=False,
            )
            mine = template_of(talker.target.path).render(messages[:length], thinking=thinking)
            assert mine == wanted.removeprefix("<bos>")
