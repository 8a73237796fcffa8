"""`verify --run`: outcomes of a real pair, and every way in which the child process can end badly."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from gemma_mtp.demo.heavy import make_heavier
from gemma_mtp.errors import LlamaError, UsageError
from gemma_mtp.mtp_runtime.prompts import BUILT_IN, read_prompts
from gemma_mtp.native.causes import CAUSES, explain
from gemma_mtp.native.child import NO_FILES, NativeCrash, _explained
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.validate import Status, verify_pair
from gemma_mtp.validate.comparison import Choice, Comparison
from gemma_mtp.validate.run import RunOptions, _failure, acceptance, judged, speed, with_run

CONTEXT = ContextSettings(1024, threads=1)
PROMPTS = (("code", "def main():\n"), ("prose", "The old man"))
LONG = ContextSettings(2000, threads=1)
FEW = RunOptions(PROMPTS, tokens=12)


def run(target, assistant, options=FEW):
    return with_run(verify_pair(target, assistant), target, assistant, context=CONTEXT, options=options)


def last(report):
    return report.results[-1]


def test_demo_pair(target_gguf, assistant_gguf):
    """Identical output but for near-ties, and a trained pair accepts most drafts on its own kind of text."""
    prompts = (("code", BUILT_IN["code"]), ("more code", "class Queue:\n\n    def put(self, item, block=True):\n"))
    report = run(target_gguf("BF16"), assistant_gguf("BF16"), RunOptions(prompts, tokens=64))
    by_id = {result.id: result for result in report.results}
    assert report.ok
    assert {"run-code", "run-more-code", "run-acceptance"} <= by_id.keys()
    for kind in ("run-code", "run-more-code"):
        finding = by_id[kind].finding
        assert (finding.message == "identical output") is (finding.status is Status.OK)
        assert finding.status in (Status.OK, Status.NOTE)
    assert by_id["run-acceptance"].status is Status.OK
    code = report.to_dict()["run"][0]
    assert (code["kind"], code["tokens"]) == ("code", 64)
    assert sum(code["drafted_at"]) > sum(code["accepted_at"]) > 0
    assert len(code["drafted_at"]) == 3


def test_untrained_pair_is_broken(good_pair):
    """A pair that fits together and was never trained: only decoding tells."""
    report = run(*good_pair)
    finding = next(result.finding for result in report.results if result.id == "run-acceptance")
    assert finding.status is Status.ERROR
    assert "does not fit" in finding.message
    assert not report.ok


def test_says_how_far_it_is(good_pair):
    said: list[tuple[str, int, str]] = []
    done: list[int] = []

    def progress(what: str, total: int, unit: str, /):
        said.append((what, total, unit))
        return nullcontext(done.append)

    with_run(verify_pair(*good_pair), *good_pair, context=CONTEXT, options=FEW, progress=progress)
    assert (said, done) == ([("decoding", 2, "prompts")], [1, 1])


def test_pair_with_errors_is_not_loaded(tmp_path, good_pair, verify):
    report = verify(None, {"sliding_window": 32})
    target, assistant = tmp_path / "target.gguf", tmp_path / "mtp-target.gguf"
    seen = with_run(report, target, assistant, context=CONTEXT, options=FEW)
    assert last(seen).status is Status.SKIPPED
    assert seen.run == ()


def test_checkpoints_cannot_be_run(tmp_path, good_pair):
    with pytest.raises(UsageError, match="no checkpoint"):
        with_run(verify_pair(*good_pair), tmp_path, good_pair[1])


def test_time_limit(target_gguf, assistant_gguf, tmp_path):
    heavy = tmp_path / "heavy.gguf"
    make_heavier(target_gguf("BF16"), heavy, 96)
    options = replace(FEW, tokens=1500, seconds=1, prompts=PROMPTS)
    drafter = assistant_gguf("BF16")
    report = with_run(verify_pair(heavy, drafter), heavy, drafter, context=LONG, options=options)
    assert last(report).status is Status.ERROR
    assert "did not answer within 1 s" in last(report).finding.message
    assert last(report).finding.remedy


def test_memory_limit(good_pair):
    """Less address space than the process has when llama.cpp is loaded."""
    finding = last(run(*good_pair, replace(FEW, memory=50_000_000))).finding
    assert finding.status is Status.ERROR
    assert "there was not enough memory" in finding.message
    assert "--memory-limit" in finding.remedy


def test_context_too_small(good_pair):
    options = replace(FEW, tokens=300)
    with pytest.raises(UsageError, match="256 tokens, 300 are to be generated"):
        with_run(verify_pair(*good_pair), *good_pair, context=ContextSettings(200), options=options)


#: How a process dies -> what is said about it.
DEATHS = {
    "SIGKILL": "memory runs out",
    "SIGSEGV": "SIGSEGV",
    "SIGABRT": "SIGABRT",
    "SIGILL": "built for another CPU",
    "SIGBUS": "became shorter",
}


@pytest.mark.parametrize("name", DEATHS)
def test_child_killed_by(good_pair, name, monkeypatch):
    """A real child that dies of a signal: this process lives on and says which, and what llama.cpp said before."""
    monkeypatch.setattr("gemma_mtp.validate.run.PROBE", f"{__name__}:die")
    finding = last(run(*good_pair, replace(FEW, prompts=((name, ""),)))).finding
    assert finding.status is Status.ERROR
    assert DEATHS[name] in finding.message
    assert "model buffer size" in finding.message
    assert finding.remedy


def die(job):
    """In the child: load a model, so that llama.cpp has something to say, and die."""
    from gemma_mtp.validate.probe import limited_memory

    with limited_memory(None):
        from gemma_mtp.native.llama import Model

        with Model(job.target, job.model):
            os.kill(os.getpid(), getattr(signal, next(iter(job.prompts))))
    yield


#: Lines as llama.cpp prints them -> the cause that must be found in them.
LOGGED = {
    "error loading model: vector::_M_range_check: __n (which is 0) >= this->size() (which is 0)": "`masked_embd_*`",
    "error loading model: vector::_M_range_check: __n (which is 1) >= this->size() (which is 1)": "GPU memory was full",
    "error loading model: invalid vector subscript": "either of the two",
    "llama_model_load: error loading model: unknown model architecture: 'gemma4_mtp'": "dialect of another runtime",
    'GGML_ASSERT(n == m && "MTP input row width must match the target h_nextn width") failed': "another width",
    "Gemma4Assistant requires ctx_other to be set": "loaded as the main model",
    "ggml-cuda/fattn.cu:579: fatal error": "flash-attention kernel",
    "GGML_ASSERT(n_layer_nextn < n_layer_all) failed": "September 1, 2026",
    "error loading model: done_getting_tensors: wrong number of tensors; expected 51, got 49": "does not know",
    "error loading model: missing tensor 'rope_freqs.weight'": "incomplete",
    "error loading model: tensor 'token_embd.weight' data is not within the file bounds": "cut off",
    "pre-allocated tensor (cache_k_l58) in a buffer (CUDA0) that cannot run the operation (NONE)": "another device",
    "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 1": "not enough memory",
    "terminate called after throwing an instance of 'std::bad_alloc'": "not enough memory",
}


@pytest.mark.parametrize("line", LOGGED)
def test_known_words_are_explained(line):
    for failure in (
        NativeCrash("llama.cpp crashed (SIGABRT)", signal_name="SIGABRT"),
        LlamaError("llama.cpp cannot load this file"),
    ):
        finding = _failure(_explained(failure, ("one", line), NO_FILES), FEW, 0)
        assert LOGGED[line] in finding.message
        assert line in finding.message
        assert finding.remedy


def test_what_a_cause_shows_is_what_it_finds():
    """The quotation in the troubleshooting table leads to the same row as the log itself."""
    for cause in CAUSES:
        assert explain("", cause.shown) is cause


def test_unknown_words_keep_the_log():
    crash = NativeCrash("llama.cpp crashed (SIGSEGV)", signal_name="SIGSEGV", log=("the last line",), hint="look")
    finding = _failure(crash, FEW, 1)
    assert "after 1 of 2 prompts" in finding.message
    assert "the last line" in finding.message
    assert finding.remedy == "look"


SAME = Comparison("code", 96, 10.0, 15.0, (30, 30), (20, 10))


@pytest.mark.parametrize(
    ("plain", "drafted", "status", "says"),
    [
        (Choice(7, 5.30, 9, 5.25, 5.25), Choice(9, 5.28, 7, 5.27, 5.27), Status.NOTE, "near-tie"),
        (Choice(7, 5.30, 9, 5.25, 5.25), Choice(9, 6.00, 7, 5.00, 5.00), Status.ERROR, "no near-tie"),
        # Three tokens are alike: who is second is chance, too.
        (Choice(7, 5.30, 9, 5.29, 5.28), Choice(8, 5.31, 9, 5.30, 5.26), Status.NOTE, "near-tie"),
        (Choice(7, 5.30, 9, 5.29, None), Choice(8, 5.31, 9, 5.30, 5.26), Status.ERROR, "no near-tie"),
        (Choice(7, 5.30, 9, 5.29, 5.28), Choice(8, 5.31, 9, 5.30, None), Status.ERROR, "no near-tie"),
    ],
)
def test_differing_output(plain, drafted, status, says):
    finding = judged(replace(SAME, different_at=11, plain=plain, drafted=drafted))
    assert finding.status is status
    assert says in finding.message
    assert "from token 12 of code on" in finding.message
    behind = (drafted.second, drafted.second_logit)
    if drafted.other_logit is not None:
        behind = (plain.token, drafted.other_logit)
    assert f"token {drafted.token} ({drafted.logit:.3f}) before {behind[0]} ({behind[1]:.3f}) with" in finding.message


def test_the_logit_of_what_was_chosen_elsewhere_is_found_among_the_best():
    pytest.importorskip("llama_cpp")
    from gemma_mtp.validate.decoding import RecordingGreedy, _choice

    logits = np.array([3.0, 5.0, 4.9, 4.8, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0], np.float32)
    plain, drafted = RecordingGreedy([]), RecordingGreedy([])
    assert plain.choose(logits, 0) == 1
    assert drafted.choose(logits + np.array([0, -1, -0.5, 0, 0, 0, 0, 0, 0, 0], np.float32), 0) == 3
    one, other = _choice(plain.choices[0], drafted.choices[0]), _choice(drafted.choices[0], plain.choices[0])
    assert (one.token, one.second, other.token, other.second) == (1, 2, 3, 2)
    assert one.ahead == pytest.approx(0.2)
    assert other.ahead == pytest.approx(0.8)
    assert _choice(plain.choices[0], {9: 7.0}).ahead is None


@pytest.mark.parametrize(
    ("accepted", "status"),
    [((30, 30), Status.OK), ((15, 6), Status.OK), ((15, 5), Status.WARNING), ((3, 2), Status.ERROR)],
)
def test_acceptance(accepted, status):
    finding = acceptance([replace(SAME, accepted_at=accepted)])
    assert finding.status is status
    assert f"by position {accepted[0] / 30:.0%} {accepted[1] / 30:.0%}" in finding.assistant


def test_speed():
    assert speed([SAME]).status is Status.OK
    assert speed([SAME]).assistant == "15.0 with drafting: 1.50x"
    slower = speed([SAME, replace(SAME, drafted_speed=5.0)])
    assert slower.status is Status.NOTE
    assert slower.assistant == "7.5 with drafting: 0.75x"


def test_acceptance_over_prompts_of_different_depth():
    finding = acceptance(
        [SAME, replace(SAME, drafted_at=(10,), accepted_at=(10,)), replace(SAME, drafted_at=(), accepted_at=())]
    )
    assert finding.assistant == "40 accepted: 57% (by position 75% 33%)"


def test_prompts_of_a_file(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("one\ntwo\n---\n\nthree\n---\n")
    assert read_prompts(path) == {"prompt 1": "one\ntwo", "prompt 2": "three"}
    path.write_text("\n---\n")
    with pytest.raises(UsageError, match="no prompt"):
        read_prompts(path)
    with pytest.raises(UsageError, match="is a folder"):
        read_prompts(tmp_path)
