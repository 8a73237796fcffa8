"""Ways of drafting that llama.cpp has, as a table: what each is called, what it needs, and what it is told.

Names, fields and defaults are those of llama.cpp of October 2026: `common_params_speculative` in common/common.h, the
options in common/arg.cpp. A further way is a row here; what its files look like is `sources/drafting.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gemma_mtp.model.family import FAMILY

#: `Method.engines`.
BOTH, CPP_ALONE = frozenset({"python", "cpp"}), frozenset({"cpp"})
#: The share of its longest draft that ngram-mod must reach: 48 of 64 by llama.cpp's defaults.
LEAST_SHARE = 0.75


@dataclass(frozen=True)
class Use:
    """A method with its lengths. length: tokens of a draft at most. match: tokens that an n-gram must have in common
    with the text's end, 0 for methods without."""

    name: str
    length: int
    match: int = 0

    @property
    def method(self) -> Method:
        return METHODS[self.name]

    @property
    def least(self) -> int:
        """The shortest draft of ngram-mod."""
        return max(1, int(self.length * LEAST_SHARE))


@dataclass(frozen=True)
class Size:
    """A number that llama.cpp is told. field: of `common_params_speculative`, dotted. flag: llama-server's option."""

    field: str
    flag: str
    of: Callable[[Use], int]


@dataclass(frozen=True)
class Method:
    """A way of drafting.

    name: as `--method` has it. spec_type: as llama.cpp's `--spec-type` has it. title: for people.
    takes_file: whether it drafts with a model of its own. engines: those of ours that can.
    lengths: the drafts that are measured where none are named. match: see `Use`.
    sizes: what llama.cpp is told of its lengths. memory: bytes of a table of its own, beside a model's.
    """

    name: str
    spec_type: str
    title: str
    takes_file: bool
    engines: frozenset[str]
    lengths: tuple[int, ...]
    sizes: tuple[Size, ...] = ()
    match: int = 0
    memory: int = 0


def _length(use: Use) -> int:
    return use.length


def _match(use: Use) -> int:
    return use.match


def _least(use: Use) -> int:
    return use.least


#: Of everything that drafts with a model.
_DRAFT = (Size("draft.n_max", "--spec-draft-n-max", _length),)


def _map_sizes(field: str, flag: str) -> tuple[Size, ...]:
    """Of the n-gram types that look a run of n tokens up and copy the m after it."""
    return (
        Size(f"{field}.size_n", f"--spec-{flag}-size-n", _match),
        Size(f"{field}.size_m", f"--spec-{flag}-size-m", _length),
    )


_MOD = (
    Size("ngram_mod.n_match", "--spec-ngram-mod-n-match", _match),
    Size("ngram_mod.n_min", "--spec-ngram-mod-n-min", _least),
    Size("ngram_mod.n_max", "--spec-ngram-mod-n-max", _length),
)

MTP, DRAFT = "mtp", "draft"
NGRAM_SIMPLE, NGRAM_MOD = "ngram-simple", "ngram-mod"
#: In the order in which llama.cpp asks them: those without a model first (`common_speculative_init`).
METHODS: dict[str, Method] = {
    one.name: one
    for one in (
        Method(
            NGRAM_SIMPLE,
            "ngram-simple",
            "n-grams of the text, the last match",
            False,
            BOTH,
            (48,),
            _map_sizes("ngram_simple", "ngram-simple"),
            match=12,
        ),
        Method(
            "ngram-map-k",
            "ngram-map-k",
            "n-grams of the text, by their keys",
            False,
            CPP_ALONE,
            (48,),
            _map_sizes("ngram_map_k", "ngram-map-k"),
            match=12,
        ),
        Method(
            NGRAM_MOD,
            "ngram-mod",
            "n-grams of all texts, hashed",
            False,
            BOTH,
            (64,),
            _MOD,
            match=24,
            memory=16 << 20,
        ),
        Method("ngram-cache", "ngram-cache", "n-grams of the text, by their frequency", False, CPP_ALONE, (8,)),
        Method(DRAFT, "draft-simple", "an ordinary smaller model", True, BOTH, (2, 4, 8), _DRAFT),
        Method("eagle3", "draft-eagle3", "an EAGLE3 head", True, CPP_ALONE, (2, 4), _DRAFT),
        Method(MTP, FAMILY.spec_type, "an MTP assistant", True, BOTH, (1, 2, 3, 4), _DRAFT),
        Method("dflash", "draft-dflash", "a DFlash block drafter", True, BOTH, (3, 7, 15), _DRAFT),
        Method("dspark", "draft-dspark", "a DSpark block drafter", True, CPP_ALONE, (3, 7), _DRAFT),
    )
}
#: Their place in that order.
ASKED: dict[str, int] = {name: place for place, name in enumerate(METHODS)}


def use(name: str, length: int | None = None, match: int | None = None) -> Use:
    """A method with llama.cpp's usual lengths, or these."""
    method = METHODS[name]
    return Use(name, method.lengths[-1] if length is None else length, method.match if match is None else match)
