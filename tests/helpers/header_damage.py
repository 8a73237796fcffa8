"""Damage to a whole GGUF header, from a seed: keys, values, records of tensors, counts, and at last single bytes.

Unlike bytes changed at random, most of it reaches what reads keys and tensors: the file stays a GGUF.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from helpers.mutating import NUMBERS, TEXTS, Mutator

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import MAGIC
from gemma_mtp.files.gguf_values import DTYPES, Value, ValueType
from gemma_mtp.files.gguf_writer import TensorPlan, padded
from gemma_mtp.ggml import block_size, tensor_bytes, tensor_type

SCALARS = tuple(DTYPES)
#: Names that other dialects and readers know, and such as look like a known one.
NAMES = (
    *(b"general.alignment", b"split.count", b"split.no", b"general.architecture", b"general.quantization_version"),
    *(b"gemma4.block_count", b"gemma4-assistant.block_count", b"gemma4_assistant.block_count", b"llama.block_count"),
    *(b"tokenizer.ggml.tokens", b"tokenizer.ggml.model", b"x", b"", b"\xff", b"a" * 65_536),
)
TENSOR_NAMES = (
    b"output.weight",
    b"rope_freqs.weight",
    b"blk.0.attn_q.bias",
    b"blk.4.attn_q.weight",
    b"v.x",
    b"",
    b"\xff",
)
TYPES = (0, 1, 2, 3, 4, 8, 12, 14, 24, 26, 27, 28, 30, 31, 36, 39, 40, 41, 42, 43, 99, 2**31, 2**32 - 1)
LARGEST = 1 << 20


@dataclass(frozen=True)
class Record:
    """A tensor's, as it stands in the file: the dimension that runs fastest first."""

    name: bytes
    shape: tuple[int, ...]
    type: int
    offset: int = 0

    def encoded(self) -> bytes:
        count = len(self.shape)
        numbers = struct.pack(f"<I{count}QIQ", count, *self.shape, self.type, self.offset)
        return struct.pack("<Q", len(self.name)) + self.name + numbers

    def nbytes(self) -> int:
        """0 where that cannot be told."""
        kind = tensor_type(self.type)
        if kind is None or not self.shape or self.shape[0] % block_size(kind):
            return 0
        return tensor_bytes(kind, self.shape[::-1])


@dataclass
class Header:
    """What a file begins with. more_tensors, more_pairs: how far its counts are off. done: what was done to it."""

    pairs: list[tuple[bytes, Value]]
    records: list[Record]
    version: int = 3
    more_tensors: int = 0
    more_pairs: int = 0
    done: list[str] = field(default_factory=list)

    def encoded(self) -> bytes:
        counts = (len(self.records) + self.more_tensors, len(self.pairs) + self.more_pairs)
        parts = [struct.pack("<4sIQQ", MAGIC, self.version, *(count % 2**64 for count in counts))]
        for name, value in self.pairs:
            parts += [struct.pack("<Q", len(name)), name, struct.pack("<I", value.type), *value.encode()]
        return b"".join([*parts, *(record.encoded() for record in self.records)])

    def lay_out(self) -> int:
        """Give the tensors their places one after the other. Returns the bytes of them all."""
        end = 0
        for at, record in enumerate(self.records):
            self.records[at] = replace(record, offset=end % 2**64)
            end += padded(record.nbytes())
        return end


Rng = random.Random
Deed = Callable[[Rng, Header], object]


def _a_pair(rng: Rng, header: Header) -> tuple[int, bytes, Value]:
    at = rng.randrange(len(header.pairs))
    return at, *header.pairs[at]


def drop_key(rng: Rng, header: Header) -> None:
    del header.pairs[rng.randrange(len(header.pairs))]


def repeat_key(rng: Rng, header: Header) -> None:
    header.pairs.insert(rng.randrange(len(header.pairs) + 1), rng.choice(header.pairs))


def move_key(rng: Rng, header: Header) -> None:
    header.pairs.insert(rng.randrange(len(header.pairs)), header.pairs.pop(rng.randrange(len(header.pairs))))


def rename_key(rng: Rng, header: Header) -> None:
    at, name, value = _a_pair(rng, header)
    new = rng.choice((_other_text(rng, name), rng.choice(NAMES), rng.choice(header.pairs)[0], name.upper()))
    header.pairs[at] = (new, value)


def add_key(rng: Rng, header: Header) -> None:
    name = rng.choice((*NAMES, b"general.x", b"tokenizer.chat_template", b"gemma4.x", b"tokenizer.ggml.pre"))
    header.pairs.insert(rng.randrange(len(header.pairs) + 1), (name, _any_value(rng)))


def other_value(rng: Rng, header: Header) -> None:
    at, name, _ = _a_pair(rng, header)
    header.pairs[at] = (name, rng.choice((_any_value(rng), rng.choice(header.pairs)[1])))


def change_value(rng: Rng, header: Header) -> None:
    """In its own type, or nearly."""
    at, name, value = _a_pair(rng, header)
    header.pairs[at] = (name, _changed(rng, value))


def _any_value(rng: Rng) -> Value:
    kind = rng.choice((*SCALARS, ValueType.STRING, ValueType.STRING, ValueType.ARRAY, ValueType.ARRAY))
    if kind is ValueType.STRING:
        return _text(rng.choice(TEXTS))
    if kind is not ValueType.ARRAY:
        return _number(rng, kind)
    item, count = rng.choice((*SCALARS, ValueType.STRING)), rng.choice((0, 1, 2, 4, 5, 288))
    items = (_text(rng.choice(TEXTS)) if item is ValueType.STRING else _number(rng, item) for _ in range(count))
    return Value(kind, b"".join(bytes(one.payload) for one in items), item, count)


def _number(rng: Rng, kind: ValueType) -> Value:
    if DTYPES[kind].kind == "f":
        return gv.scalar(kind, rng.choice((0.0, 1.0, -1.0, 1e-30, 1e30, 10_000.0, float("nan"), float("inf"))))
    if kind is ValueType.BOOL:
        return Value(kind, bytes([rng.choice((0, 1, 1, 2, 255))]))
    size = DTYPES[kind].itemsize
    return Value(kind, (rng.choice(NUMBERS) % 256**size).to_bytes(size, "little"))


def _text(raw: bytes) -> Value:
    return Value(ValueType.STRING, struct.pack("<Q", len(raw)) + raw)


def _other_text(rng: Rng, raw: bytes) -> bytes:
    at = rng.randrange(len(raw) + 1)
    return rng.choice((raw[:at] + rng.choice(TEXTS) + raw[at:], raw[:at], raw[:at] + b"_" + raw[at + 1 :], raw + b"\0"))


def _changed(rng: Rng, value: Value) -> Value:
    payload = bytes(value.payload)
    if value.type is ValueType.STRING:
        return _text(_other_text(rng, payload[8:]))
    if value.type is not ValueType.ARRAY:
        number = int.from_bytes(payload, "little") + rng.choice((-2, -1, 1, 2, 3, 32, 64, 2**15))
        same = Value(value.type, (number % 256 ** len(payload)).to_bytes(len(payload), "little"))
        others = [kind for kind in SCALARS if DTYPES[kind].itemsize == len(payload) and kind is not ValueType.BOOL]
        return rng.choice((same, same, _number(rng, value.type), Value(rng.choice(others or [value.type]), payload)))
    return _changed_strings(rng, value) if value.item_type is ValueType.STRING else _changed_items(rng, value)


def _changed_strings(rng: Rng, value: Value) -> Value:
    texts = value.raw_strings()
    if texts:
        at, other = rng.randrange(len(texts)), rng.randrange(len(texts))
        texts = rng.choice(
            (
                [*texts[:at], _other_text(rng, texts[at]), *texts[at + 1 :]],
                [*texts[:at], *texts[at + 1 :]],
                [*texts[:at], texts[other], *texts[at + 1 :]],
                [*texts[:at], *texts[at:][::-1]],
                texts[:at],
            )
        )
    texts = rng.choice((texts, texts, [*texts, rng.choice(TEXTS)]))
    return Value(value.type, b"".join(bytes(_text(raw).payload) for raw in texts), value.item_type, len(texts))


def _changed_items(rng: Rng, value: Value) -> Value:
    kind, payload = value.item_type or ValueType.UINT8, bytes(value.payload)
    size = DTYPES[kind].itemsize
    at = rng.randrange(value.count + 1) * size
    one = bytes(_number(rng, kind).payload)
    others = [other for other in SCALARS if DTYPES[other].itemsize == size]
    new = rng.choice((payload[:at] + one + payload[at + size :], payload[:at] + payload[at + size :], payload + one))
    return Value(value.type, new, rng.choice((kind, kind, rng.choice(others))), len(new) // size)


def _a_record(rng: Rng, header: Header) -> tuple[int, Record]:
    at = rng.randrange(len(header.records))
    return at, header.records[at]


def drop_tensor(rng: Rng, header: Header) -> None:
    del header.records[rng.randrange(len(header.records))]


def repeat_tensor(rng: Rng, header: Header) -> None:
    header.records.insert(rng.randrange(len(header.records) + 1), rng.choice(header.records))


def move_tensor(rng: Rng, header: Header) -> None:
    header.records.insert(rng.randrange(len(header.records)), header.records.pop(rng.randrange(len(header.records))))


def rename_tensor(rng: Rng, header: Header) -> None:
    at, record = _a_record(rng, header)
    other = rng.choice(header.records).name
    name = rng.choice((_other_text(rng, record.name), rng.choice(TENSOR_NAMES), other, record.name.ljust(64, b"x")))
    header.records[at] = replace(record, name=name)


def add_tensor(rng: Rng, header: Header) -> None:
    name = rng.choice((*TENSOR_NAMES, b"blk.0.layer_output_scale.weight", b"blk.0.attn_k.weight", b"x"))
    record = replace(rng.choice(header.records), name=name)
    header.records.insert(rng.randrange(len(header.records) + 1), record)


def reshape_tensor(rng: Rng, header: Header) -> None:
    at, record = _a_record(rng, header)
    axis = rng.randrange(len(record.shape))
    length = rng.choice((record.shape[axis] + 1, max(record.shape[axis] - 1, 0), record.shape[axis] * 2))
    odd = (*record.shape[:axis], rng.choice((length, length, rng.choice(NUMBERS))), *record.shape[axis + 1 :])
    shape = rng.choice((record.shape[::-1], odd, odd, (*record.shape, 1), record.shape[:1], (*record.shape, 1, 1, 1)))
    header.records[at] = replace(record, shape=shape)


def retype_tensor(rng: Rng, header: Header) -> None:
    at, record = _a_record(rng, header)
    header.records[at] = replace(record, type=rng.choice(TYPES))


def count_otherwise(rng: Rng, header: Header) -> None:
    header.more_tensors = rng.choice((0, 0, -1, 1, 2**62))
    header.more_pairs = rng.choice((0, -1, 1, 2**62))
    header.version = rng.choice((3, 3, 2, 1, 4, 0))


def place_otherwise(rng: Rng, header: Header) -> None:
    at, record = _a_record(rng, header)
    step = rng.choice((-32, 32, 1, -1, 64, 2**40, 2**63))
    header.records[at] = replace(record, offset=(record.offset + step) % 2**64)


#: What is done before the tensors get their places. What is done to keys stands there oftener: there are more of them.
DEEDS: tuple[Deed, ...] = (
    *(drop_key, repeat_key, move_key, rename_key, add_key, other_value, other_value, *[change_value] * 5),
    *(drop_tensor, repeat_tensor, move_tensor, rename_tensor, add_tensor, reshape_tensor, reshape_tensor),
    *(retype_tensor, retype_tensor),
)
#: And what after that.
LATE: tuple[Deed, ...] = (count_otherwise, place_otherwise, move_tensor)


class HeaderDamage:
    """Makes variants of one sound file; which ones depends on the seed alone."""

    def __init__(self, keys: dict[str, Value], plans: Sequence[TensorPlan], data: bytes, seed: object):
        self._random, self._keys, self._plans, self._data = random.Random(str(seed)), keys, plans, data

    def next(self) -> tuple[str, bytes]:
        """What was done, and the file."""
        rng = self._random
        header = Header(
            [(name.encode(), value) for name, value in self._keys.items()],
            [Record(plan.name.encode(), plan.shape[::-1], plan.type.value) for plan in self._plans],
        )
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            self._do(rng.choice(DEEDS), header)
        size = header.lay_out()
        if rng.random() < 0.08:
            self._do(rng.choice(LATE), header)
        raw = header.encoded()
        if rng.random() < 0.1:
            header.done.append("bytes")
            raw = Mutator([raw], rng.random()).bytes(raw)
        return ", ".join(header.done), raw + self._behind(raw, size)

    def _do(self, deed: Deed, header: Header) -> None:
        header.done.append(deed.__name__)
        deed(self._random, header)

    def _behind(self, raw: bytes, size: int) -> bytes:
        """Padding and data, as much as the records want, within bounds; sometimes too little, or more."""
        wanted = min(size, LARGEST) + self._random.choice((*[0] * 20, -32, -1, 1, 64))
        repeated = self._data * (1 + max(wanted, 0) // max(len(self._data), 1))
        return bytes(padded(len(raw)) - len(raw)) + repeated[: max(wanted, 0)]
