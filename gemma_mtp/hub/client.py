"""The connection to the Hub: huggingface_hub's client, with time-outs everywhere and retries for all calls.

huggingface_hub 1.x talks through httpx and 2.x through httpx2; neither is imported here. Its shared client has no
time-out, and several calls pass none, so that a silent server would hang them for ever; a hook on every request sets
one. Some calls retry by themselves, model_info, create_repo, collections and plain commits do not: `retried` does.
"""

from __future__ import annotations

import functools
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import ERROR
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, get_session, logging, set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, disable_progress_bars, hf_raise_for_status

from gemma_mtp import __version__
from gemma_mtp.errors import UsageError
from gemma_mtp.hub.problems import TransportError, status_of

#: Seconds that a server may stay silent before a request is given up, where the client sets no limit itself, and the
#: variable that sets another limit.
SILENCE_LIMIT = 30.0
SILENCE_VARIABLE = "GEMMA_MTP_HUB_TIMEOUT"
#: Seconds between the attempts of a call; the last failure is final.
DELAYS = (1.0, 2.0, 4.0, 8.0)
#: The longest wait that a server may ask for; beyond it the user is told instead.
LONGEST_WAIT = 60.0
#: 409: something else is changing the repo, or is being made for the same account.
TRANSIENT_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504})
USER_AGENT = f"gemma-mtp/{__version__}"

Result = TypeVar("Result")


def hub() -> HfApi:
    """The Hub that HF_ENDPOINT names, with the user's token (HF_TOKEN or `hf auth login`) if there is one."""
    prepare_client()
    return HfApi(endpoint=constants.ENDPOINT, user_agent=USER_AGENT)


@functools.cache
def prepare_client() -> None:
    """Give every request of this process a time-out, and keep the client's log lines (with signed addresses) out."""
    silence_limit()
    own = get_session()  # huggingface_hub's own: of httpx or httpx2, with the hooks that it needs
    hooks = {
        "request": [*own.event_hooks.get("request", ()), _limit_silence],
        "response": [*own.event_hooks.get("response", ()), _end_conflict],
    }
    set_client_factory(lambda: type(own)(event_hooks=hooks, follow_redirects=True, timeout=None))
    if "HF_HUB_VERBOSITY" not in os.environ and "HF_DEBUG" not in os.environ:
        logging.set_verbosity(ERROR)


def silence_limit() -> float:
    """Seconds that a server may stay silent. Raises UsageError if the variable holds no such number."""
    given = os.environ.get(SILENCE_VARIABLE)
    if not given:
        return SILENCE_LIMIT
    try:
        limit = float(given)
    except ValueError:
        limit = math.nan
    if not 0 < limit < math.inf:
        raise UsageError(
            f"{SILENCE_VARIABLE} is {given!r}, not a number of seconds",
            hint=f"set it to a number above 0, or unset it for {SILENCE_LIMIT:.0f}",
        )
    return limit


def _limit_silence(request: Any) -> None:
    asked, limit = request.extensions.get("timeout") or {}, silence_limit()
    phases = ("connect", "read", "write", "pool")
    request.extensions["timeout"] = {phase: asked.get(phase) or limit for phase in phases}


def _end_conflict(response: Any) -> None:
    """Let a refused creation of a repo fail, so that it is retried with pauses.

    create_repo itself asks again at once, for ever, while another repo is being made for the same account.
    """
    if response.status_code == 409 and response.request.url.path.endswith("/api/repos/create"):
        response.read()
        if "conflicting operation is in progress" in response.text:
            hf_raise_for_status(response)


def hide_progress_bars() -> None:
    """Keep huggingface_hub's own bars for uploads out of a pipe or a log."""
    disable_progress_bars()


def retried(call: Callable[[], Result]) -> Result:
    """The call's result, after new attempts where the network or the server had a passing problem."""
    for delay in DELAYS:
        try:
            return call()
        except TransportError as error:
            wait = _wanted_wait(error, delay)
            if not is_transient(error) or wait > LONGEST_WAIT:
                raise
        time.sleep(wait)
    return call()


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed a little later: no answer at all, or one of `TRANSIENT_STATUS`."""
    return not isinstance(error, HfHubHTTPError) or status_of(error) in TRANSIENT_STATUS


def _wanted_wait(error: Exception, default: float) -> float:
    """Seconds to wait: what the server asks for (Retry-After, or the reset time in RateLimit), else `default`."""
    headers = error.response.headers if isinstance(error, HfHubHTTPError) else {}
    asked = re.fullmatch(r"\d+", headers.get("Retry-After", "")) or re.search(
        r"(?<=t=)\d+", headers.get("RateLimit", "")
    )
    return float(asked[0]) if asked else default


@contextmanager
def hub_stream(url: str, headers: dict[str, str]) -> Iterator[Any]:
    """An open answer to a GET whose body is not read yet. Raises as huggingface_hub does for an error status."""
    prepare_client()
    # The client drops the authorization when a redirect leaves the Hub for its storage.
    all_headers = {**build_hf_headers(user_agent=USER_AGENT), "Accept-Encoding": "identity", **headers}
    with get_session().stream("GET", url, headers=all_headers, follow_redirects=True) as response:
        if response.status_code >= 400:
            response.read()
        hf_raise_for_status(response)
        yield response
