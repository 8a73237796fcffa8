"""What the Hub or the network refused, as one clear sentence with what to do. Nothing secret gets into it.

huggingface_hub raises its own exceptions, the transport's (httpx or httpx2) and plain OSError, RuntimeError and
ValueError; which one for which cause is tabled in `BY_CLASS` and `BY_STATUS`.
"""

from __future__ import annotations

import errno
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    NotASafetensorsRepoError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SafetensorsParsingError,
)

from gemma_mtp.errors import EnvironmentProblem, GemmaMtpError
from gemma_mtp.hub.source import suggest_repo
from gemma_mtp.redaction import redact

#: HTTPError of the client's transport, whichever it is (httpx, or httpx2 with huggingface_hub 2.x): the base of its
#: time-outs, of cut connections and of HfHubHTTPError. And the transport's word for an address that is none.
TransportError: type[Exception] = next(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
InvalidURL: type[Exception] = importlib.import_module(TransportError.__module__.partition(".")[0]).InvalidURL

_LONGEST_SAYING = 200


@dataclass(frozen=True)
class Problem:
    """A sentence and its remedy. {repo}, {url} and {meant} are filled in."""

    what: str
    hint: str


OFFLINE = Problem("HF_HUB_OFFLINE is set, and this needs the network", "unset HF_HUB_OFFLINE and run it again")
NOT_LOGGED_IN = Problem("you are not logged in", "run `hf auth login`, or set HF_TOKEN to a token that may write")
UNREACHABLE = Problem(
    "{url} cannot be reached, or the connection broke off",
    "check the network, proxy settings and HF_ENDPOINT, and run it again: what was done is kept",
)
SILENT = Problem(
    "{url} does not answer",
    "wait a little and run it again: what was done is kept (GEMMA_MTP_HUB_TIMEOUT sets the limit)",
)
DISK_FULL = Problem("the disk is full", "make room, or point HF_HOME to another disk, and run it again")
UNWRITABLE = Problem(
    "a file of the cache cannot be read or written", "check its permissions, or set HF_HOME to another folder"
)
NO_ADDRESS = Problem("{url} is no address", "correct HF_ENDPOINT: https://, a host, and no more")
STRANGE_ANSWER = Problem(
    "{url} gave an answer that is not the Hub's", "check HF_ENDPOINT and the proxy; a log-in page may be in between"
)

#: In this order: GatedRepoError is a RepositoryNotFoundError, OfflineModeIsEnabled an OSError.
BY_CLASS: tuple[tuple[type[Exception], Problem], ...] = (
    (OfflineModeIsEnabled, OFFLINE),
    (LocalTokenNotFoundError, NOT_LOGGED_IN),
    (InvalidURL, NO_ADDRESS),
    (
        GatedRepoError,
        Problem(
            "its files are gated, and this account has no access",
            "accept the conditions on {url}/{repo}, then run `hf auth login` or set HF_TOKEN",
        ),
    ),
    (
        RepositoryNotFoundError,
        Problem(
            "there is no such repo, or it is private and this account may not see it",
            "{meant}check the spelling; for a private repo run `hf auth login` or set HF_TOKEN",
        ),
    ),
    (RevisionNotFoundError, Problem("the repo has no such revision", "check the branch, tag or commit after the @")),
    (NotASafetensorsRepoError, Problem("the repo has no safetensors files", "name a repo with an original checkpoint")),
    (SafetensorsParsingError, Problem("a safetensors file's header is damaged", "use another repo")),
    (EntryNotFoundError, Problem("the repo has no such file", "look at {url}/{repo}/tree/main for what it has")),
)

BY_STATUS: dict[int, Problem] = {
    400: Problem("the Hub refused the request", "if its words don't help, report this as a bug"),
    401: Problem("the Hub does not accept the token", "run `hf auth login` again, or correct HF_TOKEN"),
    402: Problem("the account's plan does not allow this", "look at {url}/settings/billing"),
    403: Problem(
        "this account may not do that there, or its quota is used up",
        "use a token with write permission for that user or organization ({url}/settings/tokens)",
    ),
    404: Problem("the Hub has nothing there", "check the spelling"),
    409: Problem("something else is changing it at this moment", "wait a little and run it again"),
    412: Problem("the repo has changed in the meantime", "run it again: it starts from the new state"),
    413: Problem("the Hub says that this is too large", "publish fewer or smaller files"),
    416: Problem("the file is empty", "use another repo, or tell its owner"),
    429: Problem(
        "the Hub's rate limit is reached", "wait some minutes and run it again; being logged in raises the limit"
    ),
}
SERVER_TROUBLE = Problem("the Hub has a problem of its own", "wait a little and run it again: what was done is kept")


#: Everything that a call to the Hub is known to raise.
FROM_THE_HUB: tuple[type[Exception], ...] = (
    *(kind for kind, _ in BY_CLASS),
    *(TransportError, OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError),
)


@contextmanager
def explained(repo: str | None = None) -> Iterator[None]:
    """Turn whatever a call to the Hub raises into an EnvironmentProblem about `repo`."""
    try:
        yield
    except GemmaMtpError:
        raise
    except FROM_THE_HUB as error:
        raise explain(error, repo) from error


def explain(error: BaseException, repo: str | None) -> EnvironmentProblem:
    """The sentence for an error; see `explained`."""
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        return explain(error.__cause__, repo)  # "Error while uploading": the cause says why
    problem = _problem(error)
    url, meant = constants.ENDPOINT, suggest_repo(repo) if repo else None
    what = problem.what.format(url=url)
    hint = problem.hint.format(url=url, repo=repo, meant=f"is {meant} meant? Otherwise " if meant else "")
    said = _saying(error, problem)
    return EnvironmentProblem(f"{what} ({said})" if said else what, where=repo, hint=hint)


def status_of(error: BaseException) -> int | None:
    return int(error.response.status_code) if isinstance(error, HfHubHTTPError) else None


def _problem(error: BaseException) -> Problem:
    for kind, problem in BY_CLASS:
        if isinstance(error, kind):
            return problem
    status = status_of(error)
    if status is not None:
        return SERVER_TROUBLE if status >= 500 else BY_STATUS.get(status, BY_STATUS[400])
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DISK_FULL
    if isinstance(error, TransportError):
        return SILENT if "Timeout" in type(error).__name__ else UNREACHABLE
    if isinstance(error, ConnectionError):
        return UNREACHABLE
    return UNWRITABLE if isinstance(error, OSError) and error.errno else STRANGE_ANSWER


def _saying(error: BaseException, problem: Problem) -> str:
    """The error's own words, where ours may not tell all: the server's message, or an unexpected exception's."""
    if isinstance(error, HfHubHTTPError):
        said = error.server_message or ""
        said = f"{status_of(error)}" + (f": {said}" if said else "")
    elif problem in (STRANGE_ANSWER, UNREACHABLE, UNWRITABLE):
        said = f"{type(error).__name__}: {error}"
    else:
        return ""
    said = " ".join(redact(said).split())  # before it is cut: half a token is not known as one
    return said if len(said) <= _LONGEST_SAYING else said[:_LONGEST_SAYING] + " ..."
