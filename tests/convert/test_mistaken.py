"""What is no checkpoint but something that is often taken for one is called by its name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.bad_checkpoints import edit_tensors
from safetensors.numpy import load_file, save_file

from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import BadFileError, GGUFError
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.signature import SIGNATURES

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 156000000\n"
PAGE = b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>"


def pointer(name: str):
    return lambda folder: (folder / name).write_bytes(POINTER)


def page(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(PAGE)


def adapter(folder: Path) -> None:
    """As peft saves one."""
    (folder / "config.json").rename(folder / "adapter_config.json")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def adapter_tensors(folder: Path) -> None:
    pair = {
        f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight": np.ones((4, 8), "f4") for side in "AB"
    }
    save_file(pair, folder / "model.safetensors")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def zipped(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"PK\x03\x04" + bytes(100))


def wrapped(prefix: str):
    def spoil(folder: Path) -> None:
        def rename(tensors: dict) -> None:
            for name in list(tensors):
                tensors[prefix + name] = tensors.pop(name)

        edit_tensors(folder, rename)

    return spoil


#: Case -> (how the folder is spoilt, what is said, what is advised).
CASES = {
    "pointer in the weights' place": (pointer("model.safetensors"), "Git LFS pointer", "git lfs pull"),
    "pointer in the config's place": (pointer("config.json"), "Git LFS pointer", "git lfs pull"),
    "a page in the weights' place": (
        lambda folder: (folder / "model.safetensors").write_bytes(PAGE),
        "web page",
        "download the file itself",
    ),
    "an adapter": (adapter, "LoRA adapter", "merge"),
    "an adapter's tensors": (adapter_tensors, "LoRA adapter", "merge"),
    "a pickle": (pickled, "neither model.safetensors nor", "save_pretrained"),
    "a zip": (zipped, "zip archive", "a checkpoint in safetensors"),
    "torch.compile": (wrapped("_orig_mod."), "torch.compile", "_orig_mod.save_pretrained"),
    "peft": (wrapped("base_model.model."), "peft", "merge"),
    "parallel": (wrapped("module."), "DistributedDataParallel", "module.save_pretrained"),
}


@pytest.mark.parametrize("case", CASES)
def test_called_by_its_name(case: str, assistant_folder: Path, tmp_path: Path):
    spoil, says, advises = CASES[case]
    spoil(assistant_folder)
    with pytest.raises(BadFileError, match=says) as caught:
        convert_checkpoint(assistant_folder, [Output(tmp_path / "out.gguf", "BF16")])
    assert advises in (caught.value.hint or "")
    assert "again" not in (caught.value.hint or "")
    assert not (tmp_path / "out.gguf").exists()


def test_a_merged_adapter_converts(assistant_folder: Path, tmp_path: Path):
    """What is advised for a wrapper, followed: the names without it."""
    wrapped("_orig_mod.")(assistant_folder)
    path = assistant_folder / "model.safetensors"
    save_file({name.removeprefix("_orig_mod."): data for name, data in load_file(path).items()}, path)
    convert_checkpoint(assistant_folder, [Output(tmp_path / "out.gguf", "BF16")])
    assert (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(("content", "says"), [(POINTER, "Git LFS pointer"), (PAGE, "web page")])
def test_in_a_ggufs_place(content: bytes, says: str, tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(GGUFError, match=says) as caught:
        GGUFFile(tmp_path / "model.gguf")
    assert caught.value.hint in {one.hint for one in SIGNATURES}


def test_nothing_good_is_mistaken(tmp_path: Path):
    folder = shutil.copytree(PAIR / "assistant", tmp_path / "assistant")
    convert_checkpoint(folder, [Output(tmp_path / "out.gguf", "BF16")])
