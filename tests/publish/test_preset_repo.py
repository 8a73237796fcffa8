"""`push --preset-repo`: a repo for a preset.ini, and why it is another one than the drafters'."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.local_hub.stub import HubStub

from gemma_mtp.errors import UsageError
from gemma_mtp.publish import PushRequest, plan_push, push
from gemma_mtp.publish.preset_repo import PRESET, merged

REPO, PRESETS, TARGET = "alice/tiny-it-assistant-GGUF", "alice/tiny-it", "bob/tiny-it-GGUF"

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture
def request_for(stub: HubStub, tmp_path: Path, target_gguf, assistant_gguf) -> Callable[..., PushRequest]:
    path = tmp_path / "mtp-tiny-it-Q8_0.gguf"
    shutil.copyfile(assistant_gguf("Q8_0"), path)
    stub.make_repo(TARGET)
    stub.add_file(TARGET, "tiny-it-Q8_0.gguf", target_gguf("Q8_0").read_bytes(), lfs=True)

    def make(**options) -> PushRequest:
        return PushRequest([path], REPO, **{"target": f"{TARGET}:Q8_0", "preset_repo": PRESETS, **options})

    return make


def read(stub: HubStub, repo: str, name: str) -> str:
    entry = stub.repos[repo]["commits"][-1]["tree"][name]
    return stub.blob_path(entry["sha"]).read_bytes().decode()


def sections(text: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            found[name := line.strip("[]")] = {}
        elif "=" in line:
            key, _, value = line.partition("=")
            found[name][key.strip()] = value.strip()
    return found


def test_a_preset_names_both_repos_and_the_type(stub, request_for, logged_in):
    outcome = push(plan_push(request_for()))
    assert outcome.preset_url
    assert outcome.preset_url.endswith(PRESETS)
    assert sections(read(stub, PRESETS, PRESET)) == {
        "tiny-it": {
            "hf-repo": f"{TARGET}:Q8_0",
            "hf-repo-draft": f"{REPO}:Q8_0",
            "spec-type": "draft-mtp",
            "spec-draft-n-max": "3",
            "parallel": "1",
        }
    }
    assert PRESET not in stub.repos[REPO]["commits"][-1]["tree"]


def test_doing_it_twice_changes_nothing(stub, request_for, logged_in):
    push(plan_push(request_for()))
    before = {repo: len(stub.repos[repo]["commits"]) for repo in (REPO, PRESETS)}
    plan = plan_push(request_for())
    assert plan.preset is not None
    assert plan.preset.pending == []
    push(plan)
    assert {repo: len(stub.repos[repo]["commits"]) for repo in (REPO, PRESETS)} == before


def test_other_sections_are_their_authors(stub, request_for, logged_in):
    stub.make_repo(PRESETS)
    mine = "[*]\nmmap = 1\n\n[tiny-it]\nspec-type = none\n\n; mine\n[other]\nhf-repo = a/b\n"
    stub.add_file(PRESETS, PRESET, mine.encode())
    push(plan_push(request_for()))
    text = read(stub, PRESETS, PRESET)
    assert list(sections(text)) == ["*", "tiny-it", "other"]
    assert sections(text)["*"] == {"mmap": "1"}
    assert sections(text)["tiny-it"]["spec-type"] == "draft-mtp"
    assert "; mine" in text


@pytest.mark.parametrize("existing", ["", "\n", "[a]\nx = 1", "[b]\n", "; words\n"])
def test_merging_twice_is_merging_once(existing):
    ours = "[b]\nhf-repo = o/r\n"
    once = merged(existing, ours)
    assert merged(once, ours) == once
    assert ours in once


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset_repo": REPO}, "beside the drafters"),
        ({"target": None}, "target's repo"),
        ({"preset_repo": "nonsense"}, "nonsense"),
    ],
)
def test_what_cannot_be(options, words, request_for, logged_in):
    with pytest.raises(UsageError) as error:
        plan_push(request_for(**options))
    assert words in str(error.value)


def test_drafters_are_not_put_beside_a_preset(stub, request_for, logged_in):
    stub.make_repo(REPO)
    stub.add_file(REPO, PRESET, b"[x]\nspec-type = draft-mtp\n")
    with pytest.raises(UsageError, match=r"preset\.ini"):
        plan_push(request_for(preset_repo=None))


def test_the_card_says_how_to_use_it_in_hosts(request_for, logged_in):
    card = plan_push(request_for()).card
    use = card[card.index("## Use it in") :]
    for words in ("Ollama", "DRAFT /path/to/mtp-tiny-it-Q8_0.gguf", "spec-type = draft-mtp", "llama-swap", "ik_llama"):
        assert words in use
    assert "vllm serve" not in use
    assert card.count("gemma-mtp:use:begin") == 1
