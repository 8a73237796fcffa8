"""What a user can choose about models and contexts. Plain data: nothing native is imported for it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from gemma_mtp.cores import decoding_threads
from gemma_mtp.errors import UsageError, meant
from gemma_mtp.native.methods import ASKED, METHODS, MTP, Use
from gemma_mtp.native.placement import LOAD_MODES, SPLIT_MODES, overrides, stands_wrong

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
    The others are llama.cpp's options of the same names (`placement.OPTIONS`). n_cpu_moe: layers, from the first on,
    whose experts stay in RAM. override_tensor: "PATTERN=DEVICE". split_mode: a key of SPLIT_MODES. tensor_split: shares
    of the devices. device: names, with commas between them, or "none". load_mode: a key of LOAD_MODES.
    gpu_layers_draft, device_draft: the drafter's own, None: as the target's.
    """

    gpu_layers: int = -1
    extra_buffers: bool = True
    n_cpu_moe: int = 0
    override_tensor: tuple[str, ...] = ()
    split_mode: str = "layer"
    tensor_split: tuple[float, ...] = ()
    main_gpu: int = 0
    device: str | None = None
    gpu_layers_draft: int | None = None
    device_draft: str | None = None
    load_mode: str = "auto"

    def __post_init__(self) -> None:
        """Raises UsageError."""
        _require_known("--split-mode", self.split_mode, SPLIT_MODES)
        _require_known("--load-mode", self.load_mode, LOAD_MODES)
        for name, count in (("n-cpu-moe", self.n_cpu_moe), ("main-gpu", self.main_gpu)):
            if count < 0:
                raise UsageError(f"--{name} is {count}, at least 0 is needed")
        if self.tensor_split and not (min(self.tensor_split) >= 0 < sum(self.tensor_split) < math.inf):
            raise UsageError("--tensor-split: shares of at least 0 are needed, one above it")
        for pattern, device in self.overrides:
            _check_override(pattern, device)
        self.require_drafter_near(at_the_end=False)

    def require_drafter_near(self, *, at_the_end: bool, gpus: Collection[str] = ()) -> None:
        """Raises UsageError: the drafter is on another device than the caches that it reads.

        at_the_end: these are of the target's last layers of all (see `placement.stands_wrong`). gpus: of this machine,
        which the target is on where none are named; none: not known.
        """
        there = self.gpu_layers != 0 if at_the_end else self.gpu_layers < 0
        device = ",".join(gpus) if self.device is None and gpus and there else self.device
        where = stands_wrong(device, self.device_draft, self.split_mode, self.main_gpu, at_the_end=at_the_end)
        if where:
            raise UsageError(
                f"the drafter is on {self.device_draft}, the target's last layers, whose cache it reads, on {where}",
                hint=f"leave --device-draft out, or name {where} there",
            )

    @property
    def overrides(self) -> list[tuple[str, str]]:
        """(pattern, device) for tensors' names; the first that is found in a name counts."""
        return overrides(self.n_cpu_moe, self.override_tensor)

    def for_drafter(self) -> ModelSettings:
        """How the assistant is loaded beside a target that is loaded so."""
        own = self.gpu_layers if self.gpu_layers_draft is None else self.gpu_layers_draft
        # On one device of its own it is split by layers, whatever the target is (common/speculative.cpp).
        alone = self.device_draft is not None and "," not in self.device_draft
        return replace(
            self,
            gpu_layers=own,
            device=self.device_draft or self.device,
            n_cpu_moe=0,
            override_tensor=(),
            split_mode="layer" if alone else self.split_mode,
        )


def _require_known(name: str, value: str, known: Collection[str]) -> None:
    """Raises UsageError."""
    if value not in known:
        hint = f"{meant(value, known)} choose one of {', '.join(known)}".lstrip()
        raise UsageError(f"{name} {value!r} is unknown", hint=hint)


def _check_override(pattern: str, device: str) -> None:
    """Raises UsageError."""
    if not pattern or not device:
        raise UsageError(
            f"--override-tensor: {(pattern or device)!r} is no PATTERN=DEVICE", hint="for instance exps=CPU"
        )
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--override-tensor: the pattern {pattern!r} cannot be read: {error}") from None


@dataclass(frozen=True)
class ContextSettings:
    """How a context is made. The assistant's is made alike, because it reads the target's KV cache.

    size: tokens that fit into the KV cache, at most the model's own limit.
    batch: tokens of a prompt that are decoded in one call (llama.cpp's logical and physical batch).
    outputs: rows of logits that one call may ask for: the longest draft and one.
    threads: for one token and for batches; None: `cores.decoding_threads`, the cores that have nothing to do.
    cache_k, cache_v: keys of CACHE_TYPES, in any case. flash_attention: a key of FLASH_ATTENTION.
    threads_batch: for batches; None: `threads`. ubatch: tokens of a batch that are computed at once, None: all of them.
    swa_full: sliding layers keep the whole context, not their window. kv_unified: one cache for all sequences.
    """

    size: int = 4096
    batch: int = 512
    outputs: int = 17
    threads: int | None = None
    cache_k: str = "f16"
    cache_v: str = "f16"
    flash_attention: str = "auto"
    threads_batch: int | None = None
    ubatch: int | None = None
    swa_full: bool = False
    kv_unified: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError."""
        for name in ("cache_k", "cache_v"):
            object.__setattr__(self, name, getattr(self, name).lower())
        _require_known("K cache type", self.cache_k, CACHE_TYPES)
        _require_known("V cache type", self.cache_v, CACHE_TYPES)
        _require_known("flash attention", self.flash_attention, FLASH_ATTENTION)
        counts = {"context size": self.size, "batch": self.batch, "outputs": self.outputs, "ubatch": self.ubatch}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise UsageError(f"the {name} is {count}, at least 1 is needed")
        for threads in (self.threads, self.threads_batch):
            if threads is not None and not 1 <= threads <= MOST_THREADS:
                raise UsageError(f"{threads} threads: 1 to {MOST_THREADS} are possible")
        if CACHE_TYPES[self.cache_v] not in (0, 1, 30) and self.flash_attention == "off":
            raise UsageError(
                f"a V cache of type {self.cache_v} needs flash attention", hint="leave flash attention on, or use f16"
            )

    @property
    def at_once(self) -> int:
        """Tokens that are computed at once, at most: llama.cpp's physical batch."""
        return min(self.ubatch or self.batch, self.batch)

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
    """Who drafts in a round, and how long the drafts are.

    longest: tokens of a draft at most; 0: none is made with a model. shortest: shorter drafts are thrown away. p_min: a
    draft ends where the drafter is less sure. auto: what pays, up to `longest`, found out on the way.
    method: how the model drafts, a key of `methods.METHODS` that takes a file. ngrams: drafters without a model, which
    are asked first; the model drafts where none of them knows anything. Without either the target decodes plainly.
    """

    longest: int = 3
    shortest: int = 0
    p_min: float = 0.0
    auto: bool = False
    method: str = MTP
    ngrams: tuple[Use, ...] = ()

    def __post_init__(self) -> None:
        """Raises UsageError."""
        if self.longest < 0:
            raise UsageError(f"the longest draft is {self.longest} tokens; wanted: at least 0")
        if self.longest and not 0 <= self.shortest <= self.longest:
            raise UsageError(f"the shortest draft is {self.shortest} tokens; wanted: 0 to {self.longest}, the longest")
        if not 0 <= self.p_min <= 1:
            raise UsageError(f"p_min is {self.p_min}; wanted: 0 to 1")
        if self.auto and self.ngrams:
            raise UsageError("drafts of n-grams do not adapt their length", hint="name a length")

    @property
    def uses(self) -> tuple[Use, ...]:
        """All drafters in the order in which llama.cpp asks them."""
        model = (Use(self.method, self.longest, METHODS[self.method].match),) if self.longest else ()
        return tuple(sorted((*self.ngrams, *model), key=lambda one: ASKED[one.name]))

    @property
    def at_most(self) -> int:
        """The longest draft of any of them; 0: the target decodes plainly."""
        return max((one.length for one in self.uses), default=0)


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
        _require_known("sampling mode", self.mode, SAMPLING_MODES)

    @property
    def penalises(self) -> bool:
        """Whether tokens before a place change the choice there."""
        neutral = self.repeat_penalty == 1 and self.presence_penalty == self.frequency_penalty == 0
        return not neutral and self.repeat_last_n != 0
