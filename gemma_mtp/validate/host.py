"""What a user says about the host: the runtime with its version, and the settings it is started with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from gemma_mtp.errors import UsageError, meant

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
_BUILD, _DAY = re.compile(r"b?(\d{3,6})"), re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_RELEASE = re.compile(r"v?(\d+(?:\.\d+)+)")

#: Short options of llama-server -> their long form, as far as anything here depends on them.
LONG_FORMS = {
    "-sm": "--split-mode",
    "-np": "--parallel",
    "-ts": "--tensor-split",
    "-md": "--model-draft",
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
}


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


def parse_host(runtime: str | None, settings: str | None, gpu: str | None = None) -> Host:
    """`--runtime NAME[@VERSION]`, `--settings "OPTIONS"` and `--gpu NAME`. Raises UsageError."""
    options = MappingProxyType(parse_settings(settings or ""))
    if runtime is None:
        return Host(settings=options, gpu=gpu or "")
    name, _, version = runtime.partition("@")
    spelled = name.lower().replace(" ", "")
    known = next((key for key, others in RUNTIMES.items() if spelled in (key, *others)), None)
    if known is None:
        hint = f"{meant(spelled, RUNTIMES)} choose one of {', '.join(RUNTIMES)}".lstrip()
        raise UsageError(f"the runtime {name!r} is unknown", hint=hint)
    return Host(known, parse_version(version) if version else None, True, options, gpu or "")


def parse_version(text: str) -> Version | None:
    """b10743, 10743, 1.115 or 2026-09-01; None for a version of another form. Raises UsageError for an odd date."""
    if day := _DAY.fullmatch(text):
        try:
            return date(*map(int, day.groups()))
        except ValueError:
            raise UsageError(f"{text} is no date") from None
    if release := _RELEASE.fullmatch(text):
        return tuple(map(int, release[1].split(".")))
    build = _BUILD.fullmatch(text)
    return int(build[1]) if build else None


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
