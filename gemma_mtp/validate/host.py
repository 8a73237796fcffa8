"""What a user says about the host: the runtime with its version, and the settings it is started with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from gemma_mtp.errors import UsageError

#: A build number (b10743 -> 10743), or the day of a build for runtimes that have no numbers.
Version = int | date

#: Runtime -> other spellings of its name.
RUNTIMES = {
    "llama.cpp": ("llamacpp", "llama-server", "llama"),
    "ik_llama.cpp": ("ik", "ik_llama"),
    "atomic": ("atomicchat", "atomic-llama-cpp-turboquant"),
    "lmstudio": ("lm-studio", "lms"),
    "ollama": (),
    "koboldcpp": ("kobold",),
}
_BUILD, _DAY = re.compile(r"b?(\d{3,6})"), re.compile(r"(\d{4})-(\d\d)-(\d\d)")

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
    "--draft": "--draft-max",
}


@dataclass(frozen=True)
class Host:
    """runtime: a key of RUNTIMES. version: None if not said, which is taken for the newest.

    settings: options in their long form -> value (empty for a switch).
    """

    runtime: str = "llama.cpp"
    version: Version | None = None
    said: bool = False  # whether a runtime was named at all
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def between(self, since: Version | None, until: Version | None) -> bool | None:
        """Whether the version is since .. until, both included; None if it is of another kind than these."""
        if self.version is None:
            return until is None
        bounds = [bound for bound in (since, until) if bound is not None]
        if any(type(bound) is not type(self.version) for bound in bounds):
            return None
        number = _ordinal(self.version)
        return (since is None or _ordinal(since) <= number) and (until is None or number <= _ordinal(until))

    def number(self, option: str, default: int) -> int:
        text = self.settings.get(option, "")
        return int(text) if text.isdecimal() else default


def _ordinal(version: Version) -> int:
    return version if isinstance(version, int) else version.toordinal()


def parse_host(runtime: str | None, settings: str | None) -> Host:
    """`--runtime NAME[@VERSION]` and `--settings "OPTIONS"`. Raises UsageError."""
    options = MappingProxyType(parse_settings(settings or ""))
    if runtime is None:
        return Host(settings=options)
    name, _, version = runtime.partition("@")
    known = next((key for key, others in RUNTIMES.items() if name.lower() in (key, *others)), None)
    if known is None:
        raise UsageError(f"the runtime {name!r} is unknown", hint=f"choose one of {', '.join(RUNTIMES)}")
    return Host(known, parse_version(version) if version else None, True, options)


def parse_version(text: str) -> Version | None:
    """b10743, 10743 or 2026-09-01; None for a version of another form (1.115). Raises UsageError for an odd date."""
    if day := _DAY.fullmatch(text):
        try:
            return date(*map(int, day.groups()))
        except ValueError:
            raise UsageError(f"{text} is no date") from None
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
