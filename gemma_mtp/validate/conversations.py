"""What a chat template is put to: conversations of every kind that clients have, and what has to be in the prompts.

All of them are rendered in one process that trusts nothing (`mtp_runtime/rendering.py`), once for a template.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gemma_mtp.errors import BadFileError
from gemma_mtp.mtp_runtime.rendering import TOO_LARGE, TOO_LONG, Renderer

SYSTEM = "Lanterns hang beside every northern doorway."
QUESTION = "Which harbour keeps its bell until morning?"
ANSWER = "Only the eastern harbour rings before sunrise."
MORE = "Then count those boats along that quay."
SAW = "Whose boat does this picture show?"
TOOL, ABOUT, RESULT = "tide_table", "Looks up tides of one harbour.", "High water comes shortly after noon."
PLACE, WHERE, NOON = "harbour_name", "Whichever harbour somebody asks about.", "Eastham"

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": TOOL,
            "description": ABOUT,
            "parameters": {
                "type": "object",
                "properties": {PLACE: {"type": "string", "description": WHERE}},
                "required": [PLACE],
            },
        },
    }
]
CALL: dict[str, Any] = {"id": "call0", "type": "function", "function": {"name": TOOL, "arguments": {PLACE: NOON}}}


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


@dataclass(frozen=True)
class Conversation:
    """One kind of conversation.

    name: for people. expected: what somebody said -> the text, which has to be in the prompt. basic: whether every chat
    has this; tools and images are for templates that know them. marks: words of which one is in a template that knows
    this kind; empty: all do.
    """

    name: str
    messages: tuple[dict[str, Any], ...]
    expected: tuple[tuple[str, str], ...]
    basic: bool = True
    tools: bool = False
    thinking: bool = False
    open_turn: bool = True
    marks: tuple[str, ...] = ()

    def variables(self) -> dict[str, Any]:
        """What transformers gives a template for it."""
        return {
            "messages": list(self.messages),
            "tools": TOOLS if self.tools else None,
            "documents": None,
            "add_generation_prompt": self.open_turn,
            "enable_thinking": self.thinking,
        }

    def words(self) -> Iterator[str]:
        """Every text in it, whoever said it."""
        yield from texts_in(self.messages)
        if self.tools:
            yield from texts_in(TOOLS)


def texts_in(content: Any) -> Iterator[str]:
    """The texts in JSON, names of fields among them."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from texts_in(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from texts_in(value)


THE_SYSTEM, THE_USER, THE_ANSWER = ("the system text", SYSTEM), ("the user's turn", QUESTION), ("the answer", ANSWER)
TURNS = (said("user", QUESTION), said("assistant", ANSWER), said("user", MORE))
PARTS = [{"type": "image"}, {"type": "text", "text": SAW}]
WITH_CALL = (said("user", QUESTION), said("assistant", "", tool_calls=[CALL]))
DECLARED = (("the tools", TOOL), ("what a tool does", ABOUT), ("a tool's parameter", PLACE))

CONVERSATIONS = (
    Conversation("one question", (said("user", QUESTION),), (THE_USER,)),
    Conversation(
        "a question with a system text", (said("system", SYSTEM), said("user", QUESTION)), (THE_SYSTEM, THE_USER)
    ),
    Conversation("a question with thinking on", (said("user", QUESTION),), (THE_USER,), thinking=True),
    Conversation(
        "several turns with thinking on",
        (said("system", SYSTEM), *TURNS),
        (THE_SYSTEM, THE_USER, THE_ANSWER, ("the user's last turn", MORE)),
        thinking=True,
    ),
    Conversation("several turns", TURNS, (THE_USER, THE_ANSWER, ("the user's last turn", MORE))),
    Conversation("turns that have ended", TURNS[:2], (THE_USER, THE_ANSWER), open_turn=False),
    Conversation(
        "empty turns",
        (said("user", QUESTION), said("assistant", ""), said("user", "")),
        (THE_USER,),
    ),
    Conversation("tools", (said("system", SYSTEM), said("user", QUESTION)), DECLARED, basic=False, tools=True),
    Conversation(
        "a tool's result",
        (*WITH_CALL, said("tool", RESULT, tool_call_id="call0", name=TOOL)),
        (("a call", NOON), ("the tool's result", RESULT)),
        basic=False,
        tools=True,
    ),
    Conversation(
        "an answer after a tool's result",
        (
            *WITH_CALL,
            said("tool", RESULT, tool_call_id="call0", name=TOOL),
            said("assistant", ANSWER),
            said("user", MORE),
        ),
        (("the tool's result", RESULT), THE_ANSWER, ("the user's last turn", MORE)),
        basic=False,
        tools=True,
    ),
    Conversation(
        "an image", (said("user", PARTS),), (("the text beside an image", SAW),), basic=False, marks=("image",)
    ),
)


@dataclass(frozen=True)
class Rendered:
    """One conversation as a template renders it. text: None if it fails, then error says how."""

    conversation: Conversation
    text: str | None
    error: str = ""

    @property
    def lost(self) -> tuple[str, ...]:
        """What of that which was said is not in the prompt."""
        return tuple(
            what for what, text in self.conversation.expected if self.text is not None and text not in self.text
        )


@dataclass(frozen=True)
class Examined:
    """All that was seen of a template. error: why it is none. own: texts that stand in it."""

    error: str = ""
    rendered: tuple[Rendered, ...] = ()
    own: tuple[str, ...] = ()


@lru_cache(maxsize=8)
def examined(template: str, specials: tuple[tuple[str, str], ...]) -> Examined:
    """A template put to all conversations that it can know. specials: its `bos_token` and the like.

    Raises EnvironmentProblem: no process starts for it.
    """
    renderer = Renderer()
    try:
        own = tuple(renderer.texts(template))
        return Examined("", tuple(_all(renderer, template, dict(specials))), own)
    except BadFileError as error:
        return Examined(error.what)
    finally:
        renderer.close()


def _all(renderer: Renderer, template: str, specials: dict[str, str]) -> Iterator[Rendered]:
    """None after one that took more than it may: a hostile template shall not have that many times."""
    for one in CONVERSATIONS:
        if one.marks and not any(mark in template for mark in one.marks):
            continue
        try:
            yield Rendered(one, renderer.render(template, **one.variables(), **specials))
        except BadFileError as error:
            yield Rendered(one, None, error.what)
            if error.what in (TOO_LONG, TOO_LARGE):
                return
