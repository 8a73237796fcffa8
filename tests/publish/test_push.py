"""Pushing to the local Hub with the real client: what arrives, what a second push does, and every way to fail."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.bench_results import RESULTS, row
from helpers.local_hub.fixtures import READ_TOKEN, WRITE_TOKEN
from helpers.local_hub.stub import HubStub
from helpers.schemas import checked
from huggingface_hub import ModelCard, constants
from typer.testing import CliRunner

from gemma_mtp.bench.results import OVERALL, PLAIN, ModelFile, Recommendation, Row
from gemma_mtp.cli.main import application
from gemma_mtp.errors import BadFileError, EnvironmentProblem, UsageError
from gemma_mtp.publish import PushRequest, plan_push, push

REPO = "alice/tiny-it-assistant-GGUF"
CARD = "README.md"
Files = Callable[..., list[Path]]

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture
def files(tmp_path: Path, assistant_gguf: Callable[[str], Path]) -> Files:
    """`files("Q8_0", "BF16")`: assistants under names that may be published."""

    def make(*types: str) -> list[Path]:
        paths = []
        for kind in types:
            path = tmp_path / f"mtp-tiny-it-{kind}.gguf"
            shutil.copyfile(assistant_gguf(kind), path)
            paths.append(path)
        return paths

    return make


def do(files: list[Path], **options):
    return push(plan_push(PushRequest(files, REPO, **options)))


def tree(stub: HubStub, repo: str = REPO) -> dict[str, dict]:
    return stub.repos[repo]["commits"][-1]["tree"]


def content(stub: HubStub, name: str) -> bytes:
    return stub.blob_path(tree(stub)[name]["sha"]).read_bytes()


def writes(stub: HubStub) -> list[str]:
    """The requests that change something."""
    harmless = ("validate-yaml", "preupload", "objects/batch", "paths-info")
    return [
        f"{r['method']} {r['path']}"
        for r in stub.log
        if r["method"] not in ("GET", "HEAD") and not any(word in r["path"] for word in harmless)
    ]


def test_files_arrive_byte_for_byte_in_one_commit(stub: HubStub, files: Files, logged_in: str):
    paths = files("Q8_0", "BF16")
    outcome = do(paths)
    assert outcome.url == f"{stub.endpoint}/{REPO}"
    assert {path.name: path.read_bytes() for path in paths} == {path.name: content(stub, path.name) for path in paths}
    commits = stub.repos[REPO]["commits"]
    assert [commit["oid"] for commit in commits[1:]] == [outcome.commit]
    assert not stub.repos[REPO]["private"]


def test_doing_it_twice_changes_nothing(stub: HubStub, files: Files, logged_in: str):
    paths = files("Q8_0")
    do(paths, collection="Drafters")
    before, made = len(stub.repos[REPO]["commits"]), len(writes(stub))
    outcome = do(paths, collection="Drafters")
    assert outcome.commit is None
    assert len(stub.repos[REPO]["commits"]) == before
    assert len(writes(stub)) == made
    (collection,) = stub.collections.values()
    assert [item["id"] for item in collection["items"]] == [REPO]


def test_only_what_is_new_is_sent(stub: HubStub, files: Files, logged_in: str):
    do(files("Q8_0"))
    sent = len(stub.log)
    do(files("Q8_0", "BF16"))
    uploaded = [r["path"] for r in stub.log[sent:] if r["srv"] == "cdn" and r["method"] == "PUT"]
    assert uploaded == [f"/lfs/{tree(stub)['mtp-tiny-it-BF16.gguf']['sha']}"]


def test_the_card_says_what_the_files_are(stub: HubStub, files: Files, logged_in: str, target_gguf):
    (path,) = files("Q8_0")
    do([path], target=str(target_gguf("BF16")), base_model="google/tiny-it-assistant")
    text = content(stub, CARD).decode()
    data = ModelCard(text).data.to_dict()
    assert data["base_model"] == "google/tiny-it-assistant"
    assert data["base_model_relation"] == "quantized"
    assert data["pipeline_tag"] == "text-generation"
    assert {"gguf", "speculative-decoding", "gemma4-assistant"} <= set(data["tags"])
    assert hashlib.sha256(path.read_bytes()).hexdigest() in text
    assert f"| `{path.name}` | Q8_0 | {path.stat().st_size:,} |" in text
    assert f"-hfd {REPO}:Q8_0 --spec-type draft-mtp" in text
    assert "target-BF16.gguf -md mtp-tiny-it-Q8_0.gguf -mtp" in text
    assert str(target_gguf("BF16").parent) not in text
    assert "checks passed against `target-BF16.gguf`, 0 warnings" in text
    assert "Hidden width, Donor layers" in text
    assert text.index("llama-server") < text.index("## Files")


def test_a_card_keeps_what_its_author_wrote(stub: HubStub, files: Files, logged_in: str):
    do(files("Q8_0"))
    text = content(stub, CARD).decode()
    edited = text.replace("# tiny-it: MTP drafter", "# My drafter").replace("tags:\n", "tags:\n- mine\n")
    edited = edited.replace("license:", "license:") + "\nThanks to everybody.\n"
    edited = edited.replace("---\n\n#", "license: mit\nextra: kept\n---\n\n#", 1)
    stub.add_file(REPO, CARD, edited.encode())
    do(files("Q8_0", "BF16"))
    text = content(stub, CARD).decode()
    data = ModelCard(text).data.to_dict()
    assert "# My drafter" in text
    assert "Thanks to everybody." in text
    assert data["license"] == "mit"
    assert data["extra"] == "kept"
    assert "mine" in data["tags"]
    assert text.count("gemma-mtp:files:begin") == 1
    assert "`mtp-tiny-it-BF16.gguf` | BF16" in text


def test_a_card_of_other_origin_gets_our_sections_at_its_end(stub: HubStub, files: Files, logged_in: str):
    stub.make_repo(REPO)
    stub.add_file(REPO, CARD, b"Just words.\n")
    do(files("Q8_0"))
    text = content(stub, CARD).decode()
    assert text.index("Just words.") < text.index("gemma-mtp:commands:begin")


def test_files_pushed_earlier_keep_their_row(stub: HubStub, files: Files, logged_in: str):
    do(files("Q8_0"))
    lines = [line for line in content(stub, CARD).decode().splitlines() if line.startswith(("| `mtp-", "- `mtp-"))]
    assert len(lines) == 2
    do(files("BF16"), skip_verify=True)
    text = content(stub, CARD).decode()
    assert set(lines) < set(text.splitlines())
    assert "`mtp-tiny-it-BF16.gguf`: **published without verification**" in text


@pytest.fixture
def bench_results(tmp_path: Path, files: Files) -> Path:
    """What bench would have written about the Q8_0 file."""

    def measured(category: str, draft: int) -> Row:
        speedup, drafts = 1 + 0.25 * draft, {"drafted": 180, "accepted": 120, "acceptance": 2 / 3} if draft else {}
        return replace(row(category, draft, speedup), tokens_per_second=100 * speedup, **drafts)

    (path,) = files("Q8_0")
    results = replace(
        RESULTS,
        machine=replace(RESULTS.machine, devices=("a | <!-- gemma-mtp:benchmarks:end --> GPU",)),
        assistant=ModelFile("tiny assistant", path.name, path.stat().st_size, "Q8_0"),
        settings=replace(RESULTS.settings, prompts={"code": 2, "prose": 1}),
        rows=tuple(measured(category, draft) for category in (OVERALL, "code", "prose") for draft in (PLAIN, 1, 3)),
        recommendation=Recommendation(3, 1.75, ("it pays",), "llama-server -m /home/alice/tiny.gguf"),
    )
    there = tmp_path / "bench.json"
    there.write_text(json.dumps(results.to_dict()))
    return there


def test_bench_results_are_tabled_and_kept(stub: HubStub, files: Files, bench_results: Path, logged_in: str):
    do(files("Q8_0"), bench=bench_results)
    text = content(stub, CARD).decode()
    assert "| python | no | 100.0 |  |  | yes |\n| python | 1 | 125.0 | 1.25x | 66.7% | yes |" in text
    assert "| code | 175.0 | 1.75x | 66.7% |" in text
    assert "--spec-draft-n-max 3" in text
    assert "/home/alice" not in text
    section = text[text.index("## Benchmarks") : text.index("## Provenance")]
    do(files("Q8_0", "BF16"))
    assert section in content(stub, CARD).decode()


def test_bench_results_of_something_else_are_refused(stub: HubStub, files: Files, bench_results: Path, logged_in: str):
    with pytest.raises(UsageError, match="not in the repo"):
        do(files("BF16"), bench=bench_results)
    other = json.loads(bench_results.read_text())
    other["assistant"]["bytes"] += 1
    bench_results.write_text(json.dumps(other))
    with pytest.raises(UsageError, match="for another mtp-tiny-it-Q8_0"):
        do(files("Q8_0"), bench=bench_results)
    bench_results.write_text("{")
    with pytest.raises(BadFileError, match="no bench results"):
        do(files("Q8_0"), bench=bench_results)
    assert not writes(stub)


def test_the_card_says_where_the_files_come_from(stub: HubStub, tmp_path: Path, logged_in: str):
    from gemma_mtp.convert import Output, convert_checkpoint
    from gemma_mtp.demo.pair import PAIR
    from gemma_mtp.sources.origin import Origin

    path, commit = tmp_path / "mtp-tiny-it-Q8_0.gguf", "c" * 40
    convert_checkpoint(PAIR / "assistant", [Output(path, "Q8_0")], origin=Origin("google/tiny-it-assistant", commit))
    do([path])
    text = content(stub, CARD).decode()
    weights = hashlib.sha256((PAIR / "assistant" / "model.safetensors").read_bytes()).hexdigest()
    assert f"at commit `{commit}`" in text
    assert f"| `model.safetensors` | `{weights}` |" in text
    data = ModelCard(text).data.to_dict()
    assert data["base_model"] == "google/tiny-it-assistant"
    assert data["quantized_by"] == "alice"


def test_a_private_repo_and_collection(stub: HubStub, files: Files, logged_in: str):
    do(files("Q8_0"), private=True, collection="Secret drafters")
    assert stub.repos[REPO]["private"]
    assert [found["private"] for found in stub.collections.values()] == [True]


def test_a_collection_by_slug_and_its_note(stub: HubStub, files: Files, logged_in: str):
    do(files("Q8_0"), collection="Drafters")
    (slug,) = stub.collections
    outcome = do(files("Q8_0", "BF16"), collection=slug)
    (item,) = stub.collections[slug]["items"]
    assert item["note"]["text"] == "MTP drafter for tiny-it: BF16, Q8_0"
    assert outcome.collection_url == f"{stub.endpoint}/collections/{slug}"


def test_a_dry_run_changes_nothing_and_shows_everything(stub: HubStub, files: Files, logged_in: str):
    arguments = ["push", *map(str, files("Q8_0")), "--repo", REPO, "--collection", "Drafters", "--dry-run"]
    result = CliRunner().invoke(application(), arguments)
    assert result.exit_code == 0, result.output
    for words in (f"repo {REPO}: new, public", "new        mtp-tiny-it-Q8_0.gguf", "collection Drafters: new"):
        assert words in result.stderr
    assert result.stdout.startswith("---\n")
    assert "## Files" in result.stdout
    assert "signed in as alice" in result.stderr
    assert not writes(stub)
    assert not stub.repos


def test_a_dry_run_says_that_a_push_would_fail(stub: HubStub, files: Files):
    result = CliRunner().invoke(application(), ["push", *map(str, files("Q8_0")), "--repo", REPO, "--dry-run"])
    assert result.exit_code == 0
    assert "a push would fail: you are not logged in" in result.stderr


def test_the_command_reports_as_json(stub: HubStub, files: Files, logged_in: str):
    result = CliRunner().invoke(application(), ["push", *map(str, files("Q8_0")), "--repo", REPO, "--json"])
    report = checked(result.stdout)
    assert report["commit"] == stub.repos[REPO]["commits"][-1]["oid"]
    assert [file["state"] for file in report["files"]] == ["new", "new"]
    assert WRITE_TOKEN not in result.output


# ------------------------------------------------------------------ what is refused


def test_a_broken_file_is_refused_unless_told_otherwise(stub: HubStub, files: Files, logged_in: str):
    (path,) = files("BF16")
    raw = bytearray(path.read_bytes())
    raw[-4096:] = b"\xff" * 4096  # NaN
    path.write_bytes(raw)
    with pytest.raises(BadFileError, match="broken") as caught:
        do([path])
    assert "--skip-verify" in caught.value.hint
    assert not writes(stub)
    do([path], skip_verify=True)
    assert "published without verification" in content(stub, CARD).decode()


def test_a_pair_that_does_not_fit_is_refused(stub: HubStub, files: Files, logged_in: str, assistant_gguf):
    with pytest.raises(BadFileError, match="not published"):
        do(files("Q8_0"), target=str(assistant_gguf("BF16")))
    assert not writes(stub)


def test_a_remote_target_is_checked_by_its_header(stub: HubStub, files: Files, logged_in: str, target_gguf):
    stub.make_repo("google/tiny-it-GGUF")
    stub.add_file("google/tiny-it-GGUF", "tiny-it-BF16.gguf", target_gguf("BF16").read_bytes())
    do(files("Q8_0"), target="hf://google/tiny-it-GGUF/tiny-it-BF16.gguf")
    assert "-hf google/tiny-it-GGUF -hfd" in content(stub, CARD).decode()


def test_names_that_llama_would_misread_are_refused(files: Files, tmp_path: Path):
    (path,) = files("Q8_0")
    wrong = path.rename(tmp_path / "tiny-it-assistant-Q8_0.gguf")
    with pytest.raises(UsageError, match="full model"):
        plan_push(PushRequest([wrong], REPO))
    with pytest.raises(UsageError, match="its name says Q4_0, the file is Q8_0"):
        plan_push(PushRequest([wrong.rename(tmp_path / "mtp-tiny-it-Q4_0.gguf")], REPO))


def test_a_target_is_not_published(tmp_path: Path, target_gguf):
    path = tmp_path / "mtp-tiny-BF16.gguf"
    shutil.copyfile(target_gguf("BF16"), path)
    with pytest.raises(BadFileError, match="a Gemma 4 target, not an assistant"):
        plan_push(PushRequest([path], REPO))


def test_one_repo_is_for_one_target(stub: HubStub, files: Files, tmp_path: Path, logged_in: str):
    (path,) = files("Q8_0")
    other = tmp_path / "mtp-other-Q8_0.gguf"
    shutil.copyfile(path, other)
    with pytest.raises(UsageError, match="2 targets"):
        do([path, other])
    do([path])
    with pytest.raises(UsageError, match="another target"):
        do([other])


def test_a_dialect_for_another_runtime(stub: HubStub, files: Files, tmp_path: Path, logged_in: str):
    from gemma_mtp.convert import convert_dialect, dialect_named

    (path,) = files("Q8_0")
    ik = tmp_path / "mtp-tiny-it-Q8_0-ik.gguf"
    convert_dialect(path, ik, dialect_named("ik"))
    do([ik])
    text = content(stub, CARD).decode()
    assert "ik_llama.cpp" in text
    assert "--spec-type draft-mtp" not in text
    with pytest.raises(UsageError, match="says the dialect mainline"):
        do([ik.rename(tmp_path / "mtp-tiny-it-Q8_0.gguf")])


# ------------------------------------------------------------------ what goes wrong


def test_not_logged_in(stub: HubStub, files: Files):
    with pytest.raises(EnvironmentProblem, match="not logged in") as caught:
        do(files("Q8_0"))
    assert "hf auth login" in caught.value.hint
    assert not writes(stub)


def test_a_token_that_only_reads(stub: HubStub, files: Files, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    with pytest.raises(EnvironmentProblem, match="only read"):
        do(files("Q8_0"))
    assert not writes(stub)


def test_a_token_that_is_wrong(files: Files, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    with pytest.raises(EnvironmentProblem, match="does not accept the token") as caught:
        do(files("Q8_0"))
    assert "xxxx" not in str(caught.value)


def test_somebody_elses_repo(files: Files, logged_in: str):
    with pytest.raises(EnvironmentProblem, match="may not do that"):
        push(plan_push(PushRequest(files("Q8_0"), "bob/drafters")))


@pytest.mark.parametrize(
    "fault",
    [
        {"method": "POST", "path_re": "/api/repos/create", "status": 503},
        {"method": "POST", "path_re": "/preupload/", "status": 429, "headers": {"Retry-After": "0"}},
        {"method": "PUT", "path_re": "/lfs/", "drop_after": 50_000, "srv": "cdn"},
        {"method": "POST", "path_re": "/commit/main", "status": 500},
        {"method": "POST", "path_re": "/api/collections", "status": 503},
    ],
    ids=lambda fault: f"{fault['path_re']} {fault.get('status', 'cut')}",
)
def test_passing_trouble_is_outlived(stub: HubStub, files: Files, logged_in: str, fault: dict):
    stub.fault(**fault)
    paths = files("Q8_0")
    do(paths, collection="Drafters")
    assert content(stub, paths[0].name) == paths[0].read_bytes()


def test_an_upload_that_was_committed_although_the_answer_got_lost(stub: HubStub, files: Files, logged_in: str):
    stub.fault("POST", "/commit/main", lost=True)
    paths = files("Q8_0")
    do(paths)
    assert content(stub, paths[0].name) == paths[0].read_bytes()
    assert len(stub.repos[REPO]["commits"]) == 2


def test_a_large_file_goes_in_parts(stub: HubStub, files: Files, logged_in: str):
    stub.multipart_over = 1 << 20
    paths = files("BF16")
    do(paths)
    assert content(stub, paths[0].name) == paths[0].read_bytes()
    assert sum("/part/" in r["path"] for r in stub.log) > 2


def test_content_that_the_hub_has_otherwise_is_noticed(stub: HubStub, files: Files, logged_in: str):
    paths = files("Q8_0")
    stub.fault("POST", "/paths-info/", 200, body=[{"type": "file", "path": paths[0].name, "oid": "0" * 40, "size": 1}])
    with pytest.raises(EnvironmentProblem, match="other content than was sent"):
        do(paths)


def test_a_commit_in_between_is_not_overwritten(stub: HubStub, files: Files, logged_in: str):
    do(files("Q8_0"))
    plan = plan_push(PushRequest(files("Q8_0", "BF16"), REPO))
    stub.add_file(REPO, "note.txt", b"meanwhile")
    with pytest.raises(EnvironmentProblem, match="changed in the meantime"):
        push(plan)
    push(plan_push(PushRequest(files("Q8_0", "BF16"), REPO)))
    assert {"note.txt", "mtp-tiny-it-BF16.gguf"} <= set(tree(stub))


def test_no_network(files: Files, logged_in: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    result = CliRunner().invoke(application(), ["push", *map(str, files("Q8_0")), "--repo", REPO])
    assert result.exit_code == 3
    assert "cannot be reached" in result.stderr
