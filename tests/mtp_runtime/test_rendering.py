"""Templates render as transformers renders them, and none takes more than its share of time and memory.

The two files in templates/ are Google's own for Gemma 4 31B (Apache-2.0), as llama.cpp's repository has them.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from time import process_time

import pytest

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import BadFileError
from gemma_mtp.mtp_runtime import rendering
from gemma_mtp.mtp_runtime.rendering import Renderer

GOOGLES = sorted((Path(__file__).parent / "templates").glob("*.jinja"))
SAID = [
    {"role": "system", "content": "Ünïcode <b>&'\"\n"},
    {"role": "user", "content": "  first\n"},
    {"role": "assistant", "content": "second <|channel>thought\nno<channel|> 😀"},
    {"role": "user", "content": "third"},
]
#: One template for each thing that transformers' environment has beyond Jinja's own.
EACH = "{% for m in messages %}"
FEATURES = {
    "generation": EACH + "{% generation %}{{ m.content }}{% endgeneration %}\n{% endfor %}",
    "generation, trimmed": EACH + "\n  {%- generation -%}\n {{ m.role }} {%- endgeneration -%}{% endfor %}",
    "blocks are trimmed": EACH + "\n    {% if m.role == 'user' %}\n  {{ m.role }}\n    {% endif %}\n{% endfor %}\nx",
    "break and continue": EACH + "{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}",
    "JSON": "{{ messages | tojson }}{{ messages | tojson(indent=2) }}",
    "JSON in order": "{{ {'b': 1, 'a': '<ü>'} | tojson(sort_keys=true) }}",
    "JSON for terminals": "{{ messages | tojson(ensure_ascii=True, separators=(',', ':')) }}",
    "namespace": "{% set ns = namespace(n=0) %}" + EACH + "{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "dict": "{{ dict(a=1, b=[2]) }}{{ dict.fromkeys(['x'], 3) }}",
    "what is defined": "{{ tools is defined }}{{ documents is none }}{{ add_generation_prompt }}{{ x is defined }}",
    "tokens": "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ sep_token is defined }}",
    "the year": "{{ strftime_now('%Y') }}",
    "macros": "{% macro turn(m, end='.') %}{{ m.role | upper }}:{{ m.content | trim }}{{ end }}{% endmacro %}"
    + EACH
    + "{{ turn(m, end='!') }}{% endfor %}",
    "filters": "{{ messages | map(attribute='role') | unique | join(',') }}"
    "{{ messages | selectattr('role', 'eq', 'user') | list | length }}",
}


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    renderer = Renderer()
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(PAIR / "target")


def both(renderer: Renderer, tokenizer, template: str, messages: list[dict], **variables) -> tuple[str, str]:
    """Ours and transformers'. Tools are theirs to give alone."""
    mine = renderer.render(
        template,
        **{"messages": messages, "tools": None, "documents": None, **variables, **tokenizer.special_tokens_map},
    )
    theirs = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **variables)
    return mine, theirs


@pytest.mark.parametrize("file", GOOGLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("start", [0, 1], ids=["system", "no system"])
def test_googles_own(file, thinking, length, start, renderer, tokenizer):
    for prompt in (True, False):
        mine, theirs = both(
            renderer,
            tokenizer,
            file.read_text(encoding="utf-8"),
            SAID[start:][:length],
            enable_thinking=thinking,
            add_generation_prompt=prompt,
        )
        assert mine == theirs
        assert SAID[start]["content"].strip() in mine


@pytest.mark.parametrize("file", GOOGLES, ids=lambda path: path.stem)
def test_googles_own_with_tools(file, renderer, tokenizer):
    """Not reached from `run --chat`; the longest paths of the templates all the same."""
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Of a place.",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string", "description": "Which."}, "days": {"type": "integer"}},
                "required": ["place"],
            },
        },
    }
    call = {"type": "function", "function": {"name": "weather", "arguments": {"place": "Köln", "days": 2}}}
    messages = [
        *SAID[:2],
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": "weather", "content": "rain"},
    ]
    mine, theirs = both(
        renderer, tokenizer, file.read_text(encoding="utf-8"), messages, tools=[tool], add_generation_prompt=True
    )
    assert mine == theirs
    assert "Köln" in mine


@pytest.mark.parametrize("feature", FEATURES)
def test_features(feature, renderer, tokenizer):
    mine, theirs = both(renderer, tokenizer, FEATURES[feature], SAID, add_generation_prompt=True)
    assert mine == theirs
    assert mine.strip()


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('not <so>') }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].nothing.at_all }}",
        "{% generation %}",
        "{% nonsense %}",
    ],
)
def test_refusals_are_those_of_transformers(template, renderer, tokenizer):
    from jinja2 import TemplateError

    with pytest.raises(BadFileError) as mine:
        renderer.render(template, messages=SAID)
    with pytest.raises((TemplateError, TypeError)) as theirs:
        tokenizer.apply_chat_template(SAID, chat_template=template, tokenize=False)
    assert mine.value.what.splitlines()[0] == str(theirs.value).splitlines()[0]


def test_a_namespace_takes_no_underscores(renderer, tokenizer):
    """As in transformers, with words of our own."""
    template = "{% set ns = namespace(_x=1) %}"
    with pytest.raises(BadFileError, match="begins with an underscore"):
        renderer.render(template)
    with pytest.raises(Exception, match="underscore-prefixed"):
        tokenizer.apply_chat_template(SAID, chat_template=template, tokenize=False)


BOMBS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a long text": "{{ 'a' * 2000000000 * 3 }}",
    "many texts": "{% for i in range(99999) %}{{ 'a' * 100 }}{% endfor %}",
    "a format": "{{ '%1000000000d' % 1 }}",
    "str.format": "{{ '{:1000000000}'.format(1) }}",
    "a filter": "{{ 'a' | center(10000000000) }}",
    "join": "{{ 'a'.join(['b' * 99999] * 99999) }}",
    "a list": "{{ [0] * 10000000000 }}",
    "filler": "{{ lipsum(n=10000000) }}",
    "doubling": "{% set ns=namespace(x='a'*1000) %}{% for i in range(40) %}{% set ns.x=ns.x+ns.x %}{% endfor %}",
    "a number": "{{ 10 ** (10 ** 9) }}",
    "a long number": "{{ 10 ** 5000 }}",
    "a macro that calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "brackets": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "signs": "{{ " + "-" * 100_000 + "1 }}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs(bomb, renderer):
    """A sentence; nothing of the time and memory is this process's, and the next template is rendered."""
    before = process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadFileError) as caught:
        renderer.render(BOMBS[bomb], messages=SAID)
    assert caught.value.what
    assert process_time() - before[0] < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before[1] < 50_000
    assert renderer.render("{{ messages[0].role }}", messages=SAID) == "system"


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
def test_what_a_template_may_take(renderer):
    """The process itself: within a limit of memory, and ended after a second of its processor."""
    renderer.render("x")
    child = renderer._child
    assert child is not None
    soft, _ = resource.prlimit(child.pid, resource.RLIMIT_AS)
    assert 0 < soft < 400 << 20  # Python and Jinja map some 60 to 150 MB themselves
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with pytest.raises(BadFileError, match=rendering.TOO_LONG):
        renderer.render(BOMBS["loops"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_a_rendering_that_is_interrupted_leaves_no_answer_behind(renderer):
    """Ctrl-C while it computes: the next answer is the next question's."""
    import signal
    import threading

    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises((KeyboardInterrupt, BadFileError)):
        renderer.render(BOMBS["loops"])
    assert renderer.render("next") == "next"


def test_ctrl_c_does_not_end_the_renderer(renderer):
    """It stops an answer; the conversation goes on."""
    assert renderer.render("one") == "one"
    child = renderer._child
    assert child is not None
    child.send_signal(2)
    assert renderer.render("two") == "two"
    assert renderer._child is child
