"""Nothing secret is shown: tokens, passwords in addresses, signatures of signed links.

Every error that is meant for people passes through here (see `GemmaMtpError`), and so does every address of the Hub
that is printed as a result.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

HIDDEN = "***"
#: The Hub's tokens (hf_..., api_org_...), what follows the scheme of an Authorization header, user and password of an
#: address, and the parameters of a link that let their bearer in. A file may be called hf_model: tokens are longer.
_SECRETS = re.compile(
    r"\b(?:hf_(?:oauth_)?|api_org_)[A-Za-z0-9]{20,}|\bhf_jwt_[\w.-]{20,}"
    r"|(?<=Bearer )\S+|(?<=Basic )[\w+/=-]{8,}"
    r"|(?:(?<=://)|(?<=https:/)|(?<=http:/))[^\s/?#'\"]+(?=@)"  # a path's two slashes are one
)
_PARAMETER = re.compile(
    r"([?&;][\w.-]*(?:token|signature|secret|passw(?:or)?d|credential|api[_-]?key|auth|sig)[\w.-]*=)[^\s&#'\"]+",
    re.IGNORECASE,
)
#: Variables that are a secret, and variables with an address that may hold one.
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_ADDRESSES = ("HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
#: A shorter word may stand in any sentence.
_SHORTEST = 5


def redact(text: str) -> str:
    """The text without tokens, passwords and signatures."""
    for secret in _known():
        text = text.replace(secret, HIDDEN)
    return _PARAMETER.sub(rf"\g<1>{HIDDEN}", _SECRETS.sub(HIDDEN, text))


def _known() -> Iterator[str]:
    """The secrets that the environment holds: they are found wherever an error quotes a piece of an address."""
    found = [os.environ.get(name, "") for name in _TOKENS]
    for name in _ADDRESSES:
        address = os.environ.get(name, "") or os.environ.get(name.lower(), "")
        login, at, _ = address.rpartition("://")[2].rpartition("@")
        user, _, password = login.partition(":")
        found += [password or user] if at else []
    return (secret for secret in sorted(found, key=len, reverse=True) if len(secret) >= _SHORTEST)
