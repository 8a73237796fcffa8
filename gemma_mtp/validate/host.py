"""What a user says about the host: the runtime with its version, and the settings it is started with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from gemma_mtp.errors import UsageError, meant
from gemma_mtp.native.placement import LOAD_MODES, SPLIT_MODES, belonging, read
from gemma_mtp.native.placement import OPTIONS as PLACEMENT
from gemma_mtp.native.settings import CACHE_TYPES, FLASH_ATTENTION, TRAINED, ContextSettings, ModelSettings

#: A build number (b10743 -> 10743), a release (1.115 -> (1, 115)), or the day of a build where there are neither.
Version = int | date | tuple[int, ...]

LLAMA, IK_LLAMA, ATOMIC_FORK, BUUN = "llama.cpp", "ik_llama.cpp", "atomic", "buun"
#: Runtime -> other spellings of its name.
RUNTIMES = {
    LLAMA: ("llamacpp", "llama-server", "llama"),
    IK_LLAMA: ("ik", "ik_llama"),
    ATOMIC_FORK: ("atomicchat", "atomic-llama-cpp-turboquant"),
    "lmstudio": ("lm-studio", "lms"),
    "ollama": (),
    "koboldcpp": ("kobold",),
    BUUN: ("buun-llama-cpp",),
}
#: Engines that take no GGUF, or draft in another way -> what there is to say.
NOT_COVERED = {
    "vllm": "vLLM takes Google's checkpoints and no GGUF",
    "sglang": "SGLang takes Google's checkpoints and no GGUF",
    "transformers": "transformers takes Google's checkpoints and no GGUF",
    "mlxvlm": "mlx-vlm takes MLX folders and no GGUF",
    "mlxlm": "mlx-lm takes MLX folders and no GGUF",
    "omlx": "oMLX takes MLX folders and no GGUF",
}
#: Programs that start llama.cpp's own server.
BUILT_ON_LLAMA = (
    "jan",
    "localai",
    "ramalama",
    "dockermodelrunner",
    "llamaswap",
    "textgenerationwebui",
    "unslothstudio",
)
#: Words for whatever is newest.
NEWEST = ("latest", "newest", "rolling", "master", "main", "nightly")
#: Kind of a version -> how it is written.
FORMS: dict[type, str] = {int: "builds (b10743)", date: "days (2026-08-01)", tuple: "releases (1.115)"}
_BUILD, _DAY = re.compile(r"b?(\d{3,6})"), re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_RELEASE = re.compile(r"v?(\d+(?:\.\d+)+)")

#: Short options of llama-server -> their long form, as far as anything here depends on them.
LONG_FORMS = {
    "-sm": "--split-mode",
    "-np": "--parallel",
    "-ts": "--tensor-split",
    "-md": "--model-draft",
    "--spec-draft-model": "--model-draft",
    "-ctk": "--cache-type-k",
    "-ctv": "--cache-type-v",
    "-khad": "--khad",
    "-vhad": "--vhad",
    "-fit": "--fit",
    "-mtp": "--mtp",
    "-hf": "--hf-repo",
    "-devd": "--spec-draft-device",
    "--device-draft": "--spec-draft-device",
    "-mm": "--mmproj",
    "-hfr": "--hf-repo",
    "-hfd": "--hf-repo-draft",
    "-hfrd": "--hf-repo-draft",
    "--draft": "--draft-max",
    "-c": "--ctx-size",
    "-ngl": "--gpu-layers",
    "--n-gpu-layers": "--gpu-layers",
    "-nr": "--no-repack",
    "--ctx": "--ctx-size",
    "-b": "--batch-size",
    "-ub": "--ubatch-size",
    "-fa": "--flash-attn",
}
#: Fields of ModelSettings that say something only where there is a GPU.
ON_GPU = ("n_cpu_moe", "override_tensor", "split_mode", "tensor_split", "main_gpu", "device", "gpu_layers_draft")
#: All options that something here depends on.
OPTIONS = (
    "--chat-template-file",
    *sorted({*LONG_FORMS.values(), *(name for option in PLACEMENT for name in option.names)}),
    "--embedding",
    "--embeddings",
    "--models-dir",
    "--models-preset",
    "--mtp-head",
    "--rpc",
    "--spec-draft-n-max",
    "--spec-type",
)


@dataclass(frozen=True)
class Host:
    """runtime: a key of RUNTIMES. version: None if not said, which is taken for the newest.

    settings: options in their long form -> value (empty for a switch). gpu: its name, as the user writes it.
    """

    runtime: str = LLAMA
    version: Version | None = None
    said: bool = False  # whether a runtime was named at all
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    gpu: str = ""

    @property
    def unused(self) -> tuple[str, ...]:
        """Settings that nothing here depends on."""
        return tuple(option for option in self.settings if option not in OPTIONS)

    def between(self, since: Version | None, until: Version | None) -> bool | None:
        """Whether the version is since .. until, both included; None if it is of another kind than these."""
        if self.version is None:
            return until is None
        bounds = [bound for bound in (since, until) if bound is not None]
        if any(type(bound) is not type(self.version) for bound in bounds):
            return None
        number = self.version
        return (since is None or since <= number) and (until is None or number <= until)  # type: ignore[operator]

    def number(self, option: str, default: int) -> int:
        text = self.settings.get(option, "")
        return int(text) if text.isdecimal() else default


def parse_host(runtime: str | None = None, settings: str | None = None, gpu: str | None = None) -> Host:
    """`--runtime NAME[@VERSION]`, `--settings "OPTIONS"` and `--gpu NAME`. Raises UsageError."""
    options = MappingProxyType(parse_settings(settings or ""))
    if runtime is None:
        return Host(settings=options, gpu=gpu or "")
    name, _, version = runtime.partition("@")
    plain = _plain(name)
    known = next((key for key, others in RUNTIMES.items() if plain in map(_plain, (key, *others))), None)
    if known is None:
        raise _unknown_runtime(name, plain)
    return Host(known, parse_version(version) if version else None, True, options, gpu or "")


def _plain(name: str) -> str:
    """A runtime's name without what people write differently: LM Studio, lm-studio, lmstudio."""
    return re.sub(r"[\s._-]+", "", name.lower())


def _unknown_runtime(name: str, plain: str) -> UsageError:
    if plain in NOT_COVERED:
        return UsageError(
            f"{NOT_COVERED[plain]}; this tool is about GGUF files",
            where=name,
            hint="leave --runtime out to check the files for llama.cpp",
        )
    if plain in BUILT_ON_LLAMA:
        return UsageError(
            "nothing is known here about this program beyond the llama.cpp in it",
            where=name,
            hint=f"say which one that is, for instance --runtime {LLAMA}@b10743",
        )
    return UsageError(
        f"the runtime {name!r} is unknown",
        hint=f"{meant(plain, RUNTIMES)} choose one of {', '.join(RUNTIMES)}".lstrip(),
    )


def parse_version(text: str) -> Version | None:
    """b10743, 10743, 1.115 or 2026-09-01; None for the newest. Raises UsageError: none of these, or no date."""
    if text.lower() in NEWEST:
        return None
    if day := _DAY.fullmatch(text):
        try:
            return date(*map(int, day.groups()))
        except ValueError:
            raise UsageError(f"{text} is no date") from None
    if release := _RELEASE.fullmatch(text):
        return tuple(map(int, release[1].split(".")))
    if build := _BUILD.fullmatch(text):
        return int(build[1])
    raise UsageError(f"{text!r} is no version", hint=f"write one of {', '.join(FORMS.values())}, or latest")


def foreign_caches(host: Host) -> dict[str, str]:
    """Options for the KV cache's types whose value is none that llama.cpp has."""
    names = ("--cache-type-k", "--cache-type-v")
    return {name: host.settings[name] for name in names if host.settings.get(name, "f16") not in CACHE_TYPES}


def context_for(host: Host, size: int | None = None, cache_type: str | None = None) -> ContextSettings:
    """What memory is estimated for: what is named here, or else what the host's settings say, or else the defaults.

    A type of cache in the settings that a fork alone has counts as f16. Raises UsageError: a cache_type that llama.cpp
    does not have, or one that does not go with the rest.
    """
    placed, usual = read(host.settings), ContextSettings()
    if "--batch-size" in host.settings:
        placed.setdefault("ubatch", usual.batch)
    batch = host.number("--batch-size", placed.get("ubatch", usual.batch))
    if placed.get("ubatch") == batch:
        del placed["ubatch"]
    said = {**host.settings, **dict.fromkeys(foreign_caches(host), "f16")}
    asked = host.number("--ctx-size", usual.size) or TRAINED  # -c 0: as long as the model was trained for
    attention = said.get("--flash-attn", usual.flash_attention) or "on"
    return ContextSettings(
        size or asked,
        batch,
        cache_k=cache_type or said.get("--cache-type-k", usual.cache_k),
        cache_v=cache_type or said.get("--cache-type-v", usual.cache_v),
        flash_attention=attention if attention in FLASH_ATTENTION else usual.flash_attention,
        **belonging(placed, ContextSettings),
    )


def model_for(host: Host) -> ModelSettings:
    """How models are loaded there, as far as the host's settings say; modes that a fork alone has count for nothing.

    Raises UsageError.
    """
    said = host.settings.get("--gpu-layers", "all")
    layers = int(said) if said.lstrip("-").isdecimal() else -1
    placed = belonging(read(host.settings), ModelSettings)
    for name, known in (("split_mode", SPLIT_MODES), ("load_mode", LOAD_MODES)):
        if placed.get(name) not in known:
            placed.pop(name, None)
    return ModelSettings(layers, "--no-repack" not in host.settings, **placed)


def places_on_gpu(host: Host) -> bool:
    """Whether somebody says that there is a GPU, by its name or by what is kept there."""
    names = {name for option in PLACEMENT if option.field in ON_GPU for name in option.names}
    return bool(host.gpu) or "--gpu-layers" in host.settings or not names.isdisjoint(host.settings)


def parse_settings(text: str) -> dict[str, str]:
    """A command line's options -> values. Raises UsageError for unbalanced quotes."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"the settings {text!r} cannot be read: {error}") from error
    found: dict[str, str] = {}
    option = None
    for word in words:
        if word.startswith("-") and not word.lstrip("-")[:1].isdecimal():
            option, _, value = word.partition("=")
            option = LONG_FORMS.get(option, option)
            found[option] = value
        elif option is not None:
            found[option] = word
            option = None
    return found
