"""What is said about a runtime's version and settings, and that nothing is said where it does not apply."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from gemma_mtp.errors import UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.dialects import ATOMIC, IK
from gemma_mtp.validate import Status, parse_host, verify_pair
from gemma_mtp.validate.checks.hosts import READS
from gemma_mtp.validate.checks.known import KNOWN
from gemma_mtp.validate.host import RUNTIMES, parse_settings

OTHER_EOS = {"keys": {"tokenizer.ggml.eos_token_id": gv.u32(106)}}
HEADS_2 = {"kv_heads_full": 2}
#: The shape of E4B's full layers: two query heads over a key head, 512 long.
LIKE_E4B = {"head_dim_full": 512, "heads": 2, "kv_heads_sliding": 2, "kv_heads_full": 1}

#: (runtime, settings, changes to target and assistant) -> what is said, less the "host-".
CASES = [
    (None, None, {}, {}, set()),
    ("llama.cpp", None, {}, {}, set()),
    ("llama.cpp@b10743", None, {}, {}, {"rejects-assistants", "vram-full"}),
    ("llama.cpp@b10742", None, {}, {}, {"vram-full"}),
    ("llama.cpp@9553", "--fit off", {}, {}, {"first-merge", "vram-full"}),
    ("llama.cpp@b9600", "-fit on", {}, {}, {"vram-full", "fit-drops-mtp", "fit-line"}),
    ("llama.cpp@b10000", None, LIKE_E4B, LIKE_E4B, {"head-512", "vram-full"}),
    ("llama.cpp@b10091", None, LIKE_E4B, LIKE_E4B, {"vram-full"}),
    (None, "-fit off", {}, {}, set()),
    (None, "-fit on", {}, {}, {"fit-line"}),
    (None, "--embeddings", {}, {}, {"embeddings"}),
    (None, "--embedding", {}, {}, {"embeddings"}),
    (None, "--models-preset my.ini", {}, {}, {"preset-spec-type"}),
    (None, "-sm tensor", {}, {}, {"tensor-split-one-head", "tensor-split"}),
    (None, "-sm tensor", HEADS_2, HEADS_2, {"tensor-split"}),
    (None, "--split-mode=tensor -np 2", HEADS_2, HEADS_2, {"tensor-split", "slots"}),
    (None, "-sm layer -np 1", {}, {}, set()),
    (None, "--device-draft CUDA1", {}, {}, {"draft-device"}),
    (None, "-ts 1,1", {}, {}, {"draft-device"}),
    (None, "-md x.gguf", {}, {}, {"plain-draft"}),
    (None, "-md x.gguf --spec-type draft-mtp", {}, {}, set()),
    (None, "-md x.gguf --spec-type draft-mtp --rpc 10.0.0.2:50052", {}, {}, {"rpc-drafting"}),
    (None, "--draft-max 3", {}, {}, {"renamed-flags"}),
    (None, "--mtp-head x.gguf", {}, {}, {"renamed-flags"}),
    (None, "--spec-type mtp", {}, {}, {"renamed-flags"}),
    (None, "--spec-type draft-mtp,ngram-mod", {}, {}, {"ngram"}),
    (None, "--spec-draft-n-max 4", {}, {}, set()),
    (None, "--spec-draft-n-max 5", {}, {}, {"long-drafts"}),
    (None, "--spec-draft-n-max 3", {"hidden": 2816}, {"backbone": 2816}, {"long-drafts"}),
    (None, "--spec-draft-n-max 2", {"hidden": 2816}, {"backbone": 2816}, set()),
    (None, "--mmproj m.gguf", {}, {}, {"images"}),
    (None, "-ctk q8_0", {}, {}, {"quantized-cache"}),
    (None, "-ctv q8_0", {}, {}, {"quantized-cache"}),
    (None, "-ctk f32 -ctv bf16", {}, {}, set()),
    (None, "-ctk f16 -ctv bf16", {}, {}, set()),
    ("ik", None, HEADS_2, HEADS_2, set()),
    ("ik@2026-08-20", "-np 2 -khad", HEADS_2, HEADS_2, {"ik-one-slot", "ik-rotation"}),
    ("ik@2026-08-20", "-np 1 -vhad", HEADS_2, HEADS_2, {"ik-rotation"}),
    ("ik", "-md x.gguf", HEADS_2, HEADS_2, {"ik-plain-draft"}),
    ("ik", "-md x.gguf -mtp", HEADS_2, HEADS_2, set()),
    ("ik@2026-08-14", None, {**HEADS_2, **OTHER_EOS}, HEADS_2, {"ik-eos", "ik-acceptance"}),
    ("ik@2026-08-15", None, {**HEADS_2, **OTHER_EOS}, HEADS_2, set()),
    ("ik@2026-07-31", None, HEADS_2, HEADS_2, {"ik-first-draft"}),
    ("ik@2026-06-03", None, {}, {"dialect": IK}, {"ik-12b", "ik-first-draft"}),
    ("atomic@2026-06-05", "-np 2", {}, {}, {"atomic-slots", "atomic-all-mtp"}),
    ("atomic@2026-06-10", "-np 2", {}, {}, set()),
    ("atomic@b10018", "--mtp-head x.gguf", {}, {}, {"atomic-renamed-flags"}),
    ("atomic", "--spec-type mtp", {}, {}, {"atomic-renamed-flags"}),
    ("atomic@b10017", "--draft-max 3", {}, {"dialect": ATOMIC}, set()),
    ("buun@2026-08-20", "-np 2", {}, {}, {"buun-slots"}),
    ("buun@2026-09-05", None, {"hidden": 3840}, {"backbone": 3840}, {"buun-12b"}),
    ("buun@2026-10-01", "-np 2", {"hidden": 3840}, {"backbone": 3840}, set()),
    ("lms", None, {}, {}, {"lmstudio"}),
    ("lms@0.4.20", None, {}, {}, {"lmstudio"}),
    ("lms@0.4.21", None, {}, {}, set()),
    ("ollama", None, {}, {}, {"ollama"}),
    ("koboldcpp@1.115", None, {}, {}, set()),
    ("llama.cpp", "--models-preset p.ini --spec-type draft-mtp", {}, {}, {"router-type", "preset-spec-type"}),
]


@pytest.mark.parametrize(("runtime", "settings", "target", "assistant", "said"), CASES)
def test_said(runtime, settings, target, assistant, said, verify):
    report = verify(target, assistant, host=parse_host(runtime, settings))
    found = [result for result in report.results if result.id.startswith("host-")]
    assert {result.id.removeprefix("host-") for result in found} == said
    for result in found:
        assert result.finding.remedy or result.status is Status.NOTE


BF16_UP = {"tensors": {"blk.0.ffn_up.weight": (GGMLType.BF16, np.ones((128, 64), "<u2"))}}
GPUS = [
    ("GTX 1060", BF16_UP, {"old-gpu-bf16"}),
    ("NVIDIA GeForce GTX 980 Ti", BF16_UP, {"old-gpu-bf16"}),
    ("Tesla P40", BF16_UP, {"old-gpu-bf16"}),
    ("GT 1030", BF16_UP, {"old-gpu-bf16"}),
    ("NVIDIA TITAN X (Pascal)", BF16_UP, {"old-gpu-bf16"}),
    ("Quadro M4000", BF16_UP, {"old-gpu-bf16"}),
    ("P100-PCIE-16GB", BF16_UP, {"old-gpu-bf16"}),
    ("NVIDIA H100 80GB HBM3", BF16_UP, set()),
    ("RTX 4060", BF16_UP, set()),
    ("GTX 1060", LIKE_E4B, set()),
    ("GTX1650", LIKE_E4B, {"gtx-16"}),
    ("Tesla P40", {}, set()),
    ("RTX 3090", BF16_UP, set()),
    ("GTX 1660 Super", BF16_UP, set()),
    ("GTX 1660 Super", LIKE_E4B, {"gtx-16"}),
    ("GTX 1080", LIKE_E4B, set()),
    ("AMD Radeon 680M", {}, {"radeon-igpu"}),
    ("Radeon 890M Graphics", {}, {"radeon-igpu"}),
    ("Radeon RX 7900", {}, set()),
]


@pytest.mark.parametrize(("gpu", "assistant", "said"), GPUS)
def test_said_about_gpus(gpu, assistant, said, verify):
    target = LIKE_E4B if assistant is LIKE_E4B else None
    report = verify(target, assistant, host=parse_host(None, None, gpu))
    assert {result.id for result in report.results if result.id.startswith("host-")} == {f"host-{id}" for id in said}


#: (settings, the assistant's path) -> what is said.
NAMES = [
    ("-hf owner/repo:Q8_0", "mtp-x.gguf", set()),
    ("-hf owner/repo:Q8_0", "x-Q8_0-MTP.gguf", {"drafter-as-main"}),
    ("--models-dir models", "x-assistant-Q8_0.gguf", {"drafter-as-main"}),
    ("--models-dir models", "mtp-x.gguf", {"router-folder"}),
    ("-hf o/r --spec-type draft-mtp", "mtp-x.gguf", set()),
    ("-hf o/r --spec-type draft-mtp", "MTP/mtp-x.gguf", {"drafter-not-found"}),
    ("-hf o/r --spec-type draft-mtp", "x-MTP.gguf", {"drafter-not-found", "drafter-as-main"}),
    ("-hf o/r --spec-type draft-mtp -md x", "MTP/mtp-x.gguf", set()),
]


@pytest.mark.parametrize(("settings", "name", "said"), NAMES)
def test_said_about_names(settings, name, said, good_pair, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    good_pair[1].rename(path)
    report = verify_pair(good_pair[0], path, host=parse_host(None, settings))
    assert {result.id for result in report.results if result.id.startswith("host-")} == {f"host-{id}" for id in said}


#: Row -> runtime, settings, changes to target and assistant; versions at its bounds that have it, and that do not.
BOUNDS = {
    "rejects-assistants": ("llama.cpp", None, {}, {}, ["b10743"], ["b10742", "b10744"]),
    "first-merge": ("llama.cpp", None, {}, {}, ["b9553"], ["b9552", "b9554"]),
    "head-512": ("llama.cpp", None, LIKE_E4B, LIKE_E4B, ["b10090"], ["b10091"]),
    "vram-full": ("llama.cpp", None, {}, {}, ["b9553"], ["b9552"]),
    "fit-drops-mtp": ("llama.cpp", None, {}, {}, ["b9553", "b9692"], ["b9552", "b9693"]),
    "atomic-renamed-flags": ("atomic", "--draft-max 3", {}, {"dialect": ATOMIC}, ["b10018"], ["b10017"]),
    "ik-eos": ("ik", None, {**HEADS_2, **OTHER_EOS}, HEADS_2, ["2026-08-14"], ["2026-08-15"]),
    "ik-12b": ("ik", None, {}, {"dialect": IK}, ["2026-06-03"], ["2026-06-04"]),
    "ik-acceptance": ("ik", None, {}, {}, ["2026-08-07", "2026-08-14"], ["2026-08-06", "2026-08-15"]),
    "ik-first-draft": ("ik", None, {}, {}, ["2026-07-31"], ["2026-08-01"]),
    "atomic-slots": ("atomic", "-np 2", {}, {}, ["2026-06-05"], ["2026-06-06"]),
    "atomic-all-mtp": ("atomic", None, {}, {}, ["2026-06-09"], ["2026-06-10"]),
    "buun-12b": (
        *("buun", None, {"hidden": 3840}, {"backbone": 3840}),
        ["2026-09-01", "2026-09-30"],
        ["2026-08-31", "2026-10-01"],
    ),
    "buun-slots": ("buun", "-np 2", {}, {}, ["2026-08-31"], ["2026-09-01"]),
    "lmstudio": ("lms", None, {}, {}, ["0.4.20"], ["0.4.21"]),
    "ollama": ("ollama", None, {}, {}, ["0.32.7"], ["0.32.6"]),
}


@pytest.mark.parametrize("row", BOUNDS)
def test_a_row_begins_and_ends_with_its_versions(row, verify):
    runtime, settings, target, assistant, having, without = BOUNDS[row]

    def has(version: str) -> bool:
        report = verify(target, assistant, host=parse_host(f"{runtime}@{version}", settings))
        return f"host-{row}" in {result.id for result in report.results}

    assert [version for version in (*having, *without) if has(version)] == having


def test_every_row_is_tested():
    said = [case[-1] for case in (*CASES, *GPUS, *NAMES)]
    assert set().union(*said) == {row.id for row in KNOWN}


@pytest.mark.parametrize(
    ("runtime", "dialect", "status"),
    [
        ("llama.cpp", None, "ok"),
        ("llama.cpp@b9553", None, "ok"),
        ("llama.cpp@b9552", None, "error"),
        ("llama.cpp", IK, "error"),
        ("ik@2026-05-10", IK, "ok"),
        ("ik", IK, "ok"),
        ("ik@2026-05-09", IK, "error"),
        ("ik@2026-06-18", None, "error"),
        ("ik@2026-06-19", None, "ok"),
        ("ik@2026-06-12", ATOMIC, "ok"),
        ("ik@2026-06-08", ATOMIC, "error"),
        ("ik@2026-06-09", ATOMIC, "ok"),
        ("ik@2026-06-18", ATOMIC, "ok"),
        ("ik@2026-06-19", ATOMIC, "error"),
        ("ik", ATOMIC, "error"),
        ("ik@b3500", None, "skipped"),  # a version that cannot be placed is not held against a file, nor for it
        ("atomic@b10017", ATOMIC, "ok"),
        ("atomic@b10018", ATOMIC, "error"),
        ("atomic", ATOMIC, "error"),
        ("atomic@b10017", None, "error"),
        ("atomic@b10018", None, "ok"),
        ("atomic", None, "ok"),
        ("koboldcpp@1.114.1", None, "error"),
        ("koboldcpp@1.115", None, "ok"),
    ],
)
def test_dialects(runtime, dialect, status, verify):
    report = verify(None, {"dialect": dialect} if dialect else None, host=parse_host(runtime, None))
    assert next(result.status for result in report.results if result.id == "dialect") == status


def test_tables_name_known_runtimes():
    assert set(READS) == set(RUNTIMES)
    assert {row.runtime for row in KNOWN} <= {*RUNTIMES, None}


def test_settings_are_read():
    text = "-sm tensor --fit=off -np 2 --temp -0.5 --mmproj 'a b.gguf' --mlock"
    assert parse_settings(text) == {
        "--split-mode": "tensor",
        "--fit": "off",
        "--parallel": "2",
        "--temp": "-0.5",
        "--mmproj": "a b.gguf",
        "--mlock": "",
    }


def test_versions_are_read():
    assert parse_host("llama-server@b10743", None).version == 10743
    assert parse_host("ik@2026-08-01", None).version == date(2026, 8, 1)
    assert parse_host("koboldcpp@1.115", None).version == (1, 115)
    assert parse_host("koboldcpp@rolling", None).version is None


@pytest.mark.parametrize(
    ("runtime", "settings", "says"),
    [("rwkv", None, "unknown"), ("ik@2026-13-01", None, "no date"), (None, "-m 'x", "cannot be read")],
)
def test_nonsense(runtime, settings, says):
    with pytest.raises(UsageError, match=says):
        parse_host(runtime, settings)
