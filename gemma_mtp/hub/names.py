"""What a server names is checked before it becomes a path: commits, hashes, files.

A listing is somebody else's text. A hash `../../x` or a file `/etc/x` in it would be written outside of the cache.
"""

from __future__ import annotations

import os
import re

from gemma_mtp.errors import EnvironmentProblem

COMMIT = re.compile(r"[0-9a-f]{40}")
#: The sha256 of a large file, git's sha1 of a small one.
HASH = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
#: What no name in a repo has: control characters, and what separates parts of a path on Windows.
_FOREIGN = re.compile(r"[\x00-\x1f\x7f\\]" if os.name != "nt" else r"[\x00-\x1f\x7f\\:]")
_HINT = "check HF_ENDPOINT and the proxy: the Hub gives no such answer"


def require_commit(commit: object) -> str:
    """The commit. Raises EnvironmentProblem unless it is 40 hexadecimal digits."""
    if isinstance(commit, str) and COMMIT.fullmatch(commit):
        return commit
    raise EnvironmentProblem(f"the server names a commit that is none: {_shown(commit)}", hint=_HINT)


def require_hash(etag: object) -> str:
    """The hash. Raises EnvironmentProblem unless it is a sha256 or a sha1 in hexadecimal digits."""
    if isinstance(etag, str) and HASH.fullmatch(etag):
        return etag
    raise EnvironmentProblem(f"the server gives a hash that is none: {_shown(etag)}", hint=_HINT)


def require_inside(name: object) -> str:
    """The name of a file in a repo. Raises EnvironmentProblem if it would lead out of the repo's folder."""
    if isinstance(name, str) and is_inside(name):
        return name
    raise EnvironmentProblem(f"the server names a file that is no path inside a repo: {_shown(name)}", hint=_HINT)


def is_inside(name: str) -> bool:
    """Whether this names something inside a folder, on every system: relative, "/" between its parts, none ".."."""
    return not _FOREIGN.search(name) and all(part not in ("", ".", "..") for part in name.split("/"))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
