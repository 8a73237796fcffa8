"""What words of llama.cpp's log (or a host's) mean, and what to do.

`child.py` asks this table about everything that goes wrong in native code, so that every command that runs some has its
answers: hence it stands down here. `gemma-mtp explain` reads a log against it, and the troubleshooting page is made
from it.

Read off llama.cpp's sources, off real deaths of it, and off reports in the runtimes' trackers until September 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gemma_mtp.advice import ASSISTANT, OTHER_ASSISTANT, OUTPUT, RECONVERT, TARGET, ours, quoted

NAMED = "`gemma-mtp verify {target} {assistant}` names what is wrong"
LESS_MEMORY = (
    "use a smaller context (-c), a KV cache of fewer bits (--cache-type q8_0; llama-server: -ctk q8_0 -ctv q8_0), or "
    "smaller files"
)
INTO_MAINLINE = f"`gemma-mtp convert {{assistant}} -o {OUTPUT}`"
DOCTOR = ours("doctor")


@dataclass(frozen=True)
class Cause:
    """One way to fail.

    shown: the words that people see and search for. words: the same as a regular expression.
    remedy: what to do, with {target} and {assistant} where a command names the files.
    signals: deaths of the process that mean it where no words are known.
    environment: whether the machine or its installation is at fault, not the files (exit code 3).
    portable: whether a build of llama.cpp without code for the building machine's CPU is the cure.
    """

    shown: str
    cause: str
    remedy: str
    words: str = ""
    signals: tuple[str, ...] = ()
    environment: bool = False
    portable: bool = False

    def told(self, target: str | Path | None = None, assistant: str | Path | None = None) -> str:
        """The remedy for these files; placeholders stand for those that are not known."""
        return self.remedy.format(target=quoted(target or TARGET), assistant=quoted(assistant or ASSISTANT))


NO_MEMORY = Cause(
    "failed to allocate buffer; out of memory; std::bad_alloc",
    "there was not enough memory",
    LESS_MEMORY,
    r"(?i:failed to allocate|out of memory|mem_buffer|bad_alloc|could not be allocated|cannot allocate memory|"
    r"mmap failed|ErrorOutOf(Device|Host)Memory)",
    environment=True,
)

#: The first that fits is taken: particular ones before general ones.
CAUSES: tuple[Cause, ...] = (
    Cause(
        "vector::_M_range_check: __n (which is 0) >= this->size() (which is 0)",
        "the assistant has `masked_embd_*` tensors, which llama.cpp knows by name but cannot load",
        f"{INTO_MAINLINE} moves the centroid head into metadata",
        r"which is 0\) >= this->size\(\) \(which is 0\)",
    ),
    Cause(
        "vector::_M_range_check: __n (which is 1) >= this->size() (which is 1)",
        "GPU memory was full when the drafter was loaded; the file is fine",
        "a smaller context (-c), or fewer layers on the GPU (-ngl); llama-server: --tensor-split 1 (one GPU) or "
        "explicit shares, or keep the drafter off the GPU (-ngld 0)",
        r"which is 1\) >= this->size\(\) \(which is 1\)",
    ),
    Cause(
        "invalid vector subscript",
        "on Windows this is either of the two: `masked_embd_*` tensors in the assistant, or GPU memory that was full",
        "`gemma-mtp verify {target} {assistant}` tells whether the tensors are there; if not: a smaller context (-c); "
        "llama-server: --tensor-split 1",
        r"invalid vector subscript",
    ),
    Cause(
        "unknown model architecture: 'gemma4_assistant' (or 'gemma4_mtp')",
        "the assistant is written in the dialect of another runtime: of Atomic's old fork (gemma4_assistant), or of "
        "ik_llama.cpp (gemma4_mtp)",
        f"{INTO_MAINLINE} writes it as llama.cpp and what is built on it read it",
        r"unknown model architecture: '?gemma4_(assistant|mtp)|predates the b10018 sync",
    ),
    Cause(
        "unknown model architecture: 'gemma4-assistant'",
        "the assistant is in mainline's form, and the runtime is older than that (llama.cpp b9553 of June 7, 2026)",
        "update the runtime; for ik_llama.cpp since May 10, 2026 also "
        f"`gemma-mtp convert {{assistant}} -o {OUTPUT} --dialect ik`",
        r"unknown model architecture: '?gemma4-assistant",
    ),
    Cause(
        "unknown model architecture: '...'",
        "this runtime is older than the model, or the model is no Gemma 4 pair",
        f"update the runtime; {NAMED}",
        r"unknown model architecture",
    ),
    Cause(
        "MTP input row width must match the target h_nextn width",
        "the assistant belongs to a target of another width, that is of another size",
        OTHER_ASSISTANT,
        r"h_nextn width",
    ),
    Cause(
        "Gemma4Assistant requires ctx_other to be set",
        "an assistant was loaded as the main model; from llama.cpp's memory fitter the line is harmless",
        "give the target with -m and the assistant with -md, or rename the assistant to mtp-....gguf, lower case",
        r"ctx_other",
    ),
    Cause(
        "context type MTP requested but model doesn't contain MTP layers",
        "no drafter was found beside the target (`-hf` does not look into folders such as MTP/), so the target was "
        "taken for its own drafter",
        "name the assistant with -md",
        r"doesn't contain MTP layers",
    ),
    Cause(
        "GGML_ASSERT(n_layer_nextn < n_layer_all) failed",
        "builds of September 1, 2026 (b10743) stop at every Gemma 4 assistant",
        "update llama.cpp",
        r"n_layer_nextn < n_layer_all",
    ),
    Cause(
        "n_layer_nextn must be == n_layer_impl",
        "the assistant's header says that not all of its layers are MTP layers",
        RECONVERT,
        r"n_layer_nextn must be",
    ),
    Cause(
        "requires embedding_length_out to carry the target hidden size",
        "the assistant does not say which target width it belongs to",
        RECONVERT,
        r"requires embedding_length_out",
    ),
    Cause(
        "wrong number of tensors; expected 49, got 51",
        "the file has tensors that llama.cpp does not know, or was made for another runtime",
        f"{NAMED}; {RECONVERT}",
        r"wrong number of tensors",
    ),
    Cause(
        "missing tensor 'rope_freqs.weight' (or another); tensor '...' has wrong shape",
        "the file is incomplete, damaged, or was made for another runtime",
        f"{NAMED}; {RECONVERT}",
        r"missing tensor|has wrong shape|key not found in model|wrong type",
    ),
    Cause(
        "tensor '...' data is not within the file bounds, model is corrupted or incomplete",
        "the file was cut off",
        "download or copy it again; `gemma-mtp verify {target} {assistant} --hub owner/repo` compares its hash",
        r"not within the file bounds|failed to read|unexpectedly reached end of file",
    ),
    Cause(
        "fattn.cu: fatal error",
        "this build lacks a flash-attention kernel for these heads (E4B's drafter on CUDA, ROCm before June 30, 2026), "
        "or -sm tensor is used with a drafter",
        "update llama.cpp, use its Vulkan build, or --split-mode layer",
        r"fattn\.cu",
    ),
    Cause(
        "src_ss[0].axis != GGML_BACKEND_SPLIT_AXIS_0",
        "12B's full layers have one key head, which -sm tensor cannot split over devices",
        "use --split-mode layer",
        r"src_ss\[0\]\.axis",
    ),
    Cause(
        "pre-allocated tensor (cache_k_l58) in a buffer (...) that cannot run the operation (NONE)",
        "the drafter is on another device than the KV cache that it reads",
        "put the drafter where the target's last two layers are (--spec-draft-device), or leave the draft device out",
        r"cannot run the operation",
    ),
    Cause(
        "draft model special tokens must match the target model",
        "ik_llama.cpp before August 15, 2026 compares eos ids, which differ in the official files; harmless",
        "update ik_llama.cpp",
        r"special tokens must match",
    ),
    Cause(
        "GGML_ASSERT(ubatch->embd_state && ...) failed: this graph requires a state embedding",
        "the assistant was loaded as a draft model without the type that it is for (builds since autumn 2026, such as "
        "b11549; earlier ones drop it without a word)",
        "add --spec-type draft-mtp; in a router's preset file: spec-type = draft-mtp",
        r"requires a state embedding",
    ),
    Cause(
        "inconsistent sequence positions; failed to process speculative batch",
        "the host runs the assistant as an ordinary draft model",
        "run llama-server with --spec-type draft-mtp",
        r"inconsistent sequence positions|failed to process speculative batch",
    ),
    Cause(
        "Killed (exit code 137, SIGKILL)",
        "it was killed from outside, which is what a system does to a process for which memory runs out",
        f"{LESS_MEMORY}; the system's log (dmesg) says whether that was it",
        r"(?i:oom-kill|killed process|\bSIGKILL\b|exit(ed with)?( code)? 137\b)|(?m:^Killed\b)",
        ("SIGKILL",),
        environment=True,
    ),
    NO_MEMORY,
    Cause(
        "what(): Resource temporarily unavailable",
        "a thread could not be started: memory, or the number of threads, is limited here",
        "raise the limit (--memory-limit, ulimit, the container's), or give it fewer --threads",
        r"what\(\): +Resource temporarily unavailable",
        environment=True,
    ),
    Cause(
        "CUDA error: no kernel image is available for execution on the device",
        "this llama.cpp was built for other GPUs than the one that is here",
        'build it for this one: CMAKE_ARGS="-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=native"',
        r"no kernel image is available|invalid device function",
        environment=True,
    ),
    Cause(
        "CUDA driver version is insufficient for CUDA runtime version",
        "this llama.cpp was built with a newer CUDA than the installed driver knows",
        "update the GPU's driver, or build llama.cpp with an older CUDA",
        r"driver version is insufficient|provided PTX was compiled with an unsupported toolchain",
        environment=True,
    ),
    Cause(
        "CUDA error: ... (or ROCm error, ErrorDeviceLost)",
        "a call to the GPU failed; the line says which and why",
        "update the GPU's driver and llama.cpp; with --gpu-layers 0 (`doctor`: with CUDA_VISIBLE_DEVICES=-1 or "
        "HIP_VISIBLE_DEVICES=-1 in the environment) it shows whether it works without the GPU",
        r"(CUDA|ROCm|MUSA) error|ErrorDeviceLost",
        environment=True,
    ),
    Cause(
        "ggml_cuda_init: failed to initialize CUDA",
        "llama.cpp found no GPU that it can use, and computes on the CPU alone",
        "see whether nvidia-smi finds the GPU; in a container the GPU has to be passed in (docker run --gpus all)",
        r"failed to initialize (CUDA|ROCm)",
        environment=True,
    ),
    Cause(
        "error while loading shared libraries: lib...: cannot open shared object file",
        "a library that this llama.cpp was built with is not on this machine, or not where it is looked for",
        "install what the line names (libcudart, libcublas: the CUDA runtime of that version), or build llama.cpp here",
        r"cannot open shared object file",
        environment=True,
    ),
    Cause(
        "Illegal instruction",
        "this llama.cpp was built for another CPU",
        f"{DOCTOR} says how to build a portable one",
        r"(?i:illegal instruction)",
        ("SIGILL", "illegal instruction"),
        environment=True,
        portable=True,
    ),
    Cause(
        "Bus error",
        "a file changed, became shorter or could not be read while it was mapped into memory",
        "copy the file to a local disk, and do not write to it while it is in use",
        r"(?i:bus error)",
        ("SIGBUS",),
    ),
    Cause(
        "Segmentation fault in ggml_backend_amx_mul_mat, at the first prompt",
        "this llama.cpp build crashes on this CPU's AMX unit",
        f"{DOCTOR} finds the settings that avoid it; or build with CMAKE_ARGS=-DGGML_NATIVE=OFF",
        r"backend_amx",
        environment=True,
        portable=True,
    ),
)
_ANY = re.compile("|".join(f"(?:{one.words})" for one in CAUSES if one.words))
#: What is in every text that has the words of a cause, in small letters. These take a tenth of the time to look for.
_SIGNS = (
    *("this->size()", "invalid vector subscript", "unknown model architecture", "predates the b10018 sync"),
    *("h_nextn width", "ctx_other", "contain mtp layers", "n_layer_nextn", "embedding_length_out"),
    *("wrong number of tensors", "missing tensor", "has wrong shape", "key not found in model", "wrong type"),
    *("not within the file bounds", "failed to read", "unexpectedly reached end of file", "fattn.cu", "src_ss[0].axis"),
    *("cannot run the operation", "special tokens must match", "requires a state embedding"),
    *("inconsistent sequence positions", "failed to process speculative batch", "oom-kill", "killed", "sigkill"),
    *("exit 137", "exit code 137", "exited with 137", "exited with code 137", "failed to allocate", "out of memory"),
    *("mem_buffer", "bad_alloc", "could not be allocated", "cannot allocate memory", "mmap failed", "erroroutof"),
    *("what(): ", "no kernel image is available", "invalid device function", "driver version is insufficient"),
    *("provided ptx was compiled", "cuda error", "rocm error", "musa error", "errordevicelost"),
    *("failed to initialize", "cannot open shared object file", "illegal instruction", "bus error", "backend_amx"),
)


def may_mean(text: str) -> bool:
    """Whether some lines of a log are worth a look: False only where no cause has its words."""
    small = text.lower()
    return any(sign in small for sign in _SIGNS)


def meaning(line: str) -> Cause | None:
    """The first cause whose words are in a line of a log; None if it says nothing that is known."""
    if not _ANY.search(line):
        return None
    return next(one for one in CAUSES if one.words and re.search(one.words, line))


def explain(signal_name: str, text: str) -> Cause | None:
    """What is known about a death by this signal (empty: none) with this text; None if nothing is."""
    by_words = next((one for one in CAUSES if one.words and re.search(one.words, text)), None)
    return by_words or next((one for one in CAUSES if signal_name in one.signals), None)


def said_so(cause: Cause, lines: tuple[str, ...]) -> str | None:
    """The last of the lines that holds a cause's words; None if it was known by the signal."""
    return next((line for line in reversed(lines) if cause.words and re.search(cause.words, line)), None)
