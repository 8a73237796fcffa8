"""What goes where: llama.cpp's options for devices and buffers, by its own names, in one table.

The command line, the settings, `verify --settings` and the line for llama-server are all made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

from gemma_mtp.errors import UsageError

#: llama.cpp's `enum llama_split_mode` and `enum llama_load_mode` (llama.h), by the words of its command line.
SPLIT_MODES = {"none": 0, "layer": 1, "row": 2, "tensor": 3}
LOAD_MODES = {"auto": -1, "none": 0, "mmap": 1, "mlock": 2, "mmap+mlock": 3, "dio": 4}
#: The experts' weights of a layer (common.h, `LLM_FFN_EXPS_REGEX`).
EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
#: The name of no device at all, and of what is then left.
NONE, CPU = "none", "CPU"


@dataclass(frozen=True)
class Option:
    """One option. field: of ModelSettings or ContextSettings. names: llama-server's long one first.

    kind: int, str, bool (a switch), float (several, with commas between them) or list (may be given several times).
    """

    field: str
    names: tuple[str, ...]
    kind: type
    help: str

    def read(self, text: str) -> Any:
        """A value of its field, from a command line. Raises UsageError."""
        try:
            if self.kind is bool:
                return True
            if self.kind is list:
                return tuple(part for part in text.split(",") if part)
            if self.kind is float:
                return tuple(map(float, text.replace("/", ",").split(",")))
            return self.kind(text)
        except ValueError:
            raise UsageError(f"{self.names[0]} is {text!r}, a number is needed") from None

    def said(self, value: Any) -> list[str]:
        """The words for llama-server."""
        if self.kind is bool:
            return [self.names[0]]
        if self.kind in (list, float):
            value = ",".join(f"{part:g}" if self.kind is float else part for part in value)
        return [self.names[0], str(value)]


OPTIONS = (
    Option("n_cpu_moe", ("--n-cpu-moe", "-ncmoe"), int, "Keep the experts of the first so many layers in RAM."),
    Option("override_tensor", ("--override-tensor", "-ot"), list, "PATTERN=DEVICE: where tensors of such names go."),
    Option("split_mode", ("--split-mode", "-sm"), str, f"How GPUs share a model: {', '.join(SPLIT_MODES)}."),
    Option("tensor_split", ("--tensor-split", "-ts"), float, "The GPUs' shares of a model, as 3,1."),
    Option("main_gpu", ("--main-gpu", "-mg"), int, "The GPU that takes it all with --split-mode none."),
    Option("device", ("--device", "-dev"), str, "Devices to use, as CUDA0,CUDA1; none: no GPU."),
    Option(
        "gpu_layers_draft",
        ("--gpu-layers-draft", "--spec-draft-ngl", "-ngld"),
        int,
        "The drafter's layers in GPU memory.",
    ),
    Option(
        "device_draft",
        ("--device-draft", "--spec-draft-device", "-devd"),
        str,
        "The drafter's devices. Default: the target's.",
    ),
    Option("load_mode", ("--load-mode", "-lm"), str, f"How a file gets into memory: {', '.join(LOAD_MODES)}."),
    Option("threads_batch", ("--threads-batch", "-tb"), int, "Threads for prompts. Default: as --threads."),
    Option("ubatch", ("--ubatch-size", "--ubatch", "-ub"), int, "Tokens that are computed at once. Default: --batch."),
    Option("swa_full", ("--swa-full",), bool, "Sliding layers keep the whole context."),
    Option("kv_unified", ("--kv-unified", "-kvu"), bool, "One KV cache for all sequences."),
)


def chosen(settings: Any) -> dict[str, Any]:
    """Of ModelSettings or ContextSettings what the table has and is not as it is by default."""
    usual = {one.name: _default(one) for one in fields(settings)}
    values = {one.field: getattr(settings, one.field) for one in OPTIONS if one.field in usual}
    return {name: value for name, value in values.items() if value != usual[name]}


def _default(field: Field[Any]) -> Any:
    return None if field.default is MISSING else field.default


def server_words(*settings: Any) -> list[str]:
    """What of these settings llama-server is told, in its words."""
    found = {name: value for one in settings for name, value in chosen(one).items()}
    return [word for option in OPTIONS if option.field in found for word in option.said(found[option.field])]


def read(said: Mapping[str, str]) -> dict[str, Any]:
    """Fields from a command line's options, in any of their spellings. Raises UsageError."""
    return {
        option.field: option.read(said[name]) for option in OPTIONS for name in reversed(option.names) if name in said
    }


def belonging(values: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Those of the values that are fields of this class of settings."""
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def overrides(n_cpu_moe: int, override_tensor: Iterable[str]) -> list[tuple[str, str]]:
    """(pattern, device) for tensors' names, in llama.cpp's order: the first that is found in a name counts."""
    given = [(text.rpartition("=")[0], text.rpartition("=")[2]) for text in override_tensor]
    return given + [(rf"blk\.{layer}{EXPERTS}", CPU) for layer in range(n_cpu_moe)]


def stands_wrong(
    device: str | None, device_draft: str | None, split_mode: str, main_gpu: int, *, at_the_end: bool
) -> str | None:
    """Where the drafter has to be, if it is said to be elsewhere; None if it is right, or not known.

    It reads the KV cache of the target's last two layers with one of their own, and llama.cpp cannot from another
    device. at_the_end: these are the last layers of all, which are on the last device that is named; of other targets,
    and as long as nobody has seen the target, they may be on any. With the split mode none all are on the main one.
    """
    if device is None or device_draft is None:
        return None
    named = device.split(",")
    if split_mode == NONE:
        named = [named[min(main_gpu, len(named) - 1)]]
    possible = named[-1:] if at_the_end else named
    return None if {*possible} & {*device_draft.split(",")} else possible[-1]
