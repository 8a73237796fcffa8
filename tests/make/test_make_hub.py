"""The pipeline from the local Hub and back to it, through the command."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.hub_checkpoints import NAME, add_checkpoint
from helpers.local_hub.fixtures import WRITE_TOKEN
from helpers.local_hub.stub import HubStub
from helpers.schemas import checked
from huggingface_hub import ModelCard
from typer.testing import CliRunner, Result

from gemma_mtp.cli.main import application
from gemma_mtp.demo.dflash import DRAFTER
from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.make import Entry, find_assistants, jobs_of, read_jobs

REPO = f"alice/{NAME}-GGUF"
FILE = "mtp-tiny-gemma-4-it-Q8_0.gguf"

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(application(), ["make", *arguments])
    assert result.exit_code == code, result.output
    assert WRITE_TOKEN not in result.output
    return result


def content(stub: HubStub, repo: str, name: str) -> bytes:
    return stub.blob_path(stub.repos[repo]["commits"][-1]["tree"][name]["sha"]).read_bytes()


def paths(stub: HubStub, since: int = 0, method: str = "") -> list[str]:
    return [record["path"] for record in stub.log[since:] if record["method"].startswith(method)]


def test_from_the_hub_to_the_hub(stub: HubStub, on_the_hub: str, logged_in: str):
    result = run(on_the_hub, "--type", "Q8_0", "--type", "BF16", "--push", "alice", "--collection", "Drafters")
    assert result.stdout.split() == [
        FILE,
        "mtp-tiny-gemma-4-it-BF16.gguf",
        f"{stub.endpoint}/{REPO}",
        f"{stub.endpoint}/collections/{next(iter(stub.collections))}",
    ]
    assert content(stub, REPO, FILE) == Path(FILE).read_bytes()
    card = ModelCard(content(stub, REPO, "README.md").decode())
    assert card.data.base_model == on_the_hub
    assert "checks passed" in card.text

    commits, asked = len(stub.repos[REPO]["commits"]), len(stub.log)
    again = run(on_the_hub, "--type", "Q8_0", "--type", "BF16", "--push", "alice", "--collection", "Drafters")
    assert "nothing was new" in again.stderr
    assert again.stderr.count("was done") == 4
    assert len(stub.repos[REPO]["commits"]) == commits
    assert not [path for path in paths(stub, asked, "GET") if f"{on_the_hub}/resolve" in path]


def test_a_push_that_failed_goes_on_without_making_the_files_again(stub: HubStub, on_the_hub: str, logged_in: str):
    stub.fault("PUT", "/lfs/", drop_after=100_000, srv="cdn", times=99)
    result = run(on_the_hub, "--push", REPO, code=3)
    assert "broke off" in result.stderr
    stub.faults.clear()
    made = Path(FILE).stat().st_mtime_ns
    result = run(on_the_hub, "--push", REPO)
    assert "done, " not in result.stderr
    assert Path(FILE).stat().st_mtime_ns == made
    assert content(stub, REPO, FILE) == Path(FILE).read_bytes()


def test_a_file_that_vanished_from_the_hub_is_pushed_again(stub: HubStub, on_the_hub: str, logged_in: str):
    run(on_the_hub, "--push", REPO)
    del stub.repos[REPO]
    run(on_the_hub, "--push", REPO)
    assert content(stub, REPO, FILE) == Path(FILE).read_bytes()


def test_a_new_commit_of_the_checkpoint_is_noticed(stub: HubStub, on_the_hub: str):
    run(on_the_hub)
    stub.add_file(on_the_hub, "notes.txt", b"not read")
    assert "done, " not in run(on_the_hub).stderr
    stub.add_file(on_the_hub, "generation_config.json", b"{}")
    assert f"convert   {FILE}: done, " in run(on_the_hub).stderr


def test_what_would_fail_at_the_end_fails_at_once(on_the_hub: str, monkeypatch: pytest.MonkeyPatch):
    assert "not logged in" in run(on_the_hub, "--push", REPO, code=3).stderr
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    assert "not the name of a repo" in run(on_the_hub, "--push", "alice", "--name", "my model", code=2).stderr
    assert "1 to 59 characters" in run(on_the_hub, "--push", "alice", "--collection", "x" * 60, code=2).stderr
    assert "no bench results" in run(on_the_hub, "--push", "alice", "--bench", "missing.json", code=1).stderr
    run("--all", "google", "--name", "x", code=2)
    assert not list(Path().iterdir())


def test_another_name(stub: HubStub, on_the_hub: str, logged_in: str):
    run(on_the_hub, "--name", "mine-it-assistant", "--push", "alice")
    assert "mtp-mine-it-Q8_0.gguf" in stub.repos["alice/mine-it-assistant-GGUF"]["commits"][-1]["tree"]


def test_a_broken_pair_is_not_pushed(stub: HubStub, on_the_hub: str, logged_in: str, assistant_gguf):
    result = run(on_the_hub, "--push", REPO, "--target", str(assistant_gguf("BF16")), code=1)
    assert "verification failed" in result.stderr
    assert REPO not in stub.repos


def test_a_dry_run_shows_the_plan_and_changes_nothing(stub: HubStub, on_the_hub: str, logged_in: str):
    options = (on_the_hub, "--type", "Q8_0", "--dialect", "mainline", "--dialect", "ik", "--push", "alice")
    lines = run(*options, "--dry-run").stdout.splitlines()
    assert lines == [
        f"convert   {FILE}  to do: not done yet",
        "respell   mtp-tiny-gemma-4-it-Q8_0-ik.gguf  to do: not done yet",
        f"verify    {FILE}  to do: not done yet",
        "verify    mtp-tiny-gemma-4-it-Q8_0-ik.gguf  to do: not done yet",
        f"push      {REPO}",
    ]
    assert not list(Path().iterdir())
    assert REPO not in stub.repos
    run(*options)
    Path(FILE).unlink()
    steps = checked(run(*options, "--dry-run", "--json").stdout)["jobs"][0]["steps"]
    assert [step["to_do"] for step in steps] == [
        "the file is gone",
        f"{FILE} changed",
        f"{FILE} changed",
        "mtp-tiny-gemma-4-it-Q8_0-ik.gguf changed",
    ]
    run(*options)
    done = run(*options, "--dry-run")
    assert "  to do" not in done.stdout
    assert "## Files" in done.stdout
    assert "unchanged" in done.stderr


def test_the_result_as_json(on_the_hub: str, logged_in: str):
    (job,) = checked(run(on_the_hub, "--push", "alice", "--json").stdout)["jobs"]
    assert job["files"] == [FILE]
    assert job["push"]["repo"] == REPO
    assert job["push"]["commit"]
    assert [step["done_because"] for step in job["steps"]] == ["not done yet", "not done yet"]


def test_a_gguf_on_the_hub_is_a_source(stub: HubStub, assistant_gguf):
    stub.make_repo("bob/drafter-GGUF")
    stub.add_file("bob/drafter-GGUF", "mtp-tiny-it-BF16.gguf", assistant_gguf("BF16").read_bytes())
    run("hf://bob/drafter-GGUF/mtp-tiny-it-BF16.gguf", "--type", "Q4_0")
    assert Path("mtp-tiny-it-Q4_0.gguf").exists()


# ------------------------------------------------------------------ several assistants


@pytest.fixture
def owner(stub: HubStub) -> str:
    """An owner with three assistants, over two pages of the listing, and repos that are none."""
    stub.page_size = 3
    for size in ("E2B", "E4B", "31B"):
        add_checkpoint(stub, f"google/gemma-4-{size}-it-assistant")
    add_checkpoint(stub, "google/gemma-4-31B-it-assistant-target", part="target")
    stub.make_repo("google/gemma-4-31B-it-assistant-GGUF")
    stub.make_repo("google/gemma-3-1b-assistant")
    return "google"


def test_all_assistants_of_an_owner_a_pattern_or_a_collection(stub: HubStub, owner: str, logged_in: str):
    everything = [f"google/gemma-4-{size}-it-assistant" for size in ("31B", "E2B", "E4B")]
    assert find_assistants("google") == everything
    assert find_assistants("google/gemma-4-e*") == everything[1:]
    with pytest.raises(EnvironmentProblem, match="no Gemma 4 assistant"):
        find_assistants("google/gemma-5*")
    with pytest.raises(EnvironmentProblem, match="no Gemma 4 assistant"):
        find_assistants("nobody")
    with pytest.raises(UsageError, match="name an owner"):
        find_assistants("*/gemma")

    from gemma_mtp.hub.client import hub

    slug = hub().create_collection("Gemma 4", namespace="alice").slug
    for repo in ("google/gemma-4-E2B-it-assistant", "google/gemma-4-31B-it-assistant-GGUF"):
        hub().add_collection_item(slug, repo, "model")
    assert find_assistants(slug) == ["google/gemma-4-E2B-it-assistant"]


def test_dflash_drafters_are_among_them_where_they_can_be_made(stub: HubStub, owner: str, logged_in: str):
    for repo, files in {"google/gemma-4-31B-it-DFlash": DRAFTER, "google/Qwen3-8B-DFlash": DRAFTER}.items():
        stub.make_repo(repo)
        for path in (files / "config.json", files / "model.safetensors"):
            stub.add_file(repo, path.name, path.read_bytes())
    assistants = [f"google/gemma-4-{size}-it-assistant" for size in ("31B", "E2B", "E4B")]
    blocks = "google/gemma-4-31B-it-DFlash"

    def found(selection: str = "google", **options: object) -> list[str]:
        return [job.source for job in jobs_of([Entry(None, selection, options)])]

    assert found() == assistants
    assert found(target="x.gguf") == sorted([blocks, *assistants])
    assert found(target="x.gguf", dialects=("mainline",)) == sorted([blocks, *assistants])
    assert found(target="x.gguf", dialects=("mainline", "ik")) == assistants
    assert found("google/*-31B-it-*", target="x.gguf") == [blocks, assistants[0]]

    from gemma_mtp.hub.client import hub

    slug = hub().create_collection("Drafters", namespace="alice").slug
    for repo in (blocks, "google/Qwen3-8B-DFlash", assistants[1]):
        hub().add_collection_item(slug, repo, "model")
    assert found(slug) == [assistants[1]]
    assert found(slug, target="x.gguf") == [blocks, assistants[1]]


def test_all_of_them_are_made_with_the_tokenizer_of_the_target(stub: HubStub, target_gguf, tmp_path: Path):
    add_checkpoint(stub, "google/gemma-4-E2B-it-assistant")
    stub.make_repo("google/gemma-4-E2B-it-DFlash")
    for path in (DRAFTER / "config.json", DRAFTER / "model.safetensors"):
        stub.add_file("google/gemma-4-E2B-it-DFlash", path.name, path.read_bytes())
    (tmp_path / "gemma-4-E2B-it.gguf").symlink_to(target_gguf("BF16"))
    run("--all", "google", "--target", f"{tmp_path}/{{target}}.gguf")
    assert {path.name for path in Path().glob("*.gguf")} == {
        "mtp-gemma-4-E2B-it-Q8_0.gguf",
        "dflash-gemma-4-E2B-it-Q8_0.gguf",
    }


def test_making_all_of_them(stub: HubStub, owner: str, logged_in: str):
    result = run("--all", "google/gemma-4-E*", "--push", "alice", "--collection", "Gemma 4 drafters")
    assert "2 assistants" in result.stderr
    repos = [f"alice/gemma-4-{size}-it-assistant-GGUF" for size in ("E2B", "E4B")]
    assert {repo for repo in stub.repos if repo.startswith("alice/")} == set(repos)
    (collection,) = stub.collections.values()
    assert [item["id"] for item in collection["items"]] == repos
    with pytest.raises(UsageError, match="pushed to the same repo"):
        jobs_of(read_jobs(_jobs('[[job]]\nall = "google"\npush = "alice/one"\n')))


def test_one_that_fails_does_not_keep_the_others_back(stub: HubStub, owner: str):
    stub.add_file("google/gemma-4-31B-it-assistant", "model.safetensors", b"\0" * 100)
    result = run("--all", "google", "--json", code=1)
    jobs = checked(result.stdout)["jobs"]
    assert ["error" in job for job in jobs] == [True, False, False]
    assert "error:" in result.stderr
    assert Path("mtp-gemma-4-E4B-it-Q8_0.gguf").exists()


TOML = """
[defaults]
type = ["Q8_0", "Q4_0"]
output = "files"

[[job]]
source = "{repo}"
type = "BF16"

[[job]]
all = "google/gemma-4-E*"
dialect = ["mainline", "ik"]
"""
YAML = """
defaults:
  type: [Q8_0, Q4_0]
  output: files
job:
  - source: {repo}
    type: BF16
  - all: google/gemma-4-E*
    dialect: [mainline, ik]
"""


def _jobs(text: str, name: str = "jobs.toml") -> Path:
    Path(name).write_text(text)
    return Path(name)


@pytest.mark.parametrize(("name", "text"), [("jobs.toml", TOML), ("jobs.yaml", YAML)])
def test_a_file_of_jobs(stub: HubStub, owner: str, name: str, text: str):
    path = _jobs(text.format(repo="google/gemma-4-31B-it-assistant"), name)
    jobs = jobs_of(read_jobs(path))
    assert [(job.source.split("-")[2], job.types, job.dialects) for job in jobs] == [
        ("31B", ("BF16",), ("mainline",)),
        ("E2B", ("Q8_0", "Q4_0"), ("mainline", "ik")),
        ("E4B", ("Q8_0", "Q4_0"), ("mainline", "ik")),
    ]
    run(name)
    assert len(list(Path("files").glob("*.gguf"))) == 1 + 4 + 4
    assert "done, " not in run(name).stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[job]\n", "not TOML"),
        ("", "no jobs"),
        ("[[jobs]]\nsource = 'x'\n", "is job meant"),
        ("[[job]]\nsource = 'x'\ntypes = 'Q8_0'\n", "job 1 has the unknown key 'types'"),
        ("[[job]]\nsource = 'x'\nprivate = 'yes'\n", "private is 'yes'; true or false is needed"),
        ("[[job]]\nsource = 'x'\nall = 'y'\n", "job 1 needs one of source and all"),
        ("defaults = 3\n[[job]]\nsource = 'x'\n", "no table"),
    ],
)
def test_a_file_of_jobs_with_a_mistake(text: str, words: str):
    _jobs(text)
    result = run("jobs.toml", code=2)
    assert words in " ".join(result.stderr.split())


def test_wrong_usage():
    run(code=2)
    run("google/x", "--all", "google", code=2)
    run("jobs.toml", "--type", "Q8_0", code=2)
    run("missing.toml", code=2)
