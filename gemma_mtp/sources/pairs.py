"""The two files that llama.cpp is given: brought here if they are on the Hub, and the drafter found if nobody names it.

A drafter is looked for where llama.cpp's `-hf` looks: beside the target. It must be spelled as mainline spells it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gemma_mtp import advice
from gemma_mtp.errors import UsageError
from gemma_mtp.hub.source import Source, parse_source
from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.model.family import FAMILIES, FAMILY, Family
from gemma_mtp.model.file_name import ENDING, FileName, split_names
from gemma_mtp.model.part import Part
from gemma_mtp.progress import Progress, silent
from gemma_mtp.sources.opening import MOST_NAMED, Place, Want, fetch, local_gguf, names_checkpoint

if TYPE_CHECKING:
    from gemma_mtp.hub.download import Listing

#: Taken among several drafters of one target of which none has its type: nearly lossless, and everywhere.
SECOND_CHOICE = "Q8_0"
#: At the end of the names of the official unquantized QAT checkpoints; their GGUFs have a type of their own there.
UNQUANTIZED = "-q4_0-unquantized"


@dataclass(frozen=True)
class PairFiles:
    """GGUFs on this machine, of split ones the first parts. found: whether the assistant is one that nobody named."""

    target: Path
    assistant: Path | None
    found: bool = False


def pair_files(
    target: Place,
    assistant: Place | None = None,
    *,
    drafting: bool = True,
    progress: Progress = silent,
    deep: bool = False,
) -> PairFiles:
    """The files of a target and its assistant, wherever they stand; what is missing is downloaded once.

    assistant: None for the one beside the target. drafting: False for the target alone, whatever is named.

    Raises what `open_model` raises, and UsageError: there is no drafter beside the target, or there are several.
    """
    if not drafting:
        return PairFiles(local_gguf(target, Part.TARGET, progress=progress, deep=deep), None)
    source = parse_source(target)
    if assistant is None and source.path is None:
        return _both_from(source, progress, deep)
    there = local_gguf(target, Part.TARGET, progress=progress, deep=deep)
    if assistant is None:
        return PairFiles(there, _beside(there), found=True)
    return PairFiles(there, local_gguf(assistant, Part.ASSISTANT, progress=progress, deep=deep))


def _both_from(source: Source, progress: Progress, deep: bool) -> PairFiles:
    """A repo's target, and the drafter that llama.cpp's `-hf` would take with it: the repo is asked once."""
    from gemma_mtp.hub.discovery import pick_beside
    from gemma_mtp.hub.download import look_up
    from gemma_mtp.hub.remote import find_remote_gguf

    listing = look_up(source)
    if names_checkpoint(source, listing):
        fetch(source, Part.TARGET, want=Want.FILE, listing=listing)  # says that it is no GGUF
    model = find_remote_gguf(source, Part.TARGET, listing)[0].file or ""
    drafter = pick_beside(_mainline(listing.files), model)
    if drafter is None:
        raise _no_drafter(str(source), model, listing)

    def fetched(file: str, part: Part) -> Path:
        named = Source(repo=source.repo, revision=source.revision, file=file)
        return fetch(named, part, progress, deep, listing=listing)[0]

    return PairFiles(fetched(model, Part.TARGET), fetched(drafter, Part.ASSISTANT), found=True)


def _mainline(names: Iterable[str]) -> list[str]:
    return [name for name in names if FileName.parse(name).dialect == MAINLINE.name]


def _beside(target: Path) -> Path:
    """The drafter in a target's folder: that of its name (of several its type, then Q8_0), else the only one.

    An assistant comes before a drafter of another family.
    """
    own = FileName.parse(target)
    there = next(filter(None, (_drafters(target, family) for family in FAMILIES.values())), [])
    mine = [name for name in there if FileName.parse(name).model.lower() == own.model.lower()]
    candidates = _of_type(mine, own.type or "") or there
    if len(candidates) == 1:
        return target.with_name(candidates[0])
    if not candidates:
        raise _no_drafter(str(target), target.name)
    raise UsageError(
        f"{len(candidates)} drafters lie beside the target, and none is certain to be meant",
        where=str(target),
        hint=f"name one after the target, or add --no-draft: {', '.join(candidates[:MOST_NAMED])}",
    )


def _drafters(target: Path, family: Family) -> list[str]:
    """The family's drafters in a target's folder."""
    names = sorted(path.name for path in target.parent.glob(f"{family.prefix}*{ENDING}"))
    return [name for name in _mainline(names) if (split_names(name) or (1,))[0] == 1 and name != target.name]


def _of_type(names: list[str], kind: str) -> list[str]:
    """The one that has this type, else the one in the second choice, else all."""
    for wanted in (kind, SECOND_CHOICE):
        fitting = [name for name in names if (FileName.parse(name).type or "").upper() == wanted.upper()]
        if len(fitting) == 1:
            return fitting
    return names


def _no_drafter(place: str, file: str, listing: Listing | None = None) -> UsageError:
    from huggingface_hub import constants

    where = "its folder" if listing is None else "the repo"
    if listing is not None and constants.is_offline_mode():
        where = "what the cache has of the repo (HF_HUB_OFFLINE is set)"
    make_one = advice.ours("convert", official_assistant(file), options={"--type": SECOND_CHOICE})
    return UsageError(
        f"no assistant is named, and {where} has no drafter ({FAMILY.prefix}*{ENDING}) for {file}",
        where=place,
        hint=f"{make_one} makes one: name it after the target; --no-draft does without",
    )


def official_assistant(file: str) -> str:
    """The official repo of the assistant for a target's file, by its name; of one that names none a pattern."""
    model = FileName.parse(file).model.lower()
    by_name = {
        repo.split("/")[1].removesuffix(FAMILY.ending).removesuffix(UNQUANTIZED).lower(): repo
        for repo in FAMILY.official_repos
        if repo.endswith(FAMILY.ending)
    }
    fitting = [name for name in by_name if model.startswith(name)]
    pattern = f"{FAMILY.publisher}/{FAMILY.checkpoint.format(size='SIZE')}{FAMILY.ending}"
    return by_name[max(fitting, key=len)] if fitting else pattern
