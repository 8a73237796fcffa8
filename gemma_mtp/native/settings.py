"""What a user can choose about models and contexts. Plain data: nothing native is imported for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gemma_mtp.cores import decoding_threads
from gemma_mtp.errors import UsageError, meant

#: KV cache types on offer -> ggml's type id (ggml.h, `enum ggml_type`).
CACHE_TYPES = {"f32": 0, "f16": 1, "bf16": 30, "q8_0": 8, "q5_1": 7, "q5_0": 6, "q4_1": 3, "q4_0": 2}

#: What llama.cpp's threads are counted up to (ggml.h, GGML_MAX_N_THREADS).
MOST_THREADS = 512

#: Choices of flash attention -> llama.cpp's `enum llama_flash_attn_type`.
FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}


#: A context longer than any model's: as long as the model was trained for, to which every context is cut.
TRAINED = 2**31 - 1

#: `Sampling.mode` -> what it promises.
SAMPLING_MODES = {
    "match": "the same seed gives the same text with and without drafting",
    "reject": "the same distribution with and without drafting, more drafts accepted",
}


@dataclass(frozen=True)
class ModelSettings:
    """How a model file is loaded.

    gpu_layers: layers kept in GPU memory, -1: all. Without a GPU it has no effect.
    extra_buffers: allow llama.cpp's extra buffer types, which repack weights for the CPU (AMX, interleaved blocks). On
        some machines they crash; `backend.settings_for_this_machine` knows.
    """

    gpu_layers: int = -1
    extra_buffers: bool = True


@dataclass(frozen=True)
class ContextSettings:
    """How a context is made. The assistant's is made alike, because it reads the target's KV cache.

    size: tokens that fit into the KV cache, at most the model's own limit.
    batch: tokens of a prompt that are decoded in one call (llama.cpp's logical and physical batch).
    outputs: rows of logits that one call may ask for: the longest draft and one.
    threads: for one token and for batches; None: `cores.decoding_threads`, the cores that have nothing to do.
    cache_k, cache_v: keys of CACHE_TYPES, in any case. flash_attention: a key of FLASH_ATTENTION.
    """

    size: int = 4096
    batch: int = 512
    outputs: int = 17
    threads: int | None = None
    cache_k: str = "f16"
    cache_v: str = "f16"
    flash_attention: str = "auto"

    def __post_init__(self) -> None:
        """Raises UsageError."""
        for name in ("cache_k", "cache_v"):
            object.__setattr__(self, name, getattr(self, name).lower())
        for name, value, known in (
            ("K cache type", self.cache_k, CACHE_TYPES),
            ("V cache type", self.cache_v, CACHE_TYPES),
            ("flash attention", self.flash_attention, FLASH_ATTENTION),
        ):
            if value not in known:
                hint = f"{meant(value, known)} choose one of {', '.join(known)}".lstrip()
                raise UsageError(f"{name} {value!r} is unknown", hint=hint)
        for name, count in (("context size", self.size), ("batch", self.batch), ("outputs", self.outputs)):
            if count < 1:
                raise UsageError(f"the {name} is {count}, at least 1 is needed")
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise UsageError(f"{self.threads} threads: 1 to {MOST_THREADS} are possible")
        if CACHE_TYPES[self.cache_v] not in (0, 1, 30) and self.flash_attention == "off":
            raise UsageError(
                f"a V cache of type {self.cache_v} needs flash attention", hint="leave flash attention on, or use f16"
            )

    def with_threads(self) -> ContextSettings:
        """The same with a number of threads, so that several processes take the same one."""
        return self if self.threads else replace(self, threads=decoding_threads())


def more_context(size: int, trained: int, wanted: int) -> str:
    """What to do about a context of `size` tokens that is too small for `wanted`, in a model trained for `trained`."""
    if not trained or wanted <= trained:
        return f"a larger context (--ctx {wanted})"
    bound = f"{trained:,} tokens are what the model was trained for, and --ctx gives it no more"
    return bound if size >= trained else f"a larger context (--ctx {trained}); {bound}"


@dataclass(frozen=True)
class ChatSettings:
    """system: what the model is told first. thinking: whether it may think before it answers."""

    system: str | None = None
    thinking: bool = False


@dataclass(frozen=True)
class Drafting:
    """How long the drafts of a round are.

    longest: tokens of a draft at most; 0: none is made, the target decodes plainly. shortest: shorter drafts are thrown
    away. p_min: a draft ends where the drafter is less sure. auto: what pays, up to `longest`, found out on the way.
    """

    longest: int = 3
    shortest: int = 0
    p_min: float = 0.0
    auto: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError."""
        if self.longest < 0:
            raise UsageError(f"the longest draft is {self.longest} tokens; wanted: at least 0")
        if self.longest and not 0 <= self.shortest <= self.longest:
            raise UsageError(f"the shortest draft is {self.shortest} tokens; wanted: 0 to {self.longest}, the longest")
        if not 0 <= self.p_min <= 1:
            raise UsageError(f"p_min is {self.p_min}; wanted: 0 to 1")


#: Plain decoding.
NO_DRAFTS = Drafting(0)


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn, by llama.cpp's names, meanings and defaults; but greedy unless a temperature is given.

    In this order: the penalties, top_k, top_p, min_p (each on what the one before left), the temperature, the draw.

    temperature: 0: always the most probable token, penalties considered.
    top_k: keep so many of the most probable tokens, 0: all. top_p: keep the most probable ones that together reach this
        probability, 1: all. min_p: keep those with this share of the best one's probability, 0: all.
    repeat_penalty: divides positive logits, and multiplies negative ones, of tokens among the last `repeat_last_n` (0:
        none, -1: all). presence_penalty is taken from their logits once, frequency_penalty once an occurrence.
    seed: None: another one for each generation. mode: a key of SAMPLING_MODES.
    """

    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    mode: str = "match"

    def __post_init__(self) -> None:
        """Raises UsageError."""
        for name, value, good, wanted in (
            ("temperature", self.temperature, 0 <= self.temperature < math.inf, "at least 0"),
            ("top-k", self.top_k, self.top_k >= 0, "at least 0"),
            ("top-p", self.top_p, 0 < self.top_p <= 1, "above 0, at most 1"),
            ("min-p", self.min_p, 0 <= self.min_p <= 1, "0 to 1"),
            ("repeat-penalty", self.repeat_penalty, 0 < self.repeat_penalty < math.inf, "above 0"),
            ("repeat-last-n", self.repeat_last_n, self.repeat_last_n >= -1, "at least -1"),
            ("presence-penalty", self.presence_penalty, math.isfinite(self.presence_penalty), "a number"),
            ("frequency-penalty", self.frequency_penalty, math.isfinite(self.frequency_penalty), "a number"),
            ("seed", self.seed, self.seed is None or 0 <= self.seed < 1 << 64, "0 to 2^64 - 1"),
        ):
            if not good:
                raise UsageError(f"{name} is {value}; wanted: {wanted}")
        if self.mode not in SAMPLING_MODES:
            raise UsageError(
                f"sampling mode {self.mode!r} is unknown", hint="choose one of " + ", ".join(SAMPLING_MODES)
            )

    @property
    def penalises(self) -> bool:
        """Whether tokens before a place change the choice there."""
        neutral = self.repeat_penalty == 1 and self.presence_penalty == self.frequency_penalty == 0
        return not neutral and self.repeat_last_n != 0
