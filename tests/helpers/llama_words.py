"""A llama-server as its command line asks for it, in xllamacpp: the words become the fields that common/arg.cpp sets.

    python llama_words.py -m TARGET -md ASSISTANT --spec-type draft-mtp ...

Prints its address, and ends when its input does, or with --port never. An unknown word is an error, as in llama.cpp.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

TYPES = {"none": "NONE", "draft-mtp": "DRAFT_MTP", "draft-simple": "DRAFT_SIMPLE", "ngram-mod": "NGRAM_MOD"}


def field(path: str, kind: Callable[[str], Any] = int) -> Callable[[Any, str], None]:
    """What sets a field of the parameters, by its path."""

    def put(params: Any, value: str) -> None:
        *above, name = path.split(".")
        for one in above:
            params = getattr(params, one)
        setattr(params, name, kind(value))

    return put


def speculate(params: Any, value: str) -> None:
    import xllamacpp

    kinds = [f"COMMON_SPECULATIVE_TYPE_{TYPES[name]}" for name in value.split(",")]
    params.speculative.types = [getattr(xllamacpp.common_speculative_type, kind) for kind in kinds]


def think(params: Any, value: str) -> None:
    params.enable_reasoning = int(value == "on")
    params.default_template_kwargs = {"enable_thinking": "true" if value == "on" else "false"}


def compute(params: Any, value: str) -> None:
    draft = params.speculative.draft
    for one in (params.cpuparams, params.cpuparams_batch, draft.cpuparams, draft.cpuparams_batch):
        one.n_threads = int(value)


WORDS: dict[str, Callable[[Any, str], None]] = {
    "-m": field("model.path", str),
    "-md": field("speculative.draft.mparams.path", str),
    "--mmproj": field("mmproj.path", str),
    "--spec-type": speculate,
    "--spec-draft-n-max": field("speculative.draft.n_max"),
    "--spec-draft-n-min": field("speculative.draft.n_min"),
    "--spec-draft-p-min": field("speculative.draft.p_min", float),
    "-c": field("n_ctx"),
    "-np": field("n_parallel"),
    "-t": compute,
    "-lv": field("verbosity"),
    "--cache-ram": field("cache_ram_mib"),
    "--fit": field("fit_params", lambda value: value == "on"),
    "--reasoning": think,
    "--chat-template-file": field("chat_template", lambda value: Path(value).read_text(encoding="utf-8")),
    "--api-key": field("api_keys", lambda value: [value]),
    "--api-key-file": field("api_keys", lambda value: Path(value).read_text(encoding="utf-8").splitlines()),
    "--alias": field("model_alias", lambda value: {value}),
    "--threads-http": field("n_threads_http"),
    "--cors-origins": field("cors_origins", str),
    "--host": field("hostnames", lambda value: [value]),
    "--port": field("port"),
}
#: Words without a value, as far as they change nothing here.
SWITCHES = {"--metrics", "--no-warmup"}


def main(words: list[str]) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.hostnames, params.port, params.verbosity = ["127.0.0.1"], 0, 1
    params.warmup, params.fit_params, params.cache_ram_mib = False, False, 0
    params.endpoint_slots, params.endpoint_metrics = True, True
    params.n_ctx, params.n_batch, params.n_ubatch = 512, 128, 128
    compute(params, "1")
    for_ever = "--port" in words
    while words:
        word = words.pop(0)
        if word in SWITCHES:
            continue
        if word not in WORDS:
            raise SystemExit(f"unknown word {word}")
        WORDS[word](params, words.pop(0))
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait() if for_ever else sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
