"""The vocabulary: drafted token ids mean the same to both models.

Vocabularies are compared as encoded (memory against memory) and decoded only to say how they differ.
"""

from __future__ import annotations

from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.model.family import FAMILY
from gemma_mtp.sources.model import TOKENS, OpenModel
from gemma_mtp.validate.checks.attachment import OTHER_ASSISTANT
from gemma_mtp.validate.findings import Finding, error, note, ok, warning
from gemma_mtp.validate.pair import Pair

MODEL, TYPES, MERGES = "tokenizer.ggml.model", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"
SHOWN = 3


def tokenizer_model(pair: Pair) -> Finding:
    """Both say that they have Gemma 4's tokenizer, by the name that llama.cpp knows."""
    values = (pair.target.text(MODEL), pair.assistant.text(MODEL))
    if values == (FAMILY.tokenizer, FAMILY.tokenizer):
        return ok(*values)
    side = pair.assistant if values[0] == FAMILY.tokenizer else pair.target
    found = side.text(MODEL)
    return error(
        f"the {side.part}'s {MODEL} is {found or 'missing'}, not {FAMILY.tokenizer}: text would be cut into other "
        "tokens",
        "packed for another engine (Ollama's, for instance); use a GGUF made for llama.cpp",
        *(value or "missing" for value in values),
    )


def size(pair: Pair) -> Finding:
    """Equally many tokens. A draft outside the target's vocabulary aborts llama.cpp."""
    has, wants = pair.target.hyper.vocabulary, pair.assistant.hyper.vocabulary
    if has == wants:
        return ok(f"{has:,}", f"{wants:,}")
    effect = "llama.cpp aborts when a missing one is drafted" if wants > has else "the ids mean other tokens"
    return error(
        f"the target has {has:,} tokens, the assistant {wants:,}; {effect}", OTHER_ASSISTANT, f"{has:,}", f"{wants:,}"
    )


def tokens(pair: Pair) -> Finding:
    """The same token at every id."""
    return _compare_arrays(pair, TOKENS, "tokens", "drafts are read as other text")


def merges(pair: Pair) -> Finding:
    """The same merges in the same order: text is cut into tokens alike."""
    return _compare_arrays(pair, MERGES, "merges", "the two models were made with different tokenizers")


def token_types(pair: Pair) -> Finding:
    """The same type (normal, control, user defined, byte) for every token.

    llama.cpp itself doesn't mind, but a difference shows that one file was made from another tokenizer or by an old
    converter: control tokens of the target may not be seen by a chat parser.
    """
    has, wants = pair.target.metadata.get(TYPES), pair.assistant.metadata.get(TYPES)
    values = (_length(has), _length(wants))
    if has is not None and has == wants:
        return ok(*values)
    if has is None or wants is None or not has.is_array_of(ValueType.INT32) or not wants.is_array_of(ValueType.INT32):
        return warning(f"{TYPES} is missing in a file", "convert both files again with one converter", *values)
    if has.count != wants.count:
        return warning("there are not equally many token types", "convert both files again with one converter", *values)
    differing = (has.decode() != wants.decode()).nonzero()[0]
    shown = ", ".join(f"{index}: {has.decode()[index]} / {wants.decode()[index]}" for index in differing[:SHOWN])
    return warning(
        f"{differing.size:,} of {has.count:,} tokens have another type in the assistant than in the target ({shown}); "
        "one file was made by an older converter",
        "convert both files again with one converter",
        *values,
    )


def _compare_arrays(pair: Pair, key: str, what: str, effect: str) -> Finding:
    has, wants = pair.target.metadata.get(key), pair.assistant.metadata.get(key)
    values = (_length(has), _length(wants))
    for side, value in ((pair.target, has), (pair.assistant, wants)):
        if value is None or not value.is_array_of(ValueType.STRING):
            return error(
                f"the {side.part}'s {key} is {'missing' if value is None else 'no array of strings'}; llama.cpp cannot "
                "read text without it",
                "convert the model again, or download the file again",
                *values,
            )
    assert has is not None
    assert wants is not None
    if has == wants:
        return ok(*values)
    ours, theirs = has.raw_strings(), wants.raw_strings()
    differing = [index for index, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other]
    differing += range(min(len(ours), len(theirs)), max(len(ours), len(theirs)))
    shown = "; ".join(f"{index}: {_shown(ours, index)} / {_shown(theirs, index)}" for index in differing[:SHOWN])
    return error(
        f"{len(differing):,} of {max(len(ours), len(theirs)):,} {what} differ, first {shown}; {effect}",
        OTHER_ASSISTANT,
        *values,
    )


def _shown(items: list[bytes], index: int) -> str:
    return repr(items[index].decode("utf-8", "replace")[:40]) if index < len(items) else "none"


def _length(value: Value | None) -> str:
    return "missing" if value is None else f"{value.count:,}"


def special_tokens(pair: Pair) -> Finding:
    """The same beginning of text. Another end of text is normal (the chat template's in the target) and harmless."""
    begin, end = (_ids(pair, f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos"))
    values = [f"bos {begin[side]}, eos {end[side]}" for side in (0, 1)]
    if begin[0] != begin[1]:
        return error(
            f"the target begins text with token {begin[0]}, the assistant with {begin[1]}: they were not "
            "made for each other",
            OTHER_ASSISTANT,
            *values,
        )
    last = pair.target.metadata.get("tokenizer.ggml.eos_token_id")
    number = last.integer() if last is not None else None
    if number is not None and number >= pair.target.hyper.vocabulary:
        return warning(
            f"the target's eos id {number:,} is no token's: llama.cpp drops it, and texts may not end",
            "convert the target again",
            *values,
        )
    if end[0] != end[1]:
        return note(
            f"the eos ids differ ({end[0]} and {end[1]}), which is normal and harmless; ik_llama.cpp refuses it before "
            "August 15, 2026",
            *values,
        )
    return ok(*values)


def _ids(pair: Pair, key: str) -> tuple[str, str]:
    return _id(pair.target, key), _id(pair.assistant, key)


def _id(side: OpenModel, key: str) -> str:
    value = side.metadata.get(key)
    return "missing" if value is None or value.type is ValueType.ARRAY else str(value.decode())
