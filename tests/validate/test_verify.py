"""The report as a whole, files that are no pair, and the demo pair."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from gguf.quants import dequantize
from helpers.reports import by_id
from helpers.tiny_pairs import ASSISTANT, TARGET, WORDS

from gemma_mtp.errors import GGUFError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.ggml import GGMLType, block_size, row_bytes
from gemma_mtp.model.dialects import ATOMIC, CENTROID_COUNT, CENTROID_TOP_K, IK
from gemma_mtp.validate import Status, parse_host, verify_pair
from gemma_mtp.validate.checks import CHECKS
from gemma_mtp.validate.finite import SCALES, first_spoilt


def test_swapped(good_pair):
    target, assistant = good_pair
    report = verify_pair(assistant, target)
    finding = by_id(report)["parts"].finding
    assert "swapped" in finding.message
    assert finding.remedy == f"`gemma-mtp verify {target} {assistant}`"
    assert {result.status for result in report.results[2:]} == {Status.SKIPPED}


@pytest.mark.parametrize("index", [0, 1])
def test_same_file(good_pair, tmp_path, index):
    path = good_pair[index]
    copy = shutil.copy(path, tmp_path / "copy.gguf")
    for other in (path, copy):
        report = verify_pair(path, other)
        assert by_id(report)["files"].status is Status.ERROR
        assert not report.ok


def test_two_targets_and_two_assistants(good_pair, verify, tmp_path):
    target, assistant = good_pair
    other_target = shutil.copy(target, tmp_path / "other-target.gguf")
    other_assistant = shutil.copy(assistant, tmp_path / "other-assistant.gguf")
    for path in (other_target, other_assistant):
        with open(path, "r+b") as file:
            file.seek(128)
            file.write(b"X")
    assert "same" in by_id(verify_pair(target, target))["files"].finding.message
    assert "full chat model" in by_id(verify_pair(target, other_target))["parts"].finding.message
    assert "ctx_other" in by_id(verify_pair(other_assistant, assistant))["parts"].finding.message


def test_json(verify):
    report = verify(None, {"sliding_window": 32})
    content = json.loads(json.dumps(report.to_dict()))
    assert content["ok"] is False
    assert content["verdict"].startswith("This pair will not work: the target's sliding window")
    assert [check["id"] for check in content["checks"]] == [check.id for check in CHECKS]
    assert {tuple(check) for check in content["checks"]} == {
        ("id", "title", "status", "message", "remedy", "target", "assistant")
    }
    failed = next(check for check in content["checks"] if check["status"] == "error")
    assert (failed["id"], failed["target"], failed["assistant"]) == ("sliding-window", "64", "32")


def test_strict_counts_warnings(verify):
    changes = {"keys": {"general.finetune": gv.string("it-qat")}}
    assert verify(changes).ok
    assert not verify(changes, strict=True).ok


def test_damaged_file_is_no_check(good_pair, tmp_path):
    target, assistant = good_pair
    whole = assistant.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GGUFError, match="ends at byte") as error:
        verify_pair(target, cut)
    assert error.value.where == str(cut)


def test_deep_finds_what_a_sample_misses(verify):
    """One NaN in the midst of a tensor that is larger than the sample."""
    name, words = "token_embd.weight", 4096
    data = np.ones((words, ASSISTANT.hidden), np.float32)
    data[1000, 7] = np.nan
    vocabulary = {"words": [f"w{index}" for index in range(words)], "vocabulary": words}
    assistant = {**vocabulary, "tensors": {name: (GGMLType.F32, data)}}
    assert by_id(verify(vocabulary, assistant))["assistant-finite"].status is Status.OK
    finding = by_id(verify(vocabulary, assistant, deep=True))["assistant-finite"].finding
    assert finding.status is Status.ERROR
    assert f"element {1000 * ASSISTANT.hidden + 7:,}" in finding.message


def test_every_block_type_with_a_spoilt_scale():
    """Each table entry against gguf's own dequantization: a scale's NaN makes the block NaN."""
    for kind, scale in SCALES.items():
        size = row_bytes(kind, block_size(kind))
        good = np.zeros((3, size), np.uint8)
        assert first_spoilt(kind, good) is None
        bad = good.copy()
        bad[1, scale.start : scale.stop] = 0x7F if kind.name == "NVFP4" else 0xFF
        assert first_spoilt(kind, bad) == 1, kind.name
        try:
            values = dequantize(bad, kind)
        except NotImplementedError:
            continue
        with np.errstate(invalid="ignore"):
            finite = np.isfinite(values).all(axis=-1)
        if kind.name not in ("MXFP4", "NVFP4"):  # gguf has no NaN for these two scale formats
            assert finite.tolist() == [True, False, True], kind.name


@pytest.mark.parametrize("dialect", [IK, ATOMIC], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda table: table, None),
        (lambda table: table * 0, "all zeros"),
        (lambda table: np.where(table == 0, 1, table), "not"),
        (lambda table: np.where(table == 1, -1, table), "-1, which does not exist"),
    ],
)
def test_token_ordering_of_other_dialects(verify, dialect, fault, says):
    """A tensor there; ik_llama.cpp's is a table from token to cluster, Atomic's a permutation."""
    tokens, clusters = len(WORDS), 4
    ordering = np.random.default_rng(0).permutation(tokens).astype("<i4")
    if dialect.ordering_is_cluster_of_token:
        ordering = ordering % clusters
    prefix = dialect.architecture
    keys = {
        f"{prefix}.{dialect.keys[CENTROID_COUNT]}": gv.u32(clusters),
        f"{prefix}.{dialect.keys[CENTROID_TOP_K]}": gv.u32(2),
    }
    tensors = {
        dialect.tensors["centroids"]: (GGMLType.F32, np.ones((clusters, ASSISTANT.hidden), "f4")),
        dialect.tensors["token_ordering"]: (GGMLType.I32, fault(ordering)),
    }
    host = parse_host({"ik": "ik", "atomic": "atomic@b10017"}[dialect.name], None)
    report = verify(None, {"dialect": dialect, "keys": keys, "tensors": tensors}, host=host)
    assert [result.id for result in report.errors] == ([] if says is None else ["token-ordering"])
    assert says is None or says in by_id(report)["token-ordering"].finding.message


def test_ordering_under_its_alias(verify):
    """Atomic's token ordering is also seen without `.weight`."""
    keys = {f"{ATOMIC.architecture}.n_centroids": gv.u32(4), f"{ATOMIC.architecture}.centroid_top_k": gv.u32(2)}
    tensors = {
        "mtp.centroids.weight": (GGMLType.F32, np.ones((4, ASSISTANT.hidden), "f4")),
        "mtp.token_ordering": (GGMLType.I32, np.arange(len(WORDS), dtype="<i4")),
    }
    host = parse_host("atomic@b10017", None)
    assert verify(None, {"dialect": ATOMIC, "keys": keys, "tensors": tensors}, host=host).ok


def test_other_cuts_of_a_target(verify):
    """Joined queries, keys and values, divided experts, factors beside a weight, an output of its own: all loadable."""
    layer = "blk.1.attn_{}.weight"
    rows = (TARGET.heads + 2 * TARGET.kv_heads(1)) * TARGET.head_dim(1)
    tensors = {layer.format(name): None for name in "qkv"}
    tensors[layer.format("qkv")] = (GGMLType.F32, np.ones((rows, TARGET.hidden), "f4"))
    tensors["output.weight"] = (GGMLType.F32, np.ones((TARGET.vocabulary, TARGET.hidden), "f4"))
    tensors["blk.0.ffn_up.scale"] = (GGMLType.F32, np.ones(1, "f4"))
    assert verify({"tensors": tensors}).ok
    experts = {"experts": 4, "experts_used": 2, "expert_intermediate": 32}
    cut = {f"blk.{n}.ffn_gate_up_exps.weight": None for n in range(TARGET.layers)}
    for n in range(TARGET.layers):
        for half in ("gate", "up"):
            cut[f"blk.{n}.ffn_{half}_exps.weight"] = (GGMLType.F32, np.ones((4, 32, TARGET.hidden), "f4"))
    assert verify({**experts, "tensors": cut}).ok
    cut["blk.2.ffn_up_exps.weight"] = None
    assert by_id(verify({**experts, "tensors": cut}))["target-tensors"].status is Status.ERROR
