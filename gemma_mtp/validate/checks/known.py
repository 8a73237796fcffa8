"""The table of what is known to go wrong with a runtime's version, with settings or with a GPU.

Each row: when it applies, what happens, what to do. Builds and dates are those of the first and the last version with
the problem, as reported in the runtimes' issue trackers or read in their sources until the row's day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from gemma_mtp.validate.checks.conditions import (
    Applies,
    both,
    drafter_is_named,
    either,
    for_12b,
    gpu,
    in_bf16,
    is_hidden,
    long_drafts,
    not_at_all,
    one_key_head,
    option,
    other_end,
    plain_draft,
    quantized_cache,
    since,
    slots_above_one,
    taken_for_a_model,
    two_queries_a_key,
    version,
)
from gemma_mtp.validate.findings import Status
from gemma_mtp.validate.host import ATOMIC_FORK, BUUN, IK_LLAMA, LLAMA

#: Until when the runtimes' trackers were read, and the day on which newer sources and reports were.
TRACKERS, SOURCES = date(2026, 9, 22), date(2026, 11, 26)


@dataclass(frozen=True)
class Known:
    """One known problem. runtime: None for any.

    versions: which builds are meant, in words. checked: the day on which that was looked up last.
    """

    id: str
    title: str
    status: Status
    runtime: str | None
    applies: Applies
    message: str
    remedy: str = ""
    versions: str = ""
    checked: date = TRACKERS


KNOWN: tuple[Known, ...] = (
    Known(
        "rejects-assistants",
        "Builds of September 1, 2026",
        Status.ERROR,
        LLAMA,
        version(10743, 10743),
        "this build stops at every Gemma 4 assistant with GGML_ASSERT(n_layer_nextn < n_layer_all)",
        "update llama.cpp; it was repaired on the same day",
        versions="b10743",
    ),
    Known(
        "first-merge",
        "Builds of June 7, 2026",
        Status.WARNING,
        LLAMA,
        version(9553, 9553),
        "on the first day the target's context could become smaller than the drafter's, and the process crashed",
        "update llama.cpp past June 8, 2026, or give both the same -c",
        versions="b9553",
    ),
    Known(
        "head-512",
        "Flash attention for E4B's drafter",
        Status.WARNING,
        LLAMA,
        both(version(None, 10090), two_queries_a_key),
        "before June 30, 2026 there is no CUDA or ROCm kernel for two query heads over a key head of 512 (abort in "
        "fattn.cu)",
        "update llama.cpp, or use its Vulkan build",
        versions="up to b10090",
    ),
    Known(
        "gtx-16",
        "E4B's drafter on GTX 16xx",
        Status.WARNING,
        LLAMA,
        both(gpu(r"\bgtx ?16\d\d"), two_queries_a_key),
        "on these GPUs the CUDA build was still reported to crash with such heads in July 2026 (b10090)",
        "use llama.cpp's Vulkan build",
        versions="seen up to b10090",
    ),
    Known(
        "old-gpu-bf16",
        "BF16 on an old GPU",
        Status.WARNING,
        LLAMA,
        both(gpu(r"\b(gtx? ?(6|7|9|10)\d\d|titan x|tesla [kmp]\d+|quadro [kmp]\d+|[kmp](40|60|80|100)\b)"), in_bf16),
        "GPUs up to Pascal cannot compute in BF16, and CUDA builds of July 2026 crash in the assistant's projections",
        "use an assistant in F16 or Q8_0",
        versions="seen in July 2026",
    ),
    Known(
        "radeon-igpu",
        "Integrated Radeon with Vulkan",
        Status.NOTE,
        None,
        gpu(r"\b(680m|890m)\b"),
        "random crashes (680M) and garbled text (890M) were reported with Vulkan, for the target alone as well: if it "
        "happens, try another driver, and compare with the drafter left out before the pair is blamed",
        versions="seen in summer 2026",
    ),
    Known(
        "vram-full",
        "Loading when GPU memory is full",
        Status.NOTE,
        LLAMA,
        version(9553, None),
        "`invalid vector subscript` or `vector::_M_range_check ... 1 >= 1` means in builds since June 2026 that GPU "
        "memory was full when the drafter was loaded, not that the file is bad: add --tensor-split 1, a smaller -c or "
        "-ngld 0",
        versions="since b9553",
    ),
    Known(
        "fit-drops-mtp",
        "--fit and the drafter",
        Status.WARNING,
        LLAMA,
        both(version(9553, 9692), lambda _, host: host.settings.get("--fit") != "off"),
        "this build does not count the drafter when it fits a model into memory, and then runs without MTP",
        "set -c by hand, or --fit off",
        versions="b9553 to b9692",
    ),
    Known(
        "drafter-as-main",
        "-hf takes the drafter for the model",
        Status.WARNING,
        LLAMA,
        both(either(option("--hf-repo"), option("--models-dir")), taken_for_a_model),
        "a drafter whose name has no lower-case `mtp-` counts as a model, and can be loaded in the target's place "
        "(`requires ctx_other to be set`)",
        "name the files with -m and -md, or rename the drafter to mtp-....gguf",
        versions="all since b9553",
        checked=SOURCES,
    ),
    Known(
        "drafter-not-found",
        "-hf finds no drafter",
        Status.WARNING,
        LLAMA,
        both(option("--hf-repo"), option("--spec-type", "draft-mtp"), not_at_all(drafter_is_named), is_hidden),
        "the drafter is looked for beside the target and above it, as `mtp-....gguf`; this one is not found (`model "
        "doesn't contain MTP layers`)",
        "name it with -md, or put it there under such a name",
        versions="all since b9553",
        checked=SOURCES,
    ),
    Known(
        "fit-line",
        "A line of the memory fitter",
        Status.NOTE,
        LLAMA,
        both(option("--fit"), not_at_all(option("--fit", "off"))),
        "`requires ctx_other to be set` in the log comes from the fitter, which opens the drafter alone: harmless if "
        "figures of draft acceptance follow",
        versions="all since b9553",
    ),
    Known(
        "embeddings",
        "--embeddings beside MTP",
        Status.NOTE,
        LLAMA,
        either(option("--embeddings"), option("--embedding")),
        "a server with --embeddings was reported to fail with a drafter (Windows, June 2026): if it does, leave it out",
        versions="seen in June 2026",
    ),
    Known(
        "preset-spec-type",
        "spec-type in a preset file",
        Status.NOTE,
        LLAMA,
        option("--models-preset"),
        "of several spec-type lines in a preset file only the last one counts",
        versions="all with presets",
        checked=SOURCES,
    ),
    Known(
        "router-folder",
        "--models-dir and the drafter",
        Status.WARNING,
        LLAMA,
        both(option("--models-dir"), not_at_all(option("--models-preset")), not_at_all(is_hidden)),
        "a router passes a mtp-....gguf that stands beside a model on as its draft model (b11434; b10434 did not), but "
        "no type, and nothing drafts: without a word, or b11549 does not load the model",
        "name a preset file with --models-preset, which `gemma-mtp export llama-router` writes",
        versions="all with --models-dir; b10434, b11434 and b11549 looked at",
        checked=SOURCES,
    ),
    Known(
        "router-type",
        "--spec-type for a whole router",
        Status.WARNING,
        LLAMA,
        both(either(option("--models-dir"), option("--models-preset")), option("--spec-type")),
        "a router gives --spec-type from its own command line to every model, and those without a drafter fail to "
        "start (`failed to create MTP context`)",
        "put spec-type = draft-mtp into the model's section of the preset file",
        versions="all with presets",
        checked=SOURCES,
    ),
    Known(
        "tensor-split-one-head",
        "-sm tensor and one key head",
        Status.ERROR,
        LLAMA,
        both(option("--split-mode", "tensor"), one_key_head),
        "the target's full layers have one key head, which cannot be split over devices: llama.cpp aborts",
        "use --split-mode layer",
        versions="all since b9553",
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
        versions="seen up to September 18, 2026",
        checked=SOURCES,
    ),
    Known(
        "draft-device",
        "Where the drafter is",
        Status.NOTE,
        LLAMA,
        either(option("--spec-draft-device"), option("--tensor-split")),
        "the drafter must be on the device that holds the target's last two layers with a KV cache of their own, which "
        "it reads; otherwise "
        "`pre-allocated tensor ... cannot run the operation`",
        versions="all since b9553",
    ),
    Known(
        "plain-draft",
        "--spec-type draft-mtp is missing",
        Status.WARNING,
        LLAMA,
        plain_draft,
        "with -md alone nothing drafts: the assistant is loaded and dropped without a word, or run as an ordinary "
        "draft model (`inconsistent sequence positions`); b11549 ends at loading (`requires a state embedding`). The "
        "same in every host that passes nothing but --model-draft on",
        "add --spec-type draft-mtp",
        versions="all since b9553",
        checked=SOURCES,
    ),
    Known(
        "renamed-flags",
        "Flags of old forks",
        Status.ERROR,
        LLAMA,
        either(option("--mtp-head"), option("--draft-max"), option("--spec-type", "mtp")),
        "--mtp-head, --draft-max and --spec-type mtp are not known here",
        "write -md, --spec-draft-n-max and --spec-type draft-mtp",
        versions="all since b9553",
    ),
    Known(
        "atomic-renamed-flags",
        "Flags of the old fork",
        Status.ERROR,
        ATOMIC_FORK,
        both(either(option("--mtp-head"), option("--draft-max"), option("--spec-type", "mtp")), since(10018)),
        "--mtp-head, --draft-max and --spec-type mtp were renamed in b10018",
        "write -md, --spec-draft-n-max and --spec-type draft-mtp",
        versions="since b10018",
    ),
    Known(
        "ngram",
        "ngram speculation beside MTP",
        Status.NOTE,
        LLAMA,
        lambda _, host: "ngram" in host.settings.get("--spec-type", ""),
        "combined with ngram speculation builds of June 2026 were ten times slower; with later ones "
        "draft-mtp,ngram-mod gained 15 % over MTP alone where text is copied, and nothing elsewhere: compare it with "
        "draft-mtp alone",
        versions="June to September 2026",
        checked=SOURCES,
    ),
    Known(
        "long-drafts",
        "Length of drafts",
        Status.NOTE,
        None,
        long_drafts,
        "drafts this long rarely pay: up to 4 for dense targets, 1 or 2 for 26B-A4B",
        versions="all",
    ),
    Known(
        "images",
        "Images",
        Status.NOTE,
        None,
        option("--mmproj"),
        "answers about images are drafted like others (b11549, tried); builds of June 2026 with MTP abort on an image",
        versions="all",
        checked=SOURCES,
    ),
    Known(
        "slots",
        "Several slots",
        Status.NOTE,
        LLAMA,
        slots_above_one,
        "with several slots mixed-up texts were reported (September 2026, cause unknown), and drafting pays less",
        versions="seen in September 2026",
    ),
    Known(
        "quantized-cache",
        "Quantized KV cache",
        Status.NOTE,
        LLAMA,
        quantized_cache,
        "early builds drafted noise over a quantized KV cache; if hardly a draft is accepted, update or use f16",
        versions="builds of June 2026",
    ),
    Known(
        "ik-one-slot",
        "Several slots",
        Status.WARNING,
        IK_LLAMA,
        slots_above_one,
        "ik_llama.cpp drops MTP silently with more than one slot",
        "use -np 1",
        versions="all",
    ),
    Known(
        "ik-rotation",
        "-khad and -vhad",
        Status.WARNING,
        IK_LLAMA,
        either(option("--khad"), option("--vhad")),
        "the assistant does not rotate keys and values as the target does then: hardly a draft is accepted",
        "leave -khad and -vhad out",
        versions="all",
    ),
    Known(
        "ik-eos",
        "Special tokens",
        Status.ERROR,
        IK_LLAMA,
        both(version(None, date(2026, 8, 14)), other_end),
        "ik_llama.cpp before August 15, 2026 refuses a drafter with another eos id (`special tokens must match`)",
        "update ik_llama.cpp",
        versions="before August 15, 2026",
    ),
    Known(
        "ik-12b",
        "Flash attention for 12B",
        Status.ERROR,
        IK_LLAMA,
        both(version(None, date(2026, 6, 3)), one_key_head),
        "ik_llama.cpp before June 4, 2026 aborts in flash attention with one key head in full layers",
        "update ik_llama.cpp",
        versions="before June 4, 2026",
    ),
    Known(
        "ik-acceptance",
        "Acceptance",
        Status.WARNING,
        IK_LLAMA,
        version(date(2026, 8, 7), date(2026, 8, 14)),
        "these builds hand over the hidden state of before the final norm: fewer drafts are accepted",
        "update ik_llama.cpp",
        versions="August 7 to 14, 2026",
    ),
    Known(
        "ik-first-draft",
        "First draft",
        Status.NOTE,
        IK_LLAMA,
        version(None, date(2026, 7, 31)),
        "before August 1, 2026 the first draft after every prompt is wrong",
        versions="before August 1, 2026",
    ),
    Known(
        "atomic-slots",
        "Several slots",
        Status.ERROR,
        ATOMIC_FORK,
        both(version(None, date(2026, 6, 5)), slots_above_one),
        "before June 6, 2026 two slots abort after some tokens (ggml_reshape_3d)",
        "update the fork, or use -np 1",
        versions="before June 6, 2026",
    ),
    Known(
        "atomic-all-mtp",
        "Models of MTP layers alone",
        Status.ERROR,
        ATOMIC_FORK,
        version(None, date(2026, 6, 9)),
        "until June 9, 2026 the fork makes no cache for a model of MTP layers alone (out_of_range while it reserves)",
        "update the fork",
        versions="until June 9, 2026",
    ),
    Known(
        "ik-plain-draft",
        "-mtp is missing",
        Status.WARNING,
        IK_LLAMA,
        both(option("--model-draft"), not_at_all(option("--mtp"))),
        "with -md alone the assistant is no MTP stage (`Gemma4 assistant models only support MTP stages`)",
        "add -mtp",
        versions="all",
    ),
    Known(
        "buun-12b",
        "12B's assistant",
        Status.ERROR,
        BUUN,
        both(version(date(2026, 9, 1), date(2026, 9, 30)), for_12b),
        "in September 2026 the fork put the target's embedding into the drafter (ggml_mul_mat assert, 1024 and 3840)",
        "update the fork",
        versions="September 2026",
    ),
    Known(
        "rpc-drafting",
        "Drafting over RPC",
        Status.WARNING,
        LLAMA,
        option("--rpc"),
        "where a part of the target is on another machine (--rpc), that machine's rpc-server was seen to end at the "
        "first drafts: Gemma's 26B-A4B with b10442 in August 2026, other drafters since May 2026; not repaired so far",
        "leave the drafter out, or run the target on one machine",
        versions="b9193 and b10442 were reported (issues 23242 and 27801), later ones unknown",
        checked=SOURCES,
    ),
    Known(
        "buun-slots",
        "Several slots",
        Status.WARNING,
        BUUN,
        both(version(None, date(2026, 8, 31)), slots_above_one),
        "until August 2026 only the first slot's drafts are made from the right state (3 % accepted in the others)",
        "update the fork, or use one slot",
        versions="until August 2026",
    ),
    Known(
        "lmstudio",
        "LM Studio",
        Status.WARNING,
        "lmstudio",
        lambda _, host: host.version is None or host.between(None, (0, 4, 20)) is not False,
        "LM Studio up to 0.4.20 does not offer separate Gemma 4 drafters, or runs them as ordinary draft models; later "
        "ones (the builds called Bionic 1.1.3, of September 2026) have settings for drafts, and whether these find "
        "Gemma's separate file is not known",
        "run llama-server with -md and --spec-type draft-mtp",
        versions="up to 0.4.20; later ones unknown",
        checked=SOURCES,
    ),
    Known(
        "ollama",
        "Ollama",
        Status.NOTE,
        "ollama",
        since((0, 32, 7)),
        "Ollama drafts from GGUF files since 0.32.7 (August 10, 2026), if the Modelfile names both: "
        "`FROM ./target.gguf`, `DRAFT ./assistant.gguf`, and for the length `PARAMETER draft_num_predict 3` (4 if it "
        "is left out, 0 for none)",
        versions="since 0.32.7",
        checked=SOURCES,
    ),
)
