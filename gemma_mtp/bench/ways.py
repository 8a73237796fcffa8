"""What `--method` names: a way of drafting with its file and its lengths, or several that take turns.

mtp:FILE  dflash:FILE  draft:FILE  ngram-mod  mtp:FILE+ngram-mod      the usual lengths
mtp:FILE=1,3                                                          drafts of 1, then of 3
ngram-simple=16/8                                                     drafts of 16, after 8 tokens that match
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemma_mtp.bench.results import AUTO, PLAIN
from gemma_mtp.errors import UsageError, meant
from gemma_mtp.native.methods import METHODS, MTP, NGRAM_SIMPLE, Use, use
from gemma_mtp.native.settings import NO_DRAFTS, Drafting

#: The longest draft that may be asked for.
LONGEST = 256
_JOINT = re.compile(rf"\+(?=(?:{'|'.join(map(re.escape, METHODS))})(?:[:=+]|$))")
_MODEL_LENGTHS = re.compile(r"=(\d{1,4}(?:,\d{1,4})*)$")
_NGRAM_LENGTHS = re.compile(r"(\d{1,4})(?:/(\d{1,4}))?")


@dataclass(frozen=True)
class Way:
    """How is drafted, as it is measured and shown.

    label: unlike those of the others. model: the method that drafts with `drafter`; None: n-grams alone. ngrams: those
    beside it, which are asked first. lengths: the drafts that are measured: the model's, else of the first n-gram.
    """

    label: str
    model: str | None
    drafter: Path | None
    ngrams: tuple[Use, ...]
    lengths: tuple[int, ...]

    def drafting(self, length: int, p_min: float = 0.0, longest: int = 0) -> Drafting:
        """With drafts of this length. longest: of a length that adapts itself."""
        if length == PLAIN:
            return NO_DRAFTS
        if self.model is None:
            return Drafting(0, ngrams=self.ngrams)
        auto = length == AUTO
        return Drafting(longest if auto else length, p_min=p_min, auto=auto, method=self.model, ngrams=self.ngrams)

    @property
    def uses(self) -> tuple[Use, ...]:
        """In llama.cpp's order, with the longest draft that is measured."""
        return self.drafting(max(self.lengths)).uses

    @property
    def longest(self) -> int:
        return max(use.length for use in self.uses)

    @property
    def table_bytes(self) -> int:
        return sum(one.method.memory for one in self.uses)

    @property
    def engines(self) -> frozenset[str]:
        """Those that can draft so."""
        return frozenset.intersection(*(one.method.engines for one in self.uses))


def assistant_way(assistant: Path, lengths: Sequence[int]) -> Way:
    """The way of the assistant that a command names by its second argument."""
    return Way(MTP, MTP, assistant, (), tuple(length for length in lengths if length > 0) or (1,))


def read_ways(texts: Iterable[str], local: Callable[[str], Path], taken: Iterable[Way] = ()) -> tuple[Way, ...]:
    """The ways that these texts name. local: gives the file at a place. taken: ways that are measured besides.

    Raises UsageError, and what `local` raises.
    """
    ways = [_read(text, local) for text in texts]
    kinds = [way.label for way in (*taken, *ways)]
    named = [_named(way) if way.drafter and kinds.count(way.label) > 1 else way for way in ways]
    labels = [way.label for way in (*taken, *named)]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"--method {label} is there twice", hint="name it once, with all its lengths: =2,4")
    return tuple(named)


def _named(way: Way) -> Way:
    """The same with its file in the label."""
    assert way.drafter is not None
    rest = way.label.removeprefix(way.model or "")
    return Way(f"{way.model}:{way.drafter.name}{rest}", way.model, way.drafter, way.ngrams, way.lengths)


def _read(text: str, local: Callable[[str], Path]) -> Way:
    model, place, lengths = None, "", tuple[int, ...]()
    ngrams: list[Use] = []
    for part in _JOINT.split(text):
        name = re.split("[:=]", part, maxsplit=1)[0]
        if name not in METHODS:
            hint = f"{meant(name, METHODS)} choose of {', '.join(METHODS)}".lstrip()
            raise UsageError(f"--method {name!r} is unknown", hint=hint)
        rest = part[len(name) :]
        if not METHODS[name].takes_file:
            ngrams.append(_ngram(name, rest))
        elif model is not None:
            raise UsageError(f"--method {text}: two models draft, llama.cpp takes one", hint="measure them in turn")
        else:
            model, (place, lengths) = name, _model(name, rest)
    if len({one.name for one in ngrams}) < len(ngrams):
        raise UsageError(f"--method {text}: the same n-grams twice")
    if model is None:
        return Way(_label(None, ngrams), None, None, tuple(ngrams), (ngrams[0].length,))
    return Way(_label(model, ngrams), model, local(place), tuple(ngrams), lengths)


def _label(model: str | None, ngrams: Sequence[Use]) -> str:
    """Methods, and lengths of n-grams that are not the usual ones."""
    said = [] if model is None else [model]
    for one in ngrams:
        usual = one == use(one.name)
        said.append(one.name if usual else f"{one.name}={one.length}/{one.match}")
    return "+".join(said)


def _model(name: str, rest: str) -> tuple[str, tuple[int, ...]]:
    """Of `:FILE` or `:FILE=1,3`: the place, and the lengths. Raises UsageError."""
    found = _MODEL_LENGTHS.search(rest)
    place = rest[: found.start()] if found else rest
    if not place.startswith(":") or not place[1:]:
        raise UsageError(f"--method {name} drafts with a model of its own", hint=f"name its file: --method {name}:FILE")
    lengths = tuple(map(int, found[1].split(","))) if found else METHODS[name].lengths
    for length in lengths:
        _check_length(name, length)
    return place[1:], tuple(sorted(set(lengths)))


def _ngram(name: str, rest: str) -> Use:
    """Of nothing, `=16` or `=16/8`. Raises UsageError."""
    if rest.startswith(":"):
        raise UsageError(f"--method {name} takes no file", hint=f"--method {name}")
    if not rest:
        return use(name)
    if not METHODS[name].sizes:
        raise UsageError(f"--method {name} has no lengths to choose: llama.cpp's are fixed")
    found = _NGRAM_LENGTHS.fullmatch(rest[1:])
    if found is None:
        raise UsageError(f"--method {name}: {rest[1:]!r} is no length", hint=f"for instance --method {name}=16/8")
    length = int(found[1])
    match = int(found[2]) if found[2] else min(METHODS[name].match, length)
    _check_length(name, length)
    if match < 1:
        raise UsageError(f"--method {name}: at least 1 token must match")
    if name == NGRAM_SIMPLE and length < match:
        raise UsageError(
            f"--method {name}: llama.cpp makes no draft shorter than what must match, {match} tokens",
            hint=f"--method {name}={length}/{length}",
        )
    return use(name, length, match)


def _check_length(name: str, length: int) -> None:
    if not 1 <= length <= LONGEST:
        raise UsageError(f"--method {name}: drafts of {length} tokens; 1 to {LONGEST} are possible")
