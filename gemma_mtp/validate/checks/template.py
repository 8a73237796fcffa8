"""The target's chat template: a program in the file, which decides what the model is told.

It is rendered, not read: for conversations of every kind, in a process that trusts nothing. This is no scanner for
malice. What a template does only for a word that nobody tried here is seen in its texts alone, if they are sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gemma_mtp.advice import OUTPUT, ours
from gemma_mtp.errors import GemmaMtpError
from gemma_mtp.files.text import read_text
from gemma_mtp.model.config import read_json
from gemma_mtp.model.family import FAMILY
from gemma_mtp.mtp_runtime.conversation import special_texts
from gemma_mtp.sources.model import TOKENS, OpenModel
from gemma_mtp.sources.templates import CONFIG, FILE, KEY, chat_templates
from gemma_mtp.validate.conversations import Examined, Rendered, examined
from gemma_mtp.validate.findings import Finding, error, note, ok, skipped, warning
from gemma_mtp.validate.pair import Single
from gemma_mtp.validate.templates import CHECKED, Published, published

#: The option of llama-server that puts another template in its place.
OPTION = "--chat-template-file"
#: Words of which formats are made: roles, and the names of fields in tools and calls.
SCAFFOLD = frozenset(
    {
        *(
            "system",
            "developer",
            "user",
            "model",
            "assistant",
            "tool",
            "tools",
            "thought",
            "analysis",
            "final",
            "think",
        ),
        *(
            "declaration",
            "description",
            "parameters",
            "properties",
            "type",
            "required",
            "items",
            "enum",
            "nullable",
            "response",
            "call",
        ),
        *("calls", "value", "string", "object", "integer", "number", "boolean", "array"),
        *("true", "false", "null", "none", "unknown"),
        *("name", "arguments", "function", "functions", "json", "id", "content", "role"),
    }
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_MARK = re.compile(r"<[^<>\s]{1,40}>")
#: What reads like a sentence: three words, or as much in a script that has no spaces.
_PROSE = re.compile(r"[^\W\d_]{2,}(?:[\s,;:'’-]+[^\W\d_]+){2,}|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{6,}")
_REPO = re.compile(r"https://huggingface\.co/([\w.-]+/[\w.-]+)/?")
_ORIGINS = re.compile(r"general\.(repo_url|source\.repo_url|base_model\.\d+\.repo_url)")
#: The keys that llama.cpp reads -> what they hold, for sentences.
COUNTING = {KEY: "the chat template", f"{KEY}.tool_use": "the chat template for tools"}
#: Where the numbers of special tokens are: 0 to 106 in Gemma 4.
EARLY = 4096
#: Characters of a text that is shown.
SHOWN = 120


def parses(one: Single) -> Finding:
    """The target's chat template is one, and renders a question: llama-server does not start with one that fails."""
    seen = _seen(one)
    if not seen:
        return skipped("the target has no chat template")
    for which, template in seen.items():
        plain = template.rendered[0].error if template.rendered else template.error
        if plain:
            return error(f"{which} fails: {_shown(plain)}: llama-server does not start with it", _remedy(one))
    return ok(f"{sum(map(len, _sources(one).values())):,} characters")


def renders(one: Single) -> Finding:
    """It renders whatever is said: a system text, several turns, empty ones, thinking; tools, if it knows them."""
    for which, done in _rendered(one):
        if done.text is None:
            told = f"{which} fails at {done.conversation.name}: {_shown(done.error)}"
            if done.conversation.basic:
                return warning(told, _remedy(one))
            return note(f"{told}: it does not know them, and neither will the model")
    return ok(f"{sum(1 for _ in _rendered(one))} conversations")


def keeps(one: Single) -> Finding:
    """Nothing that is said is lost: every role's words are in the prompt."""
    lost = [(which, done, what) for which, done in _rendered(one) for what in done.lost]
    which = lost[0][0] if lost else ""
    told = "; ".join(dict.fromkeys(f"{what} ({done.conversation.name})" for _, done, what in lost))
    if any(done.conversation.basic for _, done, _ in lost):
        return warning(f"{which} leaves out {told}: the model is never told", _remedy(one))
    if lost:
        return note(f"{which} leaves out {told}: the model is never told of these")
    return ok(f"{sum(len(done.conversation.expected) for _, done in _rendered(one))} texts")


def adds(one: Single) -> Finding:
    """It says nothing of its own: no sentence that is in no message, no mark that is no token."""
    for which, done in _rendered(one):
        words, marks = left_over(done, one.side)
        if words:
            told = f"{which} says what nobody said ({done.conversation.name}): {_shown(words)}"
            return warning(told, _remedy(one))
        if marks:
            told = f"{which} writes {_shown(' '.join(marks))}, which is no token of this model, but read as a text"
            return warning(told, _remedy(one))
    for which, template in _seen(one).items():
        for text in unsaid(template):
            told = f"{which} holds a text that none of the conversations tried brought out: {_shown(text)}"
            return warning(told, _remedy(one))
    return ok()


def as_published(one: Single) -> Finding:
    """Whether it is Google's own, and today's; beside a checkpoint at hand, what differs by more than white space."""
    source = next(iter(_sources(one).values()))
    beside = next(_originals(one), None)
    if beside is not None and source.split() != beside[1].split():
        return _differences(one, source, *beside)
    known = published(source)
    if known is not None:
        return _of(known, one)
    if beside is not None:
        return ok(f"as in {beside[0]}")
    return skipped(
        f"the chat template is none of Google's that were known on {CHECKED.isoformat()}, and no checkpoint that it "
        "could come from is at hand: how it differs is not known"
    )


def _of(known: Published, one: Single) -> Finding:
    size = FAMILY.sizes.get(one.side.hyper.hidden, "")
    said = f"Google's of {known.since.isoformat()} for {', '.join(known.sizes)}"
    if size and size not in known.sizes:
        what = f"the chat template is {said}; this is a {size}, whose turns begin otherwise"
        return warning(what, _remedy(one), said)
    if known.repaired:
        return note(f"the chat template is {said}; what it does badly was repaired on {known.repaired}", said)
    return ok(said)


def _differences(one: Single, source: str, place: str, other: str) -> Finding:
    """In what another text than that of `place` shows: the first conversation whose prompt is another."""
    theirs = {done.conversation.name: done for done in examined(other, _specials(one.side)).rendered}
    for mine in examined(source, _specials(one.side)).rendered:
        their = theirs.get(mine.conversation.name)
        differing = their and first_difference(mine.text or mine.error, their.text or their.error)
        if differing:
            return note(
                f"the chat template differs from that of {place}, first in {mine.conversation.name}: "
                f"{_shown(differing[0])!r} where that has {_shown(differing[1])!r}",
                _shown(differing[0]),
            )
    return note(f"the chat template has another text than that of {place}, and the same prompts in all that was tried")


def first_difference(one: str, other: str) -> tuple[str, str] | None:
    """Both from the first word on that differs; None if they differ in white space alone."""
    mine, theirs = one.split(), other.split()
    for at in range(max(len(mine), len(theirs))):
        if mine[at : at + 1] != theirs[at : at + 1]:
            return " ".join(mine[at:]), " ".join(theirs[at:])
    return None


def left_over(done: Rendered, side: OpenModel) -> tuple[str, tuple[str, ...]]:
    """Of a prompt what is in no message and in no token: words beyond those of formats, and marks like `<so>`."""
    text, tokens = done.text or "", side.metadata[TOKENS]
    for said in sorted({one.strip() for one in done.conversation.words()}, key=len, reverse=True):
        if said and said not in SCAFFOLD:
            text = text.replace(said, "\n")
    marks = tuple(dict.fromkeys(_MARK.findall(text)))
    foreign = tuple(mark for mark in marks if not tokens.has_string(mark))
    lines = [" ".join(line.split()) for line in _MARK.sub("\n", text).splitlines()]
    return "; ".join(line for line in lines if _foreign_words(line)), foreign


def _foreign_words(line: str) -> list[str]:
    return [word for word in _WORD.findall(line) if word.lower() not in SCAFFOLD]


def unsaid(seen: Examined) -> Iterator[str]:
    """Sentences in a template that no conversation brought out."""
    prompts = " ".join(" ".join((done.text or "").split()) for done in seen.rendered)
    for text in seen.own:
        if any(" ".join(sentence.split()) not in prompts for sentence in _PROSE.findall(text)):
            yield text.strip()


def _seen(one: Single) -> dict[str, Examined]:
    """What there is to see of each template; empty if there is none. Raises EnvironmentProblem."""
    return {which: examined(source, _specials(one.side)) for which, source in _sources(one).items()}


def _rendered(one: Single) -> Iterator[tuple[str, Rendered]]:
    return ((which, done) for which, template in _seen(one).items() for done in template.rendered)


def _sources(one: Single) -> dict[str, str]:
    """The templates that count, by what they are called in a sentence. Raises BadFileError (no such file)."""
    instead = one.host.settings.get(OPTION)
    if instead:
        return {f"the chat template in {instead}": read_text(Path(instead))}
    return {which: text for key, which in COUNTING.items() if (text := one.side.text(key))}


def _specials(side: OpenModel) -> tuple[tuple[str, str], ...]:
    """What a template may name. Their numbers are small: of a large vocabulary little is decoded."""
    return tuple(special_texts(side.metadata, side.metadata[TOKENS].first(EARLY).raw_strings()).items())


def _originals(one: Single) -> Iterator[tuple[str, str]]:
    """Templates of checkpoints here that the target comes from, by place: the one that is named, those in the cache."""
    keys = (key for key in one.side.metadata if _ORIGINS.fullmatch(key))
    named = (found[1] for key in keys if (found := _REPO.fullmatch(one.side.text(key))))
    given = () if one.original is None else (str(one.original),)
    for place in (*given, *named):
        folder = Path(place) if Path(place).is_dir() else _cached(place)
        if folder is None or str(folder) == one.side.place:
            continue
        try:
            config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
            template = chat_templates(folder, config, lambda _: None).get(KEY)
        except GemmaMtpError:  # whatever that is, it is not what was to be checked
            continue
        if template is not None:
            yield place, str(template.decode())


def _cached(repo: str) -> Path | None:
    """A repo's newest snapshot, as far as it was downloaded. Nothing is asked of the Hub."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        return None
    from gemma_mtp.hub.cache import RepoCache  # and with it huggingface_hub, which costs as much as all of this

    cache = RepoCache.of(repo)
    commit = cache.recall("main")
    return cache.snapshot(commit) if commit and cache.snapshot(commit).is_dir() else None


def _remedy(one: Single) -> str:
    place = one.side.place
    if one.host.settings.get(OPTION):
        return "take Google's chat_template.jinja for this size"
    return f"take Google's for this size: {ours('edit', place, options={'-o': OUTPUT, '--chat-template': FILE})}"


def _shown(text: str) -> str:
    """Its beginning, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 3]}..."
