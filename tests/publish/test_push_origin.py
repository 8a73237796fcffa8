"""`push --from`: the card says whose bytes the files have, and what has other bytes is not published."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.hub_checkpoints import add_checkpoint
from helpers.local_hub.stub import HubStub
from helpers.schemas import checked
from typer.testing import CliRunner

from gemma_mtp import quantize_model, verify_file
from gemma_mtp.cli.main import application
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.hashing import sha256_of

REPO, SOURCE = "alice/tiny-it-assistant-GGUF", "google/tiny-gemma-4-it-assistant"
pytestmark = pytest.mark.usefixtures("quick_retries", "logged_in")


@dataclass(frozen=True)
class Shelf:
    """Files of one target, of which the 16-bit one is the source of the others."""

    source: Path
    q8: Path
    q4: Path


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, assistant_gguf: Callable[[str], Path]) -> Shelf:
    folder = tmp_path_factory.mktemp("shelf")
    made = []
    for kind in ("BF16", "Q8_0", "Q4_K_M"):
        made.append(folder / f"mtp-tiny-it-{kind}.gguf")
        made[-1].write_bytes(assistant_gguf(kind).read_bytes())
    return Shelf(*made)


def push(*words: str | Path):
    done = CliRunner().invoke(application(), ["push", *map(str, words), "--repo", REPO])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def card(stub: HubStub) -> str:
    tree = stub.repos[REPO]["commits"][-1]["tree"]
    return stub.blob_path(tree["README.md"]["sha"]).read_text(encoding="utf-8")


def items(text: str) -> dict[str, str]:
    """File name -> what the section says of it."""
    section = text.partition("## Proof of origin")[2].partition("<!--")[0]
    return dict(re.findall(r"^- `([^`]+)` \(SHA-256 `[0-9a-f]{64}`\): (.*)$", section, re.MULTILINE))


def test_the_card_names_the_source_at_its_commit_and_the_command_does_it_again(stub: HubStub, shelf: Shelf):
    add_checkpoint(stub, SOURCE)
    done = push(shelf.q8, shelf.q4, "--from", SOURCE)
    assert done.exit_code == 0, done.output
    commit = stub.repos[SOURCE]["commits"][-1]["oid"]
    said = items(card(stub))
    for path, kind in ((shelf.q8, "Q8_0"), (shelf.q4, "Q4_K_M")):
        assert said[path.name].startswith(f"these are the bytes that {kind} of `{SOURCE}@{commit}` has, in each of 49")
    report = verify_file(f"hf://{REPO}/{shelf.q8.name}", origin=f"{SOURCE}@{commit}")
    assert report.ok
    assert report.origin is not None
    assert report.origin.holds


def test_a_file_with_another_byte_is_not_published(stub: HubStub, shelf: Shelf, tmp_path: Path):
    add_checkpoint(stub, SOURCE)
    with GGUFFile(shelf.q8) as file:
        position = file.span(file.tensors["blk.1.ffn_up.weight"]).offset
    data = bytearray(shelf.q8.read_bytes())
    data[position + 7] ^= 1
    (bad := tmp_path / shelf.q8.name).write_bytes(data)
    done = push(shelf.q4, bad, "--from", SOURCE)
    assert done.exit_code == 1
    said = " ".join(done.stderr.split())
    assert "not published: it is not Q8_0 of" in said
    assert "1 of 49 tensors have other bytes (blk.1.ffn_up.weight)" in said
    assert REPO not in stub.repos
    assert push(bad).exit_code == 0, "the other checks find nothing"


def test_a_source_on_this_machine_is_named_by_its_hash_alone(stub: HubStub, shelf: Shelf):
    done = push(shelf.q8, "--from", shelf.source, "--dry-run", "--json")
    report = checked(done.stdout)
    said = items(report["card"])[shelf.q8.name]
    assert f"Q8_0 of `{shelf.source.name}` (SHA-256 `{sha256_of(shelf.source)}`) has" in said
    assert str(shelf.source.parent) not in report["card"]
    assert report["checks"][shelf.q8.name]["origin"]["holds"]


def test_it_stands_as_long_as_the_file_does(stub: HubStub, shelf: Shelf, tmp_path: Path):
    push(shelf.q8, "--from", shelf.source)
    before = items(card(stub))
    commits = len(stub.repos[REPO]["commits"])
    assert push(shelf.q8).exit_code == 0
    assert len(stub.repos[REPO]["commits"]) == commits, "the same file, without --from: no news"
    assert push(shelf.q4).exit_code == 0
    assert list(before) == [shelf.q8.name]
    assert items(card(stub)) == before, "another file"
    (other := tmp_path / shelf.q8.name).write_bytes(shelf.q8.read_bytes())
    words = ["edit", str(other), "-o", str(tmp_path / "x.gguf"), "--set", "general.name=other"]
    assert CliRunner().invoke(application(), words).exit_code == 0
    (tmp_path / "x.gguf").replace(other)
    assert push(other).exit_code == 0
    assert "Proof of origin" not in card(stub), "another file of that name"


def test_an_importance_matrix_is_for_the_files_that_were_made_with_it(stub: HubStub, shelf: Shelf, tmp_path: Path):
    from helpers.imatrix_files import legacy_matrix

    matrix = legacy_matrix(tmp_path / "tiny.imatrix", shelf.source)
    weighted = tmp_path / "mtp-tiny-it-Q4_0.gguf"
    quantize_model(shelf.source, "Q4_0", weighted, imatrix=matrix)
    refused = push(shelf.q4, weighted, "--from", shelf.source, "--dry-run")
    assert refused.exit_code == 2
    assert "name that file with --imatrix" in refused.stderr
    said = items(push(shelf.q4, weighted, "--from", shelf.source, "--imatrix", matrix, "--dry-run").stdout)
    assert f"with the importance matrix `tiny.imatrix` (SHA-256 `{sha256_of(matrix)}`)" in said[weighted.name]
    assert "importance" not in said[shelf.q4.name]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "SOURCE", "--skip-verify"], "--from is a check"),
        (["--imatrix", "MATRIX"], "--imatrix has no meaning without --from"),
        (["--from", "SOURCE", "--imatrix", "MATRIX"], "none of these files says that it was made with an importance"),
    ],
)
def test_what_cannot_be_meant(stub: HubStub, shelf: Shelf, tmp_path: Path, words: list[str], said: str):
    from helpers.imatrix_files import legacy_matrix

    names = {"SOURCE": shelf.source, "MATRIX": legacy_matrix(tmp_path / "tiny.imatrix", shelf.source)}
    done = push(shelf.q8, *(names.get(word, word) for word in words))
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert not stub.repos
