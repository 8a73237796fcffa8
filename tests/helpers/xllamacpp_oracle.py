"""llama.cpp's own C++ server, in an interpreter of its own: JSON on stdin, JSON on stdout.

Two builds of ggml in one process may clash, hence the process. Request: the arguments of `ask_xllamacpp`, prompts as
lists of token ids. Answer: for each prompt the generated tokens, and drafted and accepted as the server counts them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def ask_xllamacpp(
    target: Path,
    assistant: Path | None,
    prompts: list[list[int]],
    *,
    kind: str = "DRAFT_MTP",
    draft_max: int = 3,
    draft_min: int = 0,
    p_min: float = 0.0,
    options: dict[str, Any] | None = None,
    max_tokens: int = 64,
    context: int = 512,
    batch: int = 512,
    threads: int = 1,
) -> list[dict[str, Any]]:
    """Greedy completions that ignore end tokens: [{"tokens": [...], "drafted": n, "accepted": n, "seconds": s}].

    kind: of drafting, as llama.cpp's enumeration ends. options: more fields of llama-server's requests.
    """
    request = {
        "target": str(target),
        "assistant": None if assistant is None else str(assistant),
        "prompts": prompts,
        "kind": kind,
        "draft_max": draft_max,
        "draft_min": draft_min,
        "p_min": p_min,
        "options": options or {},
        "max_tokens": max_tokens,
        "context": context,
        "batch": batch,
        "threads": threads,
    }
    ran = subprocess.run(
        [sys.executable, __file__], input=json.dumps(request), capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads(ran.stdout)


def serve(request: dict[str, Any]) -> list[dict[str, Any]]:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = request["target"]
    params.n_ctx, params.n_batch, params.n_ubatch = request["context"], request["batch"], request["batch"]
    params.n_parallel, params.warmup, params.fit_params, params.cache_ram_mib = 1, False, False, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = request["threads"]
    params.cache_prompt, params.verbosity = False, 0
    if request["assistant"]:
        speculative = params.speculative
        speculative.types = [getattr(xllamacpp.common_speculative_type, f"COMMON_SPECULATIVE_TYPE_{request['kind']}")]
        speculative.draft.mparams.path = request["assistant"]
        speculative.draft.n_max, speculative.draft.n_min, speculative.draft.p_min = (
            request["draft_max"],
            request["draft_min"],
            request["p_min"],
        )
        speculative.draft.cpuparams.n_threads = speculative.draft.cpuparams_batch.n_threads = request["threads"]
    server = xllamacpp.Server(params)
    answers = []
    for prompt in request["prompts"]:
        reply = server.handle_completions(
            {
                "prompt": prompt,
                "n_predict": request["max_tokens"],
                "temperature": 0.0,
                "top_k": 1,
                "ignore_eos": True,
                "return_tokens": True,
                "verbose": True,
                "cache_prompt": False,
                "stream": False,
                **request["options"],
            }
        )
        timings = reply["timings"]
        answers.append(
            {
                "tokens": reply["__verbose"]["tokens"],
                "drafted": timings.get("draft_n", 0),
                "accepted": timings.get("draft_n_accepted", 0),
                "seconds": timings["predicted_ms"] / 1000,
            }
        )
    return answers


if __name__ == "__main__":
    out = os.dup(1)
    os.dup2(2, 1)  # the server may print
    found = serve(json.load(sys.stdin))
    os.write(out, json.dumps(found).encode())
    os._exit(0)
