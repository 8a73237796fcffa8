"""Whether a drafter's file can draft for a target in the way that is asked for. Headers only, before it is loaded.

An assistant is `pairing`'s; here is what other ways of drafting need, above all an ordinary model's: llama.cpp's own
conditions (common/speculative.cpp, `common_speculative_are_compatible`; defaults as in src/llama-vocab.cpp), of which
llama.cpp tells only that some were not met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from gemma_mtp.advice import TARGET, ours
from gemma_mtp.errors import BadFileError
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.files.metadata import Metadata
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dflash.dspark import MARKOV
from gemma_mtp.model.dialects import DIALECTS
from gemma_mtp.model.family import FAMILIES, FOREIGN
from gemma_mtp.native.methods import DRAFT, METHODS, MTP
from gemma_mtp.native.settings import Drafting, ModelSettings
from gemma_mtp.sources.model import TOKENS, OpenModel
from gemma_mtp.sources.opening import Want, open_model
from gemma_mtp.sources.pairing import check_runnable

#: `tokenizer.ggml.model` -> llama.cpp's kind of vocabulary.
KINDS = {
    "llama": "SPM", "gpt2": "BPE", "hybriddna": "BPE", "whitespace": "BPE", "gemma4": "BPE", "bert": "WPM",
    "t5": "UGM", "rwkv": "RWKV", "plamo2": "PLAMO2",
}  # fmt: skip
#: `tokenizer.ggml.model` -> the begin and end tokens that llama.cpp takes where the file names none.
USUAL_ENDS = {"llama": (1, 2), "gpt2": (11, 11), "hybriddna": (11, 11), "whitespace": (11, 11), "bert": (101, None),
              "t5": (None, 1), "plamo2": (1, 2)}  # fmt: skip
#: Kinds whose texts begin, or end, with a token of their own where the file does not say.
BEGIN_BY_DEFAULT, END_BY_DEFAULT = ("SPM", "WPM"), ("UGM",)
#: Pre-tokenizers of BPE for which llama.cpp begins every text with the begin token, whatever the file says.
ALWAYS_BEGIN = "gemma4"
#: How many tokens the vocabularies' sizes may differ by, and the first token whose text is compared.
MOST_DIFFERENCE, FIRST_COMPARED = 128, 5

#: `general.architecture` of drafters that are no models of their own -> the method that they are for.
HEADS = {"eagle3": "eagle3", "dflash": "dflash"} | {one.architecture: MTP for one in DIALECTS.values()}
#: The engine that has every way of drafting.
CPP = "cpp"


@dataclass(frozen=True)
class Vocabulary:
    """What llama.cpp compares. begin, end: the tokens' ids, None: there is none. texts: up to their first zero byte."""

    kind: str
    adds_begin: bool
    begin: int | None
    adds_end: bool
    end: int | None
    texts: tuple[bytes, ...]

    @classmethod
    def of(cls, metadata: Metadata) -> Vocabulary:
        """Raises BadFileError: the file has no vocabulary."""
        model, pre = metadata.text("tokenizer.ggml.model"), metadata.text("tokenizer.ggml.pre", "")
        tokens = metadata.get(TOKENS)
        if tokens is None or not tokens.is_array_of(ValueType.STRING):
            raise BadFileError(f"{TOKENS} is missing or no array of strings", where=metadata.where)
        kind, (begin, end) = KINDS.get(model, model), USUAL_ENDS.get(model, (None, None))
        texts = tuple(raw.split(b"\0", 1)[0] for raw in tokens.raw_strings())

        def named(key: str, usual: int | None) -> int | None:
            usual = usual if usual is not None and usual < len(texts) else None
            found = metadata.number(f"tokenizer.ggml.{key}_token_id", -1)
            return found if 0 <= found < len(texts) else usual

        adds_begin = _flag(metadata, "tokenizer.ggml.add_bos_token", kind in BEGIN_BY_DEFAULT)
        always = kind == "BPE" and ALWAYS_BEGIN in (model, pre)
        adds_end = _flag(metadata, "tokenizer.ggml.add_eos_token", kind in END_BY_DEFAULT)
        return cls(kind, adds_begin or always, named("bos", begin), adds_end, named("eos", end), texts)


def _flag(metadata: Metadata, key: str, usual: bool) -> bool:
    value = metadata.get(key)
    return bool(value.decode()) if value is not None and value.type is ValueType.BOOL else usual


def differences(target: Vocabulary, drafter: Vocabulary) -> Iterator[str]:
    """In words, each of llama.cpp's conditions that these two do not meet; of texts the first that differs."""
    if target.kind != drafter.kind:
        yield f"its vocabulary is of the kind {drafter.kind}, the target's {target.kind}"
    ends = (
        ("begin", "adds_begin", "begin", "tokenizer.ggml.add_bos_token"),
        ("end", "adds_end", "end", "tokenizer.ggml.add_eos_token"),
    )
    for what, flag, token, key in ends:
        adds, wanted = getattr(drafter, flag), getattr(target, flag)
        if adds != wanted:
            yield f"texts get the {what} token in {'it' if adds else 'the target'} alone ({key})"
        elif wanted and getattr(target, token) != getattr(drafter, token):
            yield f"its {what} token is {getattr(drafter, token)}, the target's {getattr(target, token)}"
    has, wants = len(drafter.texts), len(target.texts)
    if abs(has - wants) > MOST_DIFFERENCE:
        yield f"it has {has:,} tokens, the target {wants:,}: they may differ by {MOST_DIFFERENCE}"
        return
    for place in range(FIRST_COMPARED, min(has, wants)):
        if target.texts[place] != drafter.texts[place]:
            ours_, theirs = (texts[place].decode("utf-8", "replace")[:40] for texts in (drafter.texts, target.texts))
            yield f"token {place:,} is {ours_!r} in it, {theirs!r} in the target"
            return


def check_drafting(
    target: str | PathLike[str],
    drafter: str | PathLike[str] | None = None,
    method: str = MTP,
    model: ModelSettings | None = None,
) -> Hyperparameters:
    """The target's hyper-parameters, once the two GGUFs are seen to be what `method` needs.

    model: where they are to be.

    Raises GGUFError, BadFileError (another model, a vocabulary that llama.cpp refuses), UsageError (a checkpoint).
    """
    if drafter is None:
        return check_runnable(target)
    owner = check_runnable(target, drafter if method in FAMILIES else None, model)
    with ExitStack() as stack:
        target_file = stack.enter_context(open_model(Path(target), want=Want.FILE))
        drafter_file = stack.enter_context(open_model(Path(drafter), want=Want.FILE))
        CHECKS.get(method, _check_head)(target_file, drafter_file, method)
    return owner


def kind_of(drafter: OpenModel) -> str:
    """The method that a drafter's file is for: that of its architecture, else `draft`."""
    found = HEADS.get(drafter.architecture, DRAFT)
    return "dspark" if found == "dflash" and MARKOV in drafter.tensors else found


def known(file: OpenModel) -> OpenModel:
    """The same, read as what it is if it is of a family that is only checked and measured."""
    family = FOREIGN.get(kind_of(file))
    return file if family is None else replace(file, read_as=family)


def foreign(file: OpenModel) -> tuple[str, str] | None:
    """Of a drafter that is checked and measured, and nothing else: what it is, and the command that measures it.

    None for all others, and where it is read as what it is.
    """
    kind = kind_of(file)
    if file.read_as is not None or kind not in FOREIGN:
        return None
    return METHODS[kind].title, ours("bench", TARGET, options={"--method": f"{kind}:{file.place}", "--engine": CPP})


def _check_head(target: OpenModel, drafter: OpenModel, method: str) -> None:
    """A file of this method's architecture. What else it needs of its target llama.cpp says when it is loaded."""
    found = kind_of(drafter)
    if found != method:
        raise _another(drafter, method, found)


def _check_ordinary(target: OpenModel, drafter: OpenModel, method: str) -> None:
    if (found := kind_of(drafter)) != DRAFT:
        raise _another(drafter, method, found)
    faults = list(differences(Vocabulary.of(target.metadata), Vocabulary.of(drafter.metadata)))
    if faults:
        raise BadFileError(
            "llama.cpp lets this model not draft for this target: " + "; ".join(faults),
            where=drafter.place,
            hint="an ordinary drafter must be of the target's family, with its vocabulary",
        )


def _another(drafter: OpenModel, method: str, found: str) -> BadFileError:
    architecture = drafter.architecture or "not named"
    return BadFileError(
        f"its architecture is {architecture}: this is no file for --method {method}",
        where=drafter.place,
        hint=f"--method {found}:FILE, or {ours('inspect', drafter.place)} to see what it holds",
    )


def of_file(drafting: Drafting, drafter: str | PathLike[str] | None) -> Drafting:
    """The same drafting by the method that the drafter's file is for, if none was chosen.

    Raises GGUFError and UsageError for a file that is no GGUF.
    """
    if drafter is None or drafting.method != MTP:
        return drafting
    with open_model(Path(drafter), want=Want.FILE) as file:
        found = kind_of(file)
    return drafting if found == DRAFT else replace(drafting, method=found)


#: A method that takes a file -> what its file must be; of those not named here the architecture alone.
CHECKS: dict[str, Callable[[OpenModel, OpenModel, str], None]] = {DRAFT: _check_ordinary}
