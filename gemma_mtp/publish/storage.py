"""How large files travel: by Xet, in chunks of which the Hub takes only what is new, or as whole files by plain HTTP.

huggingface_hub sends by Xet whatever the server says, and its Xet library tells a missing route, a refused token and
a dead storage server all as one ConnectionError, some after minutes of attempts. So the server is asked first, the
library is given fewer attempts, and what it cannot send goes by plain HTTP, which every server takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from huggingface_hub import constants
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import get_session, hf_raise_for_status
from huggingface_hub.utils._runtime import is_xet_available

from gemma_mtp.hub.client import USER_AGENT, retried
from gemma_mtp.hub.problems import status_of

#: Attempts of the Xet library for each of its requests, 3 s and more apart; its own default is 5.
XET_ATTEMPTS = "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "2"

Result = TypeVar("Result")


def sent_somehow(repo: str, send: Callable[[], Result]) -> Result:
    """The result of `send`, an upload to `repo`: by Xet where that is to be had, else by plain HTTP.

    Raises what `send` raises, and HfHubHTTPError if the Hub refuses the upload before it begins.
    """
    if is_xet_available() and not _takes_xet(repo):
        _use_plain_http()
    if not is_xet_available():
        return send()
    os.environ.setdefault(*XET_ATTEMPTS)
    try:
        return send()
    except (ConnectionError, RuntimeError):  # the Xet library's; the transport's errors are other classes
        _use_plain_http()
        return send()


def _takes_xet(repo: str) -> bool:
    """Whether the server gives tokens for Xet uploads. Raises HfHubHTTPError if it refuses this account."""
    url = f"{constants.ENDPOINT}/api/models/{repo}/xet-write-token/{constants.DEFAULT_REVISION}"

    def ask() -> None:
        hf_raise_for_status(get_session().get(url, headers=build_hf_headers(user_agent=USER_AGENT)))

    try:
        retried(ask)
    except Exception as error:
        if status_of(error) == 404:  # the repo is there: it is the route that is missing
            return False
        raise
    return True


def _use_plain_http() -> None:
    """huggingface_hub looks at this constant at each upload."""
    constants.HF_HUB_DISABLE_XET = True
