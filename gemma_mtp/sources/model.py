"""The one noun of the program: a model that was named and opened, as a GGUF's header read as a target or assistant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gemma_mtp.files.gguf_reader import GGUFHeader, TensorInfo
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.files.metadata import Metadata
from gemma_mtp.files.reading import Span
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dialects import ALIASES, TARGET_ARCHITECTURE, Dialect
from gemma_mtp.model.family import Family, dialect_of, family_of
from gemma_mtp.model.file_type import type_name
from gemma_mtp.model.gguf_keys import ModelKeys, common_faults, hyperparameters, read_keys, spelled
from gemma_mtp.model.part import Part
from gemma_mtp.model.roles import Slot
from gemma_mtp.sources.origin import NOWHERE, Origin

if TYPE_CHECKING:
    from gemma_mtp.hub.source import Source
    from gemma_mtp.sources.checkpoint import Checkpoint

#: Gives the bytes from the second to the third argument of a tensor's data, as uint8.
ReadData = Callable[[TensorInfo, int, int], "np.ndarray[Any, Any]"]

#: A target is spelled as mainline spells everything.
TARGET_DIALECT = Dialect(name="target", architecture=TARGET_ARCHITECTURE, runtimes="llama.cpp since April 2026")

#: The rare fourth form of an assistant (the tq3 fork's), which looks like a broken target.
TQ3_KEY = f"{TARGET_ARCHITECTURE}.assistant.type"
TOKENS, TOKEN_TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
#: llama.cpp's LLAMA_TOKEN_TYPE_BYTE, and the text of such a token.
BYTE, BYTE_TEXT = 6, re.compile(rb"<0x[0-9A-Fa-f]{2}>")


@dataclass(frozen=True)
class OpenModel:
    """A model, wherever it stands.

    place: the path or address it came from. meant_as: the part that it is meant as; None: what it is.
    read: gives bytes of a tensor; None where only the header is at hand.
    note: what there is to say about how it was read. files: those on this machine that hold its weights.
    source: what the user named. name: the model's. origin: its place on the Hub. checkpoint: if it is one that is here.
    spans: of a GGUF that is here: a tensor's name -> its bytes, in whichever part of a split one they are.
    read_as: one of `family.FOREIGN`, for whoever can do something with such a drafter; None: what the file says.
    """

    place: str
    meant_as: Part | None
    header: GGUFHeader
    read: ReadData | None = field(default=None, compare=False)
    note: str = ""
    files: tuple[Path, ...] = ()
    source: Source | None = None
    name: str = ""
    origin: Origin = NOWHERE
    checkpoint: Checkpoint | None = None
    spans: Mapping[str, Span] = field(default_factory=dict, compare=False)
    read_as: Family | None = None

    def __repr__(self) -> str:
        """Without the header, which may hold 262,144 tokens."""
        return f"OpenModel({self.place!r}, {self.part}, {self.architecture}, {len(self.tensors)} tensors)"

    @property
    def part(self) -> Part:
        """What it is meant as, or what it is; for an assistant where that cannot be told."""
        return self.meant_as or self.actual_part or Part.ASSISTANT

    @property
    def metadata(self) -> Metadata:
        return self.header.metadata

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self.header.tensors

    @property
    def at_commit(self) -> str:
        """Where it is. On the Hub a branch may move: there the commit that was read is part of the name."""
        named, commit = self.source, self.origin.revision
        return (
            self.place
            if named is None or named.repo is None or commit is None
            else str(replace(named, revision=commit))
        )

    def data(self, tensor: TensorInfo) -> np.ndarray[Any, Any]:
        """All bytes of a tensor, where `read` is at hand."""
        assert self.read is not None
        return self.read(tensor, 0, tensor.nbytes)

    def text(self, key: str) -> str:
        """A string of the metadata; empty if it is missing or no string."""
        return self.metadata.text(key, "")

    @property
    def type(self) -> str:
        """The recipe or file type of its weights by name, as the file says it; `unknown` if it does not."""
        return type_name(self.metadata)

    @cached_property
    def architecture(self) -> str:
        return self.metadata.architecture

    @cached_property
    def dialect(self) -> Dialect | None:
        """The dialect of an assistant, `TARGET_DIALECT` for a target, None for anything else."""
        if self.architecture == TARGET_ARCHITECTURE and TQ3_KEY not in self.metadata:
            return TARGET_DIALECT
        if self.read_as is not None:
            return self.read_as.mainline
        return dialect_of(self.architecture)

    @property
    def family(self) -> Family:
        """The family of a drafter; of a target, and of what is unknown, the one of Google's assistants."""
        return self.read_as or family_of(self.architecture)

    @property
    def actual_part(self) -> Part | None:
        """What the file is, whatever it is meant as."""
        if self.dialect is None:
            return None
        return Part.TARGET if self.dialect is TARGET_DIALECT else Part.ASSISTANT

    @cached_property
    def keys(self) -> ModelKeys:
        if self.dialect is None:
            return ModelKeys({}, ())
        return read_keys(self.metadata, self.dialect, self.part, self.read_as)

    @cached_property
    def common_faults(self) -> tuple[str, ...]:
        """What is wrong with the keys of the tokenizer and of the file."""
        return common_faults(self.metadata)

    @cached_property
    def token_faults(self) -> tuple[str, ...]:
        """What is wrong with single tokens, in words.

        llama.cpp reads a text up to its first zero byte, gives empty ones a name of their own, and asserts that none is
        there twice. Of a token of the type BYTE it reads a number where `<0x0A>` has it (llama-vocab.cpp,
        `token_to_byte`): another text is another byte, and one of less than three letters stops it.
        """
        tokens = self.metadata.get(TOKENS)
        if tokens is None or not tokens.is_array_of(ValueType.STRING):
            return ()
        words = [raw.split(b"\0", 1)[0] for raw in tokens.raw_strings()]
        return (*_repeated(words), *_odd_byte(words, self.metadata.get(TOKEN_TYPES)))

    @cached_property
    def model(self) -> Hyperparameters | str:
        """The hyper-parameters, or why there are none."""
        if self.keys.faults:
            return self.keys.faults[0]
        tokens = self.metadata.get(TOKENS)
        if tokens is None or not tokens.is_array_of(ValueType.STRING):
            return f"{TOKENS} is missing or no array of strings"
        found = hyperparameters(self.keys, self.part, tokens.count, values_are_keys=False)
        if isinstance(found, str) or self.part == Part.ASSISTANT:
            return found if isinstance(found, str) else found.told_by(self.tensors)
        full = [layer for layer in range(found.layers) if not found.sliding[layer] and not found.shares_kv(layer)]
        without_values = bool(full) and not any(f"blk.{layer}.attn_v.weight" in self.tensors for layer in full)
        return hyperparameters(self.keys, self.part, tokens.count, values_are_keys=without_values)

    @property
    def hyper(self) -> Hyperparameters:
        """The hyper-parameters, for checks that run only after the keys were found right."""
        model = self.model
        assert isinstance(model, Hyperparameters), model
        return model

    def spelled(self, key: str) -> str:
        """The full name in this file of a key that its dialect has."""
        assert self.dialect is not None
        return spelled(self.dialect, key) or key

    def tensor_name(self, slot: Slot) -> str | None:
        """The name in this file of the tensor for a slot; None if the dialect has no such tensor."""
        assert self.dialect is not None
        if slot.layer is not None or slot.role.name not in self.dialect.tensors:
            return slot.mainline_name
        name = self.dialect.tensors[slot.role.name]
        return next((alias for alias, meant in ALIASES.items() if meant == name and alias in self.tensors), name)


def _repeated(words: Sequence[bytes]) -> Iterator[str]:
    """The first token that is there twice."""
    places = dict(zip(words, range(len(words)), strict=True))
    if len(places) + max(words.count(b"") - 1, 0) == len(words):
        return
    first = next(place for place, word in enumerate(words) if word and places[word] != place)
    yield f"{TOKENS} has {_shown(words[first])} twice, at {first:,} and {places[words[first]]:,}"


def _odd_byte(words: Sequence[bytes], types: Value | None) -> Iterator[str]:
    """The first token that counts as a byte and is not written as one."""
    if types is None or not types.is_array_of(ValueType.INT32):
        return
    for place in np.flatnonzero(types.decode()[: len(words)] == BYTE).tolist():
        if not BYTE_TEXT.fullmatch(words[place]):
            yield f"{TOKENS} has {_shown(words[place])} at {place:,}, where {TOKEN_TYPES} says BYTE: none like <0x0A>"
            return


def _shown(word: bytes) -> str:
    return repr(word.decode("utf-8", "replace")[:40])
