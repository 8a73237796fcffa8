"""Which engine decodes: this package's loop (on llama-cpp-python), or llama.cpp's own C++ engine (in xllamacpp)."""

from __future__ import annotations

from gemma_mtp.errors import MissingExtra
from gemma_mtp.extras import installed
from gemma_mtp.native.settings import ModelSettings

PYTHON, CPP = "python", "cpp"
#: The extra that brings an engine. The first one that is installed is taken where none is named.
EXTRA = {PYTHON: "runtime", CPP: "serve"}
TITLE = {PYTHON: "the Python loop", CPP: "llama.cpp's C++ engine"}


def present() -> tuple[str, ...]:
    """The engines that are installed, the best first."""
    return tuple(engine for engine, extra in EXTRA.items() if installed(extra))


def choose(named: str | None = None, *, loop: str | None = None) -> str:
    """The engine that is named; where none is, the best of those that are installed.

    loop: what is asked for that the Python loop alone does. Raises MissingExtra.
    """
    if named is None and loop is None:
        for engine in present():
            return engine
        raise MissingExtra(EXTRA[CPP], EXTRA[PYTHON], feature="running a model")
    engine = named or PYTHON
    if not installed(EXTRA[engine]):
        raise MissingExtra(EXTRA[engine], feature=loop if loop and not named else TITLE[engine])
    return engine


def settings_for(engine: str) -> ModelSettings:
    """How this machine loads models with an engine. Raises EnvironmentProblem: llama-cpp-python does not work here."""
    if engine == CPP:  # its build is portable: nothing of it has to be switched off
        return ModelSettings()
    from gemma_mtp.native.backend import settings_for_this_machine

    return settings_for_this_machine()
