"""A repo of its own for a preset.ini, so that `llama-server -hf OWNER/NAME` downloads a pair and drafts, without flags.

It cannot stand beside the drafter: where a repo has a preset.ini at its root, llama.cpp reads that and none of its
other files, for -hf and for -hfd alike (common/download.cpp, `common_download_get_hf_plan`), so the preset would name a
drafter that cannot be found. Tried with b10434: `-hfd` on such a repo downloads nothing, and no drafter is loaded.
"""

from __future__ import annotations

from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.files.hashing import git_hasher
from gemma_mtp.hosts.export import USUAL_DRAFT
from gemma_mtp.hosts.writers import preset_value
from gemma_mtp.hub.download import Listing, fetch_file
from gemma_mtp.hub.source import Source, check_repo_name
from gemma_mtp.publish.facts import Facts

PRESET = "preset.ini"


def require_no_preset(listing: Listing | None) -> None:
    """Raises UsageError: the drafters' own repo has one."""
    if listing is not None and PRESET in listing.files:
        raise UsageError(
            f"this repo has a {PRESET} at its root: llama.cpp reads that, and none of the drafters beside it",
            where=listing.repo,
            hint="remove it there; --preset-repo puts one into a repo of its own",
        )


def require_fit(facts: Facts, repo: str) -> None:
    """Raises UsageError: a preset cannot name these files, or would stand beside them."""
    check_repo_name(repo)
    if repo == facts.repo:
        raise UsageError(
            f"a {PRESET} beside the drafters would hide them from llama.cpp", where=repo, hint="name another repo"
        )
    if facts.target is None or facts.target.repo is None:
        raise UsageError(
            "a preset names the target's repo, and none is known", where=repo, hint="say --target OWNER/REPO:QUANT"
        )
    if facts.first.dialect is not facts.first.family.mainline:
        raise UsageError("llama.cpp, which reads presets, does not read these drafters", where=facts.first.path)


def section(facts: Facts) -> str:
    """The section for this pair. `require_fit` comes first."""
    target = facts.target
    assert target is not None
    tag = f":{target.quant}" if target.quant else ""
    draft = facts.bench.recommendation.draft if facts.bench else 0
    keys = {
        "hf-repo": f"{target.repo}{tag}",
        **({"hf-file": target.file} if target.file else {}),
        "hf-repo-draft": f"{facts.repo}:{facts.first.name.type}",
        "spec-type": facts.first.family.spec_type,
        "spec-draft-n-max": str(draft or USUAL_DRAFT),
        "parallel": "1",
    }
    lines = [f"{key} = {preset_value(value)}" for key, value in keys.items()]
    return "\n".join([f"[{facts.target_name}]", *lines, ""])


def merged(existing: str, ours: str) -> str:
    """The file with our section in the place of an earlier one, or at its end; all else is its author's.

    An earlier section goes as far as its last key: comments and empty lines behind that belong to what follows.
    """
    lines = existing.splitlines(keepends=True)
    headers = [number for number, line in enumerate(lines) if line.startswith("[")]
    name = ours.split("]", 1)[0] + "]"
    start = next((number for number in headers if lines[number].strip() == name), None)
    if start is None:
        return f"{existing.rstrip()}\n\n{ours}" if existing.strip() else ours
    end = next((number for number in headers if number > start), len(lines))
    keys = [number for number in range(start, end) if "=" in lines[number] and lines[number][0] not in ";#"]
    return "".join([*lines[:start], ours, *lines[(keys[-1] if keys else start) + 1 :]])


def existing_preset(listing: Listing | None) -> str:
    """Raises EnvironmentProblem: it is no text."""
    if listing is None or PRESET not in listing.files:
        return ""
    path = fetch_file(Source(repo=listing.repo, revision=listing.commit, file=PRESET))
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise EnvironmentProblem(
            f"the repo's {PRESET} is not UTF-8", where=listing.repo, hint="save it as UTF-8 and run it again"
        ) from error


def git_sha1(content: bytes) -> str:
    hasher = git_hasher(len(content))
    hasher.update(content)
    return hasher.hexdigest()
