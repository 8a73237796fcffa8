"""Asking a server over HTTP: JSON, within limits, with what goes wrong in sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from gemma_mtp.errors import EnvironmentProblem, UsageError

#: Bytes of an answer that are read: the lists of models and the templates in `/props` are long.
MOST = 16 << 20


@dataclass(frozen=True)
class Server:
    """Where a server is. api_key: sent with every request. seconds: to wait for each answer."""

    address: str
    api_key: str | None = None
    seconds: float = 120.0

    @classmethod
    def at(cls, address: str, api_key: str | None = None, seconds: float = 120.0) -> Server:
        """From what a user writes, with or without `/v1`. Raises UsageError: no address of a server."""
        whole = address if "://" in address else f"http://{address}"
        try:
            parts = urlsplit(whole)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # no number for a port, half an IPv6 address
            known = False
        if not known:
            raise UsageError("this is no address of a server", where=address, hint="write http://127.0.0.1:8080")
        return cls(whole.rstrip("/").removesuffix("/v1").rstrip("/"), api_key, seconds)

    def get(self, path: str) -> Any:
        """What is there as JSON; None if the server has nothing of that kind. Raises as `_asked` does."""
        return _json(self._asked(path, None))

    def text(self, path: str) -> str:
        """What is there as text; empty if the server has nothing of that kind. Raises as `_asked` does."""
        return (self._asked(path, None) or b"").decode(errors="replace")

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer as JSON; None if the server has nothing of that kind. Raises as `_asked` does."""
        return _json(self._asked(path, json.dumps(body).encode()))

    def _asked(self, path: str, body: bytes | None) -> bytes | None:
        """Raises UsageError (a key is wanted), EnvironmentProblem (not there, still loading, an error of its own)."""
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        try:
            with urlopen(Request(f"{self.address}{path}", body, headers), timeout=self.seconds) as answer:
                found: bytes = answer.read(MOST)
                return found
        except HTTPError as error:
            self._refused(path, error)
            return None
        except (URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise EnvironmentProblem(
                f"no server answers: {reason}", where=self.address, hint="start it, or correct the address"
            ) from error

    def _refused(self, path: str, error: HTTPError) -> None:
        with error:
            said = " ".join(error.read(4096).decode(errors="replace").split())[:300]
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            what = "the server refuses this API key" if self.api_key else "the server wants an API key"
            raise UsageError(what, where=self.address, hint="give it with --api-key") from error
        if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
            raise EnvironmentProblem(
                f"the server is not ready: {said}", where=self.address, hint="wait until its model is loaded"
            ) from error
        if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED):
            return
        raise EnvironmentProblem(
            f"the server answers {path} with {error.code}: {said}", where=self.address, hint="its log says more"
        ) from error


def _json(raw: bytes | None) -> Any:
    """None for what is no JSON: a page for people, for instance, at an address that this server does not know."""
    try:
        return None if raw is None else json.loads(raw)
    except (ValueError, RecursionError):
        return None


def looked_up(content: Any, *path: str | int) -> Any:
    """What stands there in nested JSON; None where something else does."""
    for step in path:
        if isinstance(step, str) and isinstance(content, dict):
            content = content.get(step)
        elif isinstance(step, int) and isinstance(content, list) and len(content) > step:
            content = content[step]
        else:
            return None
    return content
