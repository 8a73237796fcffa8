"""The wheel and the tests under every Python that is here: `pipx run nox` (or `nox -s wheel-3.12`).

An interpreter that is not installed is skipped, and said to be.
"""

from __future__ import annotations

import nox

nox.options.sessions = ["wheel"]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


@nox.session(python=PYTHONS, venv_backend="venv")
def wheel(session: nox.Session) -> None:
    """README's commands with the built wheel alone, in an environment of its own outside the repository."""
    session.install("build")
    session.run("python", "tools/try_wheel.py", *session.posargs)


@nox.session(python=PYTHONS, venv_backend="venv")
def tests(session: nox.Session) -> None:
    """`make quick`: no other implementation, no minutes. For 3.10 there is no transformers: it goes without."""
    extras = "runtime,serve,plot" if session.python == "3.10" else "dev"
    session.install("-e", f".[{extras}]", "pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "jsonschema")
    session.run("python", "-m", "pytest", "-n", "auto", "-m", "not slow and not reference", *session.posargs)
