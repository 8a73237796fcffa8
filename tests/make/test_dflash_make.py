"""A DFlash drafter's way from its checkpoint to a repo: files, notes and card are of its own kind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.local_hub.stub import HubStub

from gemma_mtp.convert import convert_model
from gemma_mtp.demo.dflash import DRAFTER
from gemma_mtp.errors import UsageError
from gemma_mtp.make import Job, make, schedule
from gemma_mtp.publish import PushRequest, plan_push

TYPES = ("BF16", "Q8_0")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny-gemma-4-it-DFlash"
    shutil.copytree(DRAFTER, folder)
    return folder


def test_files_notes_and_card(checkpoint: Path, tmp_path: Path, target_gguf, stub: HubStub, logged_in):
    target = target_gguf("BF16")
    job = Job(str(checkpoint), TYPES, folder=tmp_path / "out", target=str(target))
    made = make(schedule(job))
    names = [f"dflash-tiny-gemma-4-it-{kind}.gguf" for kind in TYPES]
    assert [path.name for path in made.files] == names
    convert_model(checkpoint, tmp_path, types=TYPES, target=target)
    assert [path.read_bytes() for path in made.files] == [(tmp_path / name).read_bytes() for name in names]
    assert (job.folder / "dflash-tiny-gemma-4-it.make.json").is_file()
    assert not any(result.reason for result in make(schedule(job)).steps)

    plan = plan_push(PushRequest(made.files, "me/tiny-DFlash-GGUF", target=str(target)))
    assert plan.note == "DFlash drafter for tiny-gemma-4-it: BF16, Q8_0"
    for words in ("tiny-gemma-4-it: DFlash drafter", "--spec-type draft-dflash", "- dflash\n", "DFlash block drafter"):
        assert words in plan.card
    for words in ("MTP assistant", "draft-mtp", "-mtp\n"):
        assert words not in plan.card


def test_what_it_needs(checkpoint: Path, tmp_path: Path, target_gguf):
    with pytest.raises(UsageError, match="no tokenizer"):
        schedule(Job(str(checkpoint), folder=tmp_path))
    with pytest.raises(UsageError, match="form alone"):
        schedule(Job(str(checkpoint), dialects=("mainline", "ik"), folder=tmp_path, target=str(target_gguf("BF16"))))


def test_one_push_is_of_one_kind(checkpoint: Path, tmp_path: Path, target_gguf, assistant_gguf):
    blocks, assistant = tmp_path / "dflash-demo-BF16.gguf", tmp_path / "mtp-demo-BF16.gguf"
    convert_model(checkpoint, blocks, target=target_gguf("BF16"))
    shutil.copy(assistant_gguf("BF16"), assistant)
    with pytest.raises(UsageError, match="several kinds: dflash-, mtp-"):
        plan_push(PushRequest([blocks, assistant], "me/both"))
    with pytest.raises(UsageError, match="begins with mtp-"):
        plan_push(PushRequest([blocks.rename(tmp_path / "mtp-blocks-BF16.gguf")], "me/wrong"))
