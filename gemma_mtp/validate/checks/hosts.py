"""What is known to go wrong with a runtime's version or with settings. Said only where it applies to the pair at hand.

Each row: when it applies, what happens, what to do. Builds and dates are those of the first and the last version with
the problem, as reported in the runtimes' issue trackers until September 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from gemma_mtp.model.dialects import ATOMIC, IK, MAINLINE
from gemma_mtp.validate.checks.attachment import SIZES
from gemma_mtp.validate.findings import Finding, Result, Status, error, note, ok, warning
from gemma_mtp.validate.host import Host, Version
from gemma_mtp.validate.pair import Pair

LLAMA, IK_LLAMA, ATOMIC_FORK = "llama.cpp", "ik_llama.cpp", "atomic"

#: Runtime -> dialect -> the versions that read it.
READS: dict[str, dict[str, tuple[Version | None, Version | None]]] = {
    LLAMA: {MAINLINE.name: (9553, None)},
    IK_LLAMA: {
        IK.name: (date(2026, 5, 10), None),
        MAINLINE.name: (date(2026, 6, 19), None),
        ATOMIC.name: (date(2026, 6, 9), date(2026, 6, 18)),
    },
    ATOMIC_FORK: {ATOMIC.name: (None, 10017), MAINLINE.name: (10018, None)},
    "koboldcpp": {MAINLINE.name: (None, None)},
    "lmstudio": {MAINLINE.name: (None, None)},
    "ollama": {},
}


def dialect(pair: Pair) -> Finding:
    """Whether the runtime (llama.cpp, if none is named) reads the assistant's dialect."""
    found, host = pair.assistant.dialect, pair.host
    assert found is not None
    value = f"{found.architecture} ({found.name})"
    readable = READS[host.runtime]
    versions = readable.get(found.name)
    if versions is not None and host.between(*versions) is not False:
        return ok("", value, f"loads in {found.runtimes}")
    if versions is not None and found is MAINLINE:
        return error(
            f"the file is fine, but this version of {host.runtime} does not know `{found.architecture}` yet",
            f"update {host.runtime} (llama.cpp: b9553, June 7, 2026, or later)",
            "",
            value,
        )
    return error(
        f"the assistant is written for {found.runtimes}; {host.runtime} stops with "
        f"`unknown model architecture: '{found.architecture}'`",
        f"gemma-mtp convert {pair.assistant.place} -o OUT.gguf",
        "",
        value,
    )


Applies = Callable[[Pair, Host], bool]


@dataclass(frozen=True)
class Known:
    """One known problem. runtime: None for any."""

    id: str
    title: str
    status: Status
    runtime: str | None
    applies: Applies
    message: str
    remedy: str = ""


def always(_: Pair, __: Host) -> bool:
    return True


def version(since: Version | None, until: Version | None) -> Applies:
    """The runtime's version is known and in this range."""
    return lambda _, host: host.version is not None and bool(host.between(since, until))


def option(name: str, *values: str) -> Applies:
    """A setting is given (with one of these values)."""
    return lambda _, host: name in host.settings and (not values or host.settings[name] in values)


def slots_above_one(_: Pair, host: Host) -> bool:
    return host.number("--parallel", 1) > 1


def both(*conditions: Applies) -> Applies:
    return lambda pair, host: all(condition(pair, host) for condition in conditions)


def either(*conditions: Applies) -> Applies:
    return lambda pair, host: any(condition(pair, host) for condition in conditions)


def two_queries_a_key(pair: Pair, _: Host) -> bool:
    """E4B's shape: two query heads over each key head, 512 long."""
    model = pair.assistant.hyper
    return model.head_dim_full == 512 and 2 * model.kv_heads(model.layers - 1) == model.heads


def one_key_head(pair: Pair, _: Host) -> bool:
    """12B's shape: full layers with one key head."""
    return pair.target.hyper.kv_heads_full == 1


def other_end(pair: Pair, _: Host) -> bool:
    key = "tokenizer.ggml.eos_token_id"
    return pair.target.metadata.get(key) != pair.assistant.metadata.get(key)


def long_drafts(pair: Pair, host: Host) -> bool:
    most = 2 if SIZES.get(pair.target.hyper.hidden) == "26B-A4B" else 4
    return host.number("--spec-draft-n-max", 0) > most


def quantized_cache(_: Pair, host: Host) -> bool:
    return any(host.settings.get(f"--cache-type-{side}", "f16") not in ("f16", "f32", "bf16") for side in "kv")


def plain_draft(_: Pair, host: Host) -> bool:
    return "--model-draft" in host.settings and host.settings.get("--spec-type") != "draft-mtp"


KNOWN: tuple[Known, ...] = (
    Known(
        "rejects-assistants",
        "Builds of September 1, 2026",
        Status.ERROR,
        LLAMA,
        version(10743, 10743),
        "this build stops at every Gemma 4 assistant with GGML_ASSERT(n_layer_nextn < n_layer_all)",
        "update llama.cpp; it was repaired on the same day",
    ),
    Known(
        "first-merge",
        "Builds of June 7, 2026",
        Status.WARNING,
        LLAMA,
        version(9553, 9553),
        "on the first day the target's context could become smaller than the drafter's, and the process crashed",
        "update llama.cpp past June 8, 2026, or give both the same -c",
    ),
    Known(
        "head-512",
        "Flash attention for E4B's drafter",
        Status.WARNING,
        LLAMA,
        both(version(None, 10090), two_queries_a_key),
        "before June 30, 2026 there is no CUDA or ROCm kernel for two query heads over a key head of 512 (abort in "
        "fattn.cu); on GTX 16xx the crash was still reported in b10090",
        "update llama.cpp, or use its Vulkan build",
    ),
    Known(
        "vram-full",
        "Loading when GPU memory is full",
        Status.NOTE,
        LLAMA,
        version(9553, 10628),
        "`invalid vector subscript` or `vector::_M_range_check ... 1 >= 1` in this build means that GPU memory was "
        "full when the drafter was loaded, not that the file is bad: add --tensor-split 1, a smaller -c or -ngld 0",
    ),
    Known(
        "fit-drops-mtp",
        "--fit and the drafter",
        Status.WARNING,
        LLAMA,
        both(version(9553, 9692), lambda _, host: host.settings.get("--fit") != "off"),
        "this build does not count the drafter when it fits a model into memory, and then runs without MTP",
        "set -c by hand, or --fit off",
    ),
    Known(
        "drafter-as-main",
        "-hf takes the drafter for the model",
        Status.WARNING,
        LLAMA,
        both(version(9871, 9987), option("--hf-repo")),
        "a repo's drafter whose name does not begin with lower-case `mtp-` can be chosen as the main model (`requires "
        "ctx_other to be set`)",
        "name the files with -m and -md, or rename the drafter to mtp-....gguf",
    ),
    Known(
        "tensor-split-one-head",
        "-sm tensor and one key head",
        Status.ERROR,
        LLAMA,
        both(option("--split-mode", "tensor"), one_key_head),
        "the target's full layers have one key head, which cannot be split over devices: llama.cpp aborts",
        "use --split-mode layer",
    ),
    Known(
        "tensor-split",
        "-sm tensor with a drafter",
        Status.WARNING,
        LLAMA,
        option("--split-mode", "tensor"),
        "with -sm tensor and a Gemma 4 drafter whole servers die on later prompts (fattn.cu), and naming a draft "
        "device stops it at loading",
        "use --split-mode layer, or leave the draft device out",
    ),
    Known(
        "draft-device",
        "Where the drafter is",
        Status.NOTE,
        LLAMA,
        either(option("--spec-draft-device"), option("--tensor-split")),
        "the drafter must be on the device that holds the target's last two layers, whose KV cache it reads; otherwise "
        "`pre-allocated tensor ... cannot run the operation`",
    ),
    Known(
        "plain-draft",
        "--spec-type draft-mtp is missing",
        Status.WARNING,
        LLAMA,
        plain_draft,
        "with -md alone the assistant is run as an ordinary draft model: `inconsistent sequence positions`, or no "
        "drafting",
        "add --spec-type draft-mtp",
    ),
    Known(
        "renamed-flags",
        "Flags of old forks",
        Status.ERROR,
        LLAMA,
        either(option("--mtp-head"), option("--draft-max"), option("--spec-type", "mtp")),
        "--mtp-head, --draft-max and --spec-type mtp are not known here",
        "write -md, --spec-draft-n-max and --spec-type draft-mtp",
    ),
    Known(
        "ngram",
        "ngram speculation beside MTP",
        Status.WARNING,
        LLAMA,
        lambda _, host: "ngram" in host.settings.get("--spec-type", ""),
        "combined with ngram speculation some builds are ten times slower",
        "use draft-mtp alone",
    ),
    Known(
        "long-drafts",
        "Length of drafts",
        Status.NOTE,
        None,
        long_drafts,
        "drafts this long rarely pay: up to 4 for dense targets, 1 or 2 for 26B-A4B",
    ),
    Known(
        "images",
        "Images",
        Status.NOTE,
        None,
        option("--mmproj"),
        "drafts are skipped on turns with images; the first builds with MTP abort on them",
    ),
    Known(
        "slots",
        "Several slots",
        Status.NOTE,
        LLAMA,
        slots_above_one,
        "with several slots mixed-up texts were reported (September 2026, cause unknown), and drafting pays less",
    ),
    Known(
        "quantized-cache",
        "Quantized KV cache",
        Status.NOTE,
        LLAMA,
        quantized_cache,
        "early builds drafted noise over a quantized KV cache; if hardly a draft is accepted, update or use f16",
    ),
    Known(
        "ik-one-slot",
        "Several slots",
        Status.WARNING,
        IK_LLAMA,
        slots_above_one,
        "ik_llama.cpp drops MTP silently with more than one slot",
        "use -np 1",
    ),
    Known(
        "ik-rotation",
        "-khad and -vhad",
        Status.WARNING,
        IK_LLAMA,
        either(option("--khad"), option("--vhad")),
        "the assistant does not rotate keys and values as the target does then: hardly a draft is accepted",
        "leave -khad and -vhad out",
    ),
    Known(
        "ik-eos",
        "Special tokens",
        Status.ERROR,
        IK_LLAMA,
        both(version(None, date(2026, 8, 14)), other_end),
        "ik_llama.cpp before August 15, 2026 refuses a drafter with another eos id (`special tokens must match`)",
        "update ik_llama.cpp",
    ),
    Known(
        "ik-12b",
        "Flash attention for 12B",
        Status.ERROR,
        IK_LLAMA,
        both(version(None, date(2026, 6, 3)), one_key_head),
        "ik_llama.cpp before June 4, 2026 aborts in flash attention with one key head in full layers",
        "update ik_llama.cpp",
    ),
    Known(
        "ik-acceptance",
        "Acceptance",
        Status.WARNING,
        IK_LLAMA,
        version(date(2026, 8, 7), date(2026, 8, 14)),
        "these builds hand over the hidden state of before the final norm: fewer drafts are accepted",
        "update ik_llama.cpp",
    ),
    Known(
        "ik-first-draft",
        "First draft",
        Status.NOTE,
        IK_LLAMA,
        version(None, date(2026, 7, 31)),
        "before August 1, 2026 the first draft after every prompt is wrong",
    ),
    Known(
        "atomic-slots",
        "Several slots",
        Status.ERROR,
        ATOMIC_FORK,
        both(version(None, date(2026, 6, 5)), slots_above_one),
        "before June 6, 2026 two slots abort after some tokens (ggml_reshape_3d)",
        "update the fork, or use -np 1",
    ),
    Known(
        "lmstudio",
        "LM Studio",
        Status.WARNING,
        "lmstudio",
        always,
        "LM Studio up to 0.4.20 does not offer separate Gemma 4 drafters, or runs them as ordinary draft models",
        "run llama-server with -md and --spec-type draft-mtp",
    ),
    Known(
        "ollama",
        "Ollama",
        Status.ERROR,
        "ollama",
        always,
        "Ollama has no MTP for GGUF files, only in its MLX engine",
        "use llama.cpp",
    ),
)


def known_problems(pair: Pair) -> Iterator[Result]:
    """The rows that apply to a pair (whose keys are right) on its host."""
    host = pair.host
    for row in KNOWN:
        if row.runtime in (None, host.runtime) and row.applies(pair, host):
            makers = {Status.ERROR: error, Status.WARNING: warning}
            maker = makers.get(row.status)
            finding = maker(row.message, row.remedy) if maker else note(row.message)
            yield Result(f"host-{row.id}", row.title, finding)
