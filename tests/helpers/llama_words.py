"""A llama-server as its command line asks for it, in xllamacpp: the words become the fields that common/arg.cpp sets.

    python llama_words.py -m TARGET -md ASSISTANT --spec-type draft-mtp ...

Prints its address, and ends when its input does. An unknown word is an error, as in llama.cpp.
"""

from __future__ import annotations

import sys

TYPES = {"none": "NONE", "draft-mtp": "DRAFT_MTP", "draft-simple": "DRAFT_SIMPLE", "ngram-mod": "NGRAM_MOD"}


def main(words: list[str]) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    draft = params.speculative.draft
    params.hostnames, params.port, params.verbosity = ["127.0.0.1"], 0, 1
    params.warmup, params.fit_params, params.cache_ram_mib = False, False, 0
    params.endpoint_slots, params.endpoint_metrics = True, True
    params.n_ctx, params.n_batch, params.n_ubatch = 512, 128, 128
    threads = params.cpuparams, params.cpuparams_batch, draft.cpuparams, draft.cpuparams_batch
    for one in threads:
        one.n_threads = 1
    while words:
        word, value = words.pop(0), words.pop(0)
        if word == "-m":
            params.model.path = value
        elif word == "-md":
            draft.mparams.path = value
        elif word == "--spec-type":
            kinds = [f"COMMON_SPECULATIVE_TYPE_{TYPES[name]}" for name in value.split(",")]
            params.speculative.types = [getattr(xllamacpp.common_speculative_type, kind) for kind in kinds]
        elif word == "--spec-draft-n-max":
            draft.n_max = int(value)
        elif word == "-c":
            params.n_ctx = int(value)
        elif word == "-np":
            params.n_parallel = int(value)
        elif word == "--api-key":
            params.api_keys = [value]
        else:
            raise SystemExit(f"unknown word {word}")
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
