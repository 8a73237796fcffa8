"""One way to name where a model is, for every command.

    source    = path | repo [ "@" revision ] [ ":" QUANT ] | "hf://" repo [ "@" revision ] [ "/" file | ":" QUANT ]
    repo      = owner "/" name            each of letters, digits, "-", "_" and ".", at most 96 characters
    revision  = a branch, tag or commit   without "/", except refs/pr/N and refs/convert/NAME
    file      = a path inside the repo    relative, without ".."
    QUANT     = Q8_0, Q4_K_M, BF16, ...   as in llama.cpp's `-hf owner/repo:QUANT`

A web address of the Hub (.../owner/repo, with blob, resolve, raw or tree) is read as what it names.

What exists on disk is a path, whatever it looks like; `hf://` always means the Hub. What does not exist is a repo only
if it cannot be a mistyped path: it has exactly one "/", no ending of a model file, and no local folder is named like
its owner.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files.paths import given_path, is_there
from gemma_mtp.hub.names import is_inside
from gemma_mtp.model.family import FAMILY
from gemma_mtp.redaction import redact

SCHEME = "hf://"
#: What a repo is read at unless a revision is named.
DEFAULT_REVISION = "main"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_REVISION = r"refs/(?:pr|convert)/[^/@:\s]+|[^/@:\s]+"
_REPO = re.compile(rf"(?P<repo>{_NAME}/{_NAME})(?:@(?P<revision>{_REVISION}))?(?::(?P<quant>[A-Za-z0-9_]+))?")
_HF = re.compile(
    rf"(?P<repo>{_NAME}/{_NAME})(?:@(?P<revision>{_REVISION}))?(?::(?P<quant>[A-Za-z0-9_]+)|/(?P<file>[^\s].*))?"
)
#: A revision in an address: a branch with a slash in its name is written with %2F there, or as it is.
_IN_ADDRESS = r"refs/(?:pr|convert)/[^/?#]+|[^/?#]+"
_SITE = r"(?:https?://[^/]+|(?:www\.)?(?:huggingface\.co|hf\.co))/"
_WEB_PAGE = re.compile(
    rf"{_SITE}(?P<repo>[^/?#]+/[^/?#]+)"
    rf"(?:/(?P<page>blob|resolve|raw|tree)/(?P<revision>{_IN_ADDRESS})(?:/(?P<file>[^?#]+))?)?/?(?:[?#].*)?"
)
#: The Hub's addresses of what is no model.
_OTHER_PAGE = re.compile(rf"{_SITE}(?P<kind>datasets|spaces|collections|papers|docs|api)/.*")
_REVISION_ALONE = re.compile(_REVISION)
_REPO_ALONE = re.compile(f"{_NAME}/{_NAME}")
_LONGEST_NAME = 96
_MODEL_FILES = (".gguf", ".safetensors")

GRAMMAR = "a path, owner/repo, owner/repo@revision, owner/repo:QUANT or hf://owner/repo/file.gguf"


@dataclass(frozen=True)
class Source:
    """A place: either `path`, or `repo` with at most one of `file` and `quant`."""

    path: Path | None = None
    repo: str | None = None
    revision: str | None = None
    file: str | None = None
    quant: str | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for a combination or a spelling that the grammar does not have."""
        if (self.path is None) == (self.repo is None):
            raise UsageError(f"a source is a path or a repo, one of the two: {GRAMMAR}")
        if self.path is not None and (self.revision or self.file or self.quant):
            raise UsageError("a path has no revision, file or type", where=self.path)
        if self.file and self.quant:
            raise UsageError("name a file or a type, not both", where=self.repo)
        if self.repo is not None:
            check_repo_name(self.repo)
        if self.revision is not None and not (_REVISION_ALONE.fullmatch(self.revision) and is_inside(self.revision)):
            raise UsageError(f"{self.revision!r} is no revision", where=self.repo, hint="name a branch, tag or commit")
        if self.file is not None and not is_inside(self.file):
            raise UsageError(f"{self.file!r} is no path inside a repo", where=self.repo)

    @property
    def is_local(self) -> bool:
        return self.path is not None

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        revision = f"@{self.revision}" if self.revision else ""
        if self.file:
            return f"{SCHEME}{self.repo}{revision}/{self.file}"
        return f"{self.repo}{revision}" + (f":{self.quant}" if self.quant else "")


def parse_source(place: str | PathLike[str]) -> Source:
    """The place that a command's argument names; see the module's docstring for the grammar.

    Raises UsageError (not of the grammar) and BadFileError (a path, but nothing is there).
    """
    text = place if isinstance(place, str) else str(Path(place))
    if "://" in text and redact(text) != text:
        raise UsageError(
            "this address holds a password or token", where=text, hint="write owner/repo, after hf auth login"
        )
    if not isinstance(place, str) or is_there(given_path(text)):
        return Source(path=_existing(given_path(text)))
    if text.startswith(SCHEME):
        return _from_match(_HF.fullmatch(text.removeprefix(SCHEME)), text)
    if other := _OTHER_PAGE.fullmatch(text):
        raise UsageError(f"this is the address of {other['kind']}, not of a model", where=text, hint=f"write {GRAMMAR}")
    if page := _WEB_PAGE.fullmatch(text):
        return _from_address(page, text)
    match = _REPO.fullmatch(text)
    if match is None or text.lower().endswith(_MODEL_FILES):
        _refuse_missing(text)
    owner = match["repo"].split("/")[0]
    if Path(owner).is_dir():
        raise BadFileError(
            f"there is no such file or folder, although the folder {owner} exists",
            where=text,
            hint=f"check the spelling; if a repo on the Hub is meant, write {SCHEME}{text}",
        )
    return _from_match(match, text)


def check_repo_name(repo: str) -> None:
    """Raises UsageError unless this is owner/name as the Hub allows it."""
    if not _REPO_ALONE.fullmatch(repo) or ".." in repo or "--" in repo or len(repo) > _LONGEST_NAME:
        raise UsageError(f"{repo!r} is not the name of a repo", hint="the form is owner/name")


def suggest_repo(repo: str) -> str | None:
    """The official repo that `repo` probably means, if it is not one itself."""
    by_lower = {official.lower(): official for official in FAMILY.official_repos}
    if repo in FAMILY.official_repos:
        return None
    close = get_close_matches(repo.lower(), by_lower, n=1, cutoff=0.85)
    return by_lower[close[0]] if close else None


def _from_match(match: re.Match[str] | None, text: str) -> Source:
    if match is None:
        raise UsageError("this names no place on the Hub", where=text, hint=f"write {GRAMMAR}")
    parts = match.groupdict()
    return Source(repo=parts["repo"], revision=parts["revision"], file=parts.get("file"), quant=parts["quant"])


def _existing(path: Path) -> Path:
    if not is_there(path):
        _refuse_missing(str(path))
    return path


def _refuse_missing(text: str) -> NoReturn:
    raise BadFileError(
        "there is no such file or folder",
        where=text,
        hint="check the spelling; a repo on the Hub is named owner/repo, a file there hf://owner/repo/file.gguf",
    )


def _from_address(page: re.Match[str], text: str) -> Source:
    """What a web address names. Raises UsageError for a folder of a repo."""
    file = page["file"]
    if page["page"] is None:
        return _from_match(_HF.fullmatch(unquote(page["repo"])), text)
    named = unquote(page["revision"])
    revision = None if named == DEFAULT_REVISION else named
    if page["page"] == "tree" and file:
        inside = Source(repo=page["repo"], revision=revision, file=f"{unquote(file)}/FILE.gguf")
        raise UsageError("this is the address of a folder in a repo", where=text, hint=f"name a file of it: {inside}")
    return Source(repo=page["repo"], revision=revision, file=unquote(file) if file else None)
