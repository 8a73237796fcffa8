"""What can go wrong, by kind. The command line makes a sentence and an exit code of them; as a library, catch these.

Exit codes: 1 the file or the pair is bad, 2 wrong usage, 3 the environment (network, disk, a missing extra, a broken
backend), 130 interrupted.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from gemma_mtp import extras
from gemma_mtp.redaction import redact

#: Error numbers that are trouble of the machine, not of the path at which it was met.
OF_THE_MACHINE = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    }
)
#: Exit codes of a program that was ended by Ctrl-C, and by SIGTERM.
INTERRUPTED, TERMINATED = 130, 143

__all__ = [
    "BadFileError",
    "CheckpointError",
    "EnvironmentProblem",
    "GGUFError",
    "GemmaMtpError",
    "LlamaError",
    "MissingExtra",
    "SafetensorsError",
    "UsageError",
]


class GemmaMtpError(Exception):
    """Base of all errors that are meant for people.

    what: what is wrong, with the value found and the value wanted.
    where: the file, tensor, key or call it is about.
    hint: what to do about it.
    What is secret in any of them (a token, a password in an address) is hidden.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | Path | None = None, hint: str | None = None):
        self.what = redact(what)
        self.where = None if where is None else redact(str(where))
        self.hint = None if hint is None else redact(hint)
        super().__init__(f"{self.where}: {self.what}" if self.where else self.what)


class BadFileError(GemmaMtpError):
    """A file or folder given as input is not what it should be."""


class GGUFError(BadFileError):
    """A GGUF file breaks the format. `offset` is the byte at which it does."""

    def __init__(
        self, what: str, *, where: str | Path | None = None, hint: str | None = None, offset: int | None = None
    ):
        self.offset = offset
        super().__init__(what if offset is None else f"{what} (at byte {offset:,})", where=where, hint=hint)


class SafetensorsError(BadFileError):
    """A safetensors file breaks the format, or a checkpoint's shards don't fit together."""


class CheckpointError(BadFileError):
    """A checkpoint's config, tokenizer or tensors are not those of a model that we know."""


class LlamaError(GemmaMtpError):
    """llama.cpp refused a file or failed in a call. `log` holds its last lines, `reason` the one that says why.

    exit_code: 1 as for any bad file, unless `explain` finds the environment at fault.
    """

    def __init__(
        self, what: str, *, where: str | Path | None = None, hint: str | None = None, log: tuple[str, ...] = ()
    ):
        self.log = log
        self.reason: str | None = None
        super().__init__(what, where=where, hint=hint)

    def explain(self, cause: str, remedy: str, environment: bool) -> None:
        """Say why it failed, and what helps in the place of the general hint. environment: not the file is bad."""
        self.what, self.hint = f"{self.what}: {cause}", remedy
        self.args = (f"{self.where}: {self.what}" if self.where else self.what,)
        if environment:
            self.exit_code = EnvironmentProblem.exit_code


class UsageError(GemmaMtpError):
    """The command or call asks for something that is not on offer."""

    exit_code = 2


class EnvironmentProblem(GemmaMtpError):
    """The machine, its network or its installation, not the input, is in the way.

    log: what a program of others said about it, for instance llama.cpp's last lines.
    """

    exit_code = 3

    def __init__(
        self, what: str, *, where: str | Path | None = None, hint: str | None = None, log: tuple[str, ...] = ()
    ):
        self.log = log
        super().__init__(what, where=where, hint=hint)


class MissingExtra(EnvironmentProblem):
    """An optional dependency is not installed.

    wanted: extras, any of which would do. feature: what needs it.
    """

    def __init__(self, *wanted: str, feature: str = "this"):
        needed = [extras.EXTRAS[extra] for extra in wanted]
        packages = " or ".join(" and ".join(extra.missing or extra.modules) for extra in needed)
        super().__init__(f"{feature} needs the package {packages}, which is not installed", hint=extras.advice(*wanted))


def some(names: Iterable[str], most: int = 3) -> str:
    """`a, b, c and 5 more`: so many of them at most."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def meant(word: str, known: Iterable[str]) -> str:
    """`is Q8_0 meant?` for a word that is nearly a known one (or several), in any case; else nothing."""
    from difflib import get_close_matches  # a hundredth of a second, for mistakes alone

    by_lower = {name.lower(): name for name in known}
    close = [by_lower[name] for name in get_close_matches(word.lower(), by_lower, n=2, cutoff=0.65)]
    return f"is {' or '.join(close)} meant?" if close else ""
