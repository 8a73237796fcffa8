"""From documents to pieces of tokens: cut, rendered, answered by the target, within the budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from time import monotonic

from gemma_mtp.adapt.lesson import TEMPERATURE, Lesson, Progress
from gemma_mtp.adapt.signals import ANSWER, GREEDY, SAMPLED, TEXT, Journal, Piece
from gemma_mtp.adapt.texts import MOST_LOOPING, Document, loop_share
from gemma_mtp.mtp_runtime.conversation import Template, template_of
from gemma_mtp.mtp_runtime.sampler import Sampler, make_sampler
from gemma_mtp.native.llama import Model
from gemma_mtp.native.recording import Together
from gemma_mtp.native.settings import Sampling

#: Fewer tokens teach nothing: a round needs some before it, and the drafts behind it.
SHORTEST = 8


@dataclass
class Writing:
    """A text that the target continues. name: in the journal. ends: whether an end token ends it. most: its length."""

    name: str
    prompt: list[int]
    most: int
    sampler: Sampler
    ends: bool


class Planner:
    """The pieces of a lesson. written: tokens that the target wrote; dropped: answers that looped."""

    def __init__(self, lesson: Lesson, model: Model):
        self._lesson, self._model = lesson, model
        self._journal = Journal(lesson.folder)
        self._template: Template | None = None
        self._pieces: list[Piece] = []
        self._start = monotonic()
        self.written = self.dropped = 0

    def prepare(self) -> Iterator[Progress]:
        """Make all pieces; writes what is to be written, and tells how far it is."""
        numbered = list(enumerate(self._lesson.documents))
        budget = round(self._lesson.share * self._lesson.tokens)
        for held, most in ((True, budget), (False, self._lesson.tokens - budget)):
            mine = [(number, document) for number, document in numbered if document.held is held]
            used = 0
            for number, document in mine:
                if document.answered and most - used >= SHORTEST:
                    pieces = within(self._cut(number, document), most - used)
                    self._pieces += pieces
                    used += sum(len(piece.tokens) for piece in pieces)
            asked = [(number, document) for number, document in mine if not document.answered]
            yield from self._answers(asked, most - used, most)
        yield from self._continuations()

    def pieces(self) -> list[Piece]:
        return self._pieces

    def beginnings(self) -> tuple[tuple[int, ...], ...]:
        """Prompts to measure on, from held-out documents, with nothing written."""
        for number, document in enumerate(self._lesson.documents):
            if not document.messages:
                self._pieces += self._cut(number, document)
        return tuple(opening for _, opening in self._openings())

    def _cut(self, number: int, document: Document) -> list[Piece]:
        """A text in pieces that each begin as a prompt does; the last may be too short to keep."""
        tokens = self._tokens(document, open_turn=False)
        first = self._model.tokenize("")
        body, room = tokens[len(first) :], self._lesson.length - len(first)
        cuts = [tuple(first + body[start : start + room]) for start in range(0, len(body), room)]
        return [Piece(cut, 1, number, document.held, TEXT) for cut in cuts if len(cut) >= SHORTEST]

    def _tokens(self, document: Document, open_turn: bool) -> list[int]:
        if not document.messages:
            return self._model.tokenize(document.text, special=False)
        if len(document.messages) == 1 and not self._model.text_value("tokenizer.chat_template"):
            return self._model.tokenize(document.messages[0][1], special=False)  # a base model goes on with it
        if self._template is None:
            self._template = template_of(self._model.path)
        messages = [{"role": role, "content": content} for role, content in document.messages]
        return self._model.tokenize(self._template.render(messages, open_turn=open_turn))

    def _answers(self, asked: Sequence[tuple[int, Document]], room: int, total: int) -> Iterator[Progress]:
        """Answers to questions, some side by side, until the room is used. A training answer that loops is dropped."""
        lesson, waiting, used = self._lesson, iter(asked), 0
        while used < room and not self._late() and (group := list(islice(waiting, lesson.parallel))):
            texts = []
            for number, document in group:
                prompt = self._tokens(document, open_turn=True)[: lesson.length // 2]
                most = min(lesson.answer, lesson.length - len(prompt))
                sampler = self._sampler(prompt, TEMPERATURE, number, ends=True)
                texts.append(Writing(f"answer {number}", prompt, most, sampler, ends=True))
            for (number, document), text, answer in zip(group, texts, self._write(texts), strict=True):
                if len(text.prompt) + len(answer) < SHORTEST:
                    continue
                if loop_share(answer) > MOST_LOOPING and not document.held:
                    self.dropped += 1
                    continue
                piece = Piece((*text.prompt, *answer), max(1, len(text.prompt)), number, document.held, ANSWER)
                self._pieces.append(piece)
                used += len(piece.tokens)
            yield Progress("writing", min(used, total), total)

    def _continuations(self) -> Iterator[Progress]:
        """What the target makes of held-out openings: greedily, and at TEMPERATURE; end tokens are never chosen."""
        lesson = self._lesson
        openings = self._openings()
        total = 2 * len(openings) * lesson.continuation
        done = 0
        for kind, temperature in ((GREEDY, 0.0), (SAMPLED, TEMPERATURE)):
            for start in range(0, len(openings), lesson.parallel):
                group = openings[start : start + lesson.parallel]
                texts = [
                    Writing(
                        f"{'greedy' if kind == GREEDY else 'sampled'} {number}",
                        list(opening),
                        min(lesson.continuation, lesson.length - len(opening)),
                        self._sampler(opening, temperature, number, ends=False),
                        ends=False,
                    )
                    for number, (_, opening) in enumerate(group, start)
                ]
                for (document, opening), text in zip(group, self._write(texts), strict=True):
                    self._pieces.append(Piece((*opening, *text), len(opening), document, True, kind))
                    done += lesson.continuation
                yield Progress("writing", done, total)

    def _openings(self) -> list[tuple[int, tuple[int, ...]]]:
        """(document, tokens): the questions of held-out conversations, and stretches of held-out texts, spread out."""
        lesson, questions, stretches = self._lesson, [], []
        for number, document in enumerate(lesson.documents):
            if document.held and document.messages:
                questions.append((number, tuple(self._tokens(document.question, open_turn=True)[: lesson.length // 2])))
        first = tuple(self._model.tokenize(""))
        for piece in self._pieces:
            if piece.held and not lesson.documents[piece.document].messages:
                body = piece.tokens[len(first) :]
                step = min(lesson.opening, max(SHORTEST, len(body) // 2))
                starts = range(0, max(1, len(body) - step), step)
                stretches += [(piece.document, first + body[start : start + step]) for start in starts]
        whole = _spread(questions, lesson.openings)
        return whole + _spread(stretches, lesson.openings - len(whole))

    def _late(self) -> bool:
        """Whether the time for writing answers is over."""
        return self._lesson.minutes is not None and monotonic() - self._start > 60 * self._lesson.minutes

    def _sampler(self, prompt: Sequence[int], temperature: float, number: int, ends: bool) -> Sampler:
        banned = () if ends else self._model.end_tokens()
        sampling = sampling_of(temperature, self._lesson.seed + number)
        return make_sampler(sampling, prompt, banned)

    def _write(self, texts: Sequence[Writing]) -> list[tuple[int, ...]]:
        """The target's text behind each prompt, from the journal or written now."""
        if any(self._journal.get(text.name) is None for text in texts):
            for text, tokens in zip(texts, write(self._model, self._lesson, texts), strict=True):
                self.written += len(tokens)
                self._journal.add(text.name, tokens)
        return [self._journal.get(text.name) or () for text in texts]


def sampling_of(temperature: float, seed: int) -> Sampling:
    """How the target draws: from its whole distribution."""
    return Sampling(temperature=temperature, top_k=0, top_p=1.0, min_p=0.0, seed=seed)


def within(pieces: Sequence[Piece], room: int) -> list[Piece]:
    """The first pieces that have room together, the last of them cut."""
    found = []
    for piece in pieces:
        kept = piece.tokens[:room]
        if len(kept) < SHORTEST:
            break
        found.append(replace(piece, tokens=kept))
        room -= len(kept)
    return found


def _spread(items: Sequence[tuple[int, tuple[int, ...]]], count: int) -> list[tuple[int, tuple[int, ...]]]:
    """`count` of the items, evenly from all of them."""
    count = max(0, min(count, len(items)))
    return [items[index * len(items) // count] for index in range(count)]


def write(model: Model, lesson: Lesson, texts: Sequence[Writing]) -> list[list[int]]:
    """Continue all texts side by side. Raises LlamaError."""
    size = max(len(text.prompt) + text.most for text in texts)
    settings = replace(
        lesson.context, size=size * len(texts), batch=min(512, size * len(texts)), outputs=max(2, len(texts))
    )
    found: list[list[int]] = [[] for _ in texts]
    with Together(model, settings, len(texts)) as together:
        for number, text in enumerate(texts):
            logits = None
            for start in range(0, len(text.prompt), together.capacity):
                chunk = text.prompt[start : start + together.capacity]
                last = start + len(chunk) == len(text.prompt)
                items = [
                    (token, start + place, number, last and place == len(chunk) - 1)
                    for place, token in enumerate(chunk)
                ]
                logits = together.decode(items)
            assert logits is not None
            found[number].append(text.sampler.choose(logits[0], 0))
        while running := [number for number, text in enumerate(texts) if _goes_on(model, text, found[number])]:
            items = [(found[n][-1], len(texts[n].prompt) + len(found[n]) - 1, n, True) for n in running]
            for row, number in zip(together.decode(items), running, strict=True):
                found[number].append(texts[number].sampler.choose(row, len(found[number])))
    return found


def _goes_on(model: Model, text: Writing, found: Sequence[int]) -> bool:
    return len(found) < text.most and not (text.ends and model.ends(found[-1]))
