"""A program that is started as llama-server is, and is llama.cpp's server: xllamacpp's, for want of the binary.

It takes the words that `gemma_mtp.native.server_line.serving` writes, and no others. Whether upstream's own parser
takes them is asked of a real llama-server, where there is one.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path

HELP = "--model --spec-type none,draft-simple,draft-mtp --cors-origins --reasoning [on|off|auto]"
WORDS = {
    "-m": str, "-md": str, "--spec-type": str, "--spec-draft-n-max": int, "--spec-draft-n-min": int,
    "--spec-draft-p-min": float, "-c": int, "-np": int, "-t": int, "-b": int, "-ub": int, "-lv": int, "--host": str,
    "--port": int, "--fit": str, "--cache-ram": int, "--reasoning": str, "--chat-template-file": str,
    "--api-key-file": str, "--alias": str, "--mmproj": str, "--threads-http": int, "--cors-origins": str,
}  # fmt: skip


def write_program(folder: Path) -> Path:
    """As an executable file."""
    program = folder / "llama-server"
    path = os.pathsep.join(filter(None, sys.path))
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{path}" exec "{sys.executable}" "{__file__}" "$@"\n')
    program.chmod(0o755)
    return program


def main() -> None:
    if "--help" in sys.argv:
        print(HELP)
    elif "--version" in sys.argv:
        print("version: 11549 (a1b2c3)", file=sys.stderr)
    elif "--list-devices" in sys.argv:
        print("Available devices:")
    else:
        serve()


def serve() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for word, kind in WORDS.items():
        parser.add_argument(word, type=kind, dest=word)
    parser.add_argument("--no-warmup", action="store_true")
    parser.add_argument("--metrics", action="store_true")
    told = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = told["-m"], told["-c"], told["-np"]
    params.warmup, params.fit_params, params.verbosity = False, False, told["-lv"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = told.get("-t", 1)
    params.cache_ram_mib, params.endpoint_metrics = told["--cache-ram"], told["metrics"]
    params.hostnames, params.port, params.n_threads_http = [told["--host"]], told["--port"], told["--threads-http"]
    thinking = told["--reasoning"] == "on"
    params.enable_reasoning = int(thinking)
    params.default_template_kwargs = {"enable_thinking": "true" if thinking else "false"}
    if "--api-key-file" in told:
        params.api_keys = Path(told["--api-key-file"]).read_text().split()
    if "--chat-template-file" in told:
        params.chat_template = Path(told["--chat-template-file"]).read_text()
    if "--alias" in told:
        params.model_alias = {told["--alias"]}
    if "--mmproj" in told:
        params.mmproj.path = told["--mmproj"]
    if "--cors-origins" in told:
        params.cors_origins = told["--cors-origins"]
    if "-md" in told:
        draft = params.speculative.draft
        name = told["--spec-type"].upper().replace("-", "_")
        params.speculative.types = [getattr(xllamacpp.common_speculative_type, f"COMMON_SPECULATIVE_TYPE_{name}")]
        draft.mparams.path, draft.n_max, draft.n_min = (
            told["-md"],
            told["--spec-draft-n-max"],
            told["--spec-draft-n-min"],
        )
        draft.p_min, draft.cpuparams.n_threads = told["--spec-draft-p-min"], told.get("-t", 1)
    server = xllamacpp.Server(params)
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()
