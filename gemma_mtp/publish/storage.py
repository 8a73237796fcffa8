"""How large files travel: by Xet, in chunks of which the Hub takes only what is new, or as whole files by plain HTTP.

huggingface_hub sends by Xet whatever the server says, and its Xet library tells a missing route, a refused token and
a dead storage server all as one ConnectionError, some after minutes of attempts. So the server is asked first, the
library is given fewer attempts, and what it cannot send goes by plain HTTP, which every server takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeVar

from huggingface_hub import constants, get_session
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from gemma_mtp.hub.client import USER_AGENT, retried
from gemma_mtp.hub.problems import status_of

#: Attempts of the Xet library for each of its requests, 3 s and more apart; its own default is 5.
XET_ATTEMPTS = "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "2"

Result = TypeVar("Result")


def sent_somehow(repo: str, send: Callable[[bool], Result]) -> Result:
    """The result of `send(plain)`, an upload to `repo`: by Xet where that is to be had, else plain, by HTTP.

    Raises what `send` raises, and HfHubHTTPError if the Hub refuses the upload before it begins.
    """
    if constants.HF_HUB_DISABLE_XET or find_spec("hf_xet") is None or not _takes_xet(repo):
        return send(True)
    os.environ.setdefault(*XET_ATTEMPTS)
    try:
        return send(False)
    except (ConnectionError, RuntimeError):  # the Xet library's; the transport's errors are other classes
        return send(True)


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
