"""Where a side of a pair can come from: split files and checkpoints here, the Hub in tests/hub."""

from __future__ import annotations

import shutil

import pytest
from helpers.reports import by_id, untroubled
from helpers.split_files import split

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import CheckpointError, GemmaMtpError, GGUFError, UsageError
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.validate import verify_pair


def test_split_target(good_pair, tmp_path):
    target, assistant = good_pair
    whole, parts = verify_pair(target, assistant), verify_pair(split(target, tmp_path)[0], assistant)
    assert parts.ok
    for result in whole.results[1:]:  # the first shows the size, which headers of parts add to
        assert by_id(parts)[result.id] == result
    assert parts.memory == whole.memory


def test_data_of_every_part_is_read(good_pair, tmp_path):
    with GGUFFile(good_pair[0]) as file:
        names = list(file.tensors)[:3]
    for name in names:
        first = split(good_pair[0], tmp_path, spoil=name)[0]
        assert name in by_id(verify_pair(first, good_pair[1]))["target-finite"].finding.message


def test_parts_that_are_no_model(good_pair, tmp_path):
    target, assistant = good_pair
    paths = split(target, tmp_path)
    with pytest.raises(GGUFError, match="part 2 of 3") as error:
        verify_pair(paths[1], assistant)
    assert str(paths[0]) in error.value.hint
    renamed = shutil.copy(paths[0], tmp_path / "renamed.gguf")
    with pytest.raises(GGUFError, match="one of 3 parts"):
        verify_pair(renamed, assistant)
    shutil.copy(paths[0], paths[1])
    with pytest.raises(GGUFError, match=r"part 2 has split\.no UINT16 '0', not UINT16 1"):
        verify_pair(paths[0], assistant)
    paths[2].unlink()
    with pytest.raises(GGUFError, match="1 of 3 parts are missing: target-00003-of-00003"):
        verify_pair(paths[0], assistant)


def test_demo_checkpoints():
    report = verify_pair(PAIR / "target", PAIR / "assistant", deep=True)
    assert untroubled(report)
    assert [note.split(":")[0] for note in report.notes] == [str(PAIR / "target"), str(PAIR / "assistant")]


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_K_M"])
def test_demo_files(target_gguf, assistant_gguf, kind):
    for target, assistant in ((target_gguf(kind), assistant_gguf(kind)), (PAIR / "target", assistant_gguf(kind))):
        report = verify_pair(target, assistant, deep=True, strict=True)
        assert untroubled(report)
        assert report.ok


def test_a_checkpoint_is_seen_as_its_gguf(target_gguf, assistant_gguf):
    """The same values for every check, whether a checkpoint or the file made of it is looked at."""
    files = verify_pair(target_gguf("BF16"), assistant_gguf("BF16"))
    folders = verify_pair(PAIR / "target", PAIR / "assistant")
    assert files.results[1:] == folders.results[1:]
    assert files.memory == folders.memory


def test_swapped_checkpoints():
    assert "swapped" in by_id(verify_pair(PAIR / "assistant", PAIR / "target"))["parts"].finding.message


def test_no_model(tmp_path, good_pair):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError):
        verify_pair(tmp_path / "empty", good_pair[1])
    with pytest.raises(UsageError, match="this folder holds GGUF files and no checkpoint"):
        verify_pair(tmp_path, good_pair[1])
    with pytest.raises(GemmaMtpError):
        verify_pair(good_pair[0], "no/such/file.gguf")
