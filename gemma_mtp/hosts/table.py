"""The table of hosts. A new host is a new record here: nothing else asks for a host by its name.

What stands in braces is filled in by `values.py`. A piece with {ctx} is left out where no context is asked for.
"""

from __future__ import annotations

from datetime import date

from gemma_mtp.hosts.record import SHELL, CommandLine, Folder, HostRecord, Modelfile, Preset, YamlFile
from gemma_mtp.model.family import DFLASH, FAMILY
from gemma_mtp.validate.host import IK_LLAMA, LLAMA

#: The day on which the sources below were read.
READ = date(2026, 11, 26)

#: Hosts whose own words, or llama.cpp's which they pass on, tell them that a drafter is a DFlash one.
WITH_BLOCKS = (FAMILY.name, DFLASH.name)
LLAMA_SINCE = "b9553 (June 7, 2026); E2B and E4B from June 8, 2026"
NO_LOGPROBS = "drafted tokens have no logprobs: 0.0 and no alternatives are answered for them"
IMAGES = "answers about images are drafted, too (b11549); the first builds with MTP abort on an image"
SILENT = "without it the assistant is loaded and never drafts, without a word; b11549 ends at loading"
#: What every copy of llama.cpp's server shows.
TIMINGS = "`draft_n` and `draft_n_accepted` in the `timings` of every answer"

HOSTS: tuple[HostRecord, ...] = (
    HostRecord(
        "llama-server",
        "llama.cpp's llama-server",
        LLAMA_SINCE,
        READ,
        "llama.cpp common/arg.cpp and tools/server/server-context.cpp, October 2026",
        LLAMA,
        CommandLine(
            (
                (
                    "llama-server",
                    *("-m", "{target}", "-md", "{assistant}"),
                    *("--spec-type", "{spec_type}", "--spec-draft-n-max", "{draft}"),
                    ("-c", "{ctx}"),
                    *("-np", "1"),
                ),
            )
        ),
        TIMINGS,
        limits=(f"--spec-type: {SILENT}", NO_LOGPROBS, IMAGES, "with several slots (-np) drafting pays less"),
        drafters=WITH_BLOCKS,
    ),
    HostRecord(
        "llama-router",
        "llama.cpp's router (llama-server without a model)",
        LLAMA_SINCE,
        READ,
        "llama.cpp common/preset.cpp, common/arg.cpp and docs/preset.md, October 2026",
        LLAMA,
        Preset(
            {
                "model": "{target}",
                "model-draft": "{assistant}",
                "spec-type": "{spec_type}",
                "spec-draft-n-max": "{draft}",
                "ctx-size": "{ctx}",
                "parallel": "1",
            }
        ),
        f"{TIMINGS}; GET /models shows the arguments of each model",
        (("llama-server", "--models-preset", "{file}"),),
        (
            "--models-dir alone finds an assistant named mtp-....gguf beside the target (b11434; b10434 does not) "
            "and never drafts with it: the type has to stand in a preset, in a section named after the folder",
            "--spec-type on the router's own command line reaches every model; those without a drafter fail to start",
            NO_LOGPROBS,
            IMAGES,
        ),
        drafters=WITH_BLOCKS,
    ),
    HostRecord(
        "ollama",
        "Ollama",
        "0.32.7 (August 10, 2026) for GGUF files",
        READ,
        "ollama parser/parser.go and llm/llama_server.go, August 21, 2026",
        "ollama",
        Modelfile(
            (
                ("FROM", "{target}"),
                ("DRAFT", "{assistant}"),
                ("PARAMETER", "draft_num_predict {draft}"),
                ("PARAMETER", "num_ctx {ctx}"),
            )
        ),
        "its log shows llama-server started with --spec-type draft-mtp; its API tells nothing about drafts",
        (("ollama", "create", "{name}", "-f", "{file}"), ("ollama", "run", "{name}")),
        (
            "draft_num_predict is 4 if it is left out, and 0 switches drafting off",
            "DRAFT is missing in its documentation",
        ),
        drafters=WITH_BLOCKS,
    ),
    HostRecord(
        "lmstudio",
        "LM Studio",
        "not known: up to 0.4.20 not at all; later builds have settings for drafts, Gemma's separate file unproven",
        READ,
        "lmstudio-bug-tracker issues 2044, 2109, 2150, 2153, 2244 and 2409 (September 17, 2026)",
        "lmstudio",
        Folder(("gemma-mtp", "{name}")),
        "the model in its list; whether it drafts only its own statistics can tell",
        limits=(
            "there is nothing to write down: drafting is switched on in the model's settings, where it is offered",
        ),
    ),
    HostRecord(
        "llama-swap",
        "llama-swap",
        f"whatever its llama-server does: {LLAMA_SINCE}",
        READ,
        "llama-swap's README (models, cmd, macros) and llama.cpp common/arg.cpp, October 2026",
        LLAMA,
        YamlFile(
            {"models": {"{name}": {"cmd": SHELL}}},
            "config.yaml",
            (
                *("llama-server", "--port", "${{PORT}}", "-m", "{target}", "-md", "{assistant}"),
                *("--spec-type", "{spec_type}", "--spec-draft-n-max", "{draft}"),
                ("-c", "{ctx}"),
                *("-np", "1"),
            ),
        ),
        TIMINGS,
        (("llama-swap", "--config", "{file}"),),
        (f"the command's --spec-type: {SILENT}", NO_LOGPROBS, IMAGES),
        drafters=WITH_BLOCKS,
    ),
    HostRecord(
        "koboldcpp",
        "KoboldCpp",
        "1.115 (July 2026)",
        READ,
        "koboldcpp issues 2262 (closed June 28, 2026) and 2325; its present code was not read",
        "koboldcpp",
        CommandLine(
            (
                (
                    *("koboldcpp", "--model", "{target}"),
                    *("--draftmodel", "{assistant}", "--draftamount", "{draft}"),
                    ("--contextsize", "{ctx}"),
                ),
            )
        ),
        "its console tells drafted and accepted tokens",
        own_options=True,
        limits=("1.114.1 and before do not know the assistant; for 1.115 an error about the vocabulary was reported",),
    ),
    HostRecord(
        "textgen",
        "text-generation-webui",
        f"with a llama.cpp of {LLAMA_SINCE}",
        READ,
        "text-generation-webui modules/shared.py and modules/llama_cpp_server.py, May 31, 2026; issue 7595",
        LLAMA,
        CommandLine(
            (
                (
                    *("python", "server.py", "--model-dir", "{target_folder}", "--model", "{target_file}"),
                    *("--model-draft", "{assistant}", "--spec-type", "{spec_type}", "--draft-max", "{draft}"),
                    ("--ctx-size", "{ctx}"),
                ),
            )
        ),
        "its console shows llama-server's figures of draft acceptance",
        limits=(f"--spec-type: {SILENT}", IMAGES),
        own_options=True,
        drafters=WITH_BLOCKS,
    ),
    HostRecord(
        "localai",
        "LocalAI",
        "July 2026 (pull request 10876)",
        READ,
        "LocalAI core/backend/options.go, core/config/mtp.go, backend/cpp/llama-cpp/grpc-server.cpp, summer 2026",
        LLAMA,
        YamlFile(
            {
                "name": "{name}",
                "backend": "llama-cpp",
                "context_size": "{ctx}",
                "parameters": {"model": "{target_file}"},
                "draft_model": "{assistant_file}",
                "options": ("use_jinja:true", "spec_type:{spec_type}", "spec_n_max:{draft}", "spec_p_min:0"),
                "template": {"use_tokenizer_template": True},
            },
            "model.yaml",
        ),
        "its log shows figures of draft acceptance",
        limits=(
            "files are named relative to its models folder: both, and this file, belong there (older versions look for "
            "the draft in the backend's own folder: write its whole path there)",
            "options are written key:value with underscores; an unknown one is dropped without a word",
            "spec_type: without it the assistant is taken for an ordinary draft model (draft-simple), and is none",
        ),
    ),
    HostRecord(
        "docker-model-runner",
        "Docker Model Runner",
        f"with a llama.cpp of {LLAMA_SINCE}",
        READ,
        "docker/model-runner runtime_flags_allowlist.go and cmd/cli, July 22, 2026",
        LLAMA,
        CommandLine(
            (
                ("docker", "model", "package", "--gguf", "{target}", "{image}"),
                ("docker", "model", "package", "--gguf", "{assistant}", "{image}-assistant"),
                (
                    *("docker", "model", "configure", ("--context-size", "{ctx}")),
                    *("--speculative-draft-model", "{image}-assistant", "--speculative-num-tokens", "{draft}"),
                    *("{image}", "--", "--spec-type", "{spec_type}"),
                ),
                ("docker", "model", "run", "{image}"),
            )
        ),
        TIMINGS,
        limits=(
            f"the flag behind `--`: {SILENT}",
            "files are packaged as OCI artifacts: copies, not links, and named in small letters",
        ),
        own_options=True,
        drafters=WITH_BLOCKS,
    ),
    HostRecord(
        "ramalama",
        "RamaLama",
        f"with a llama.cpp of {LLAMA_SINCE}",
        READ,
        "ramalama's manual (serve) and its llama.cpp command, August 21, 2026",
        LLAMA,
        CommandLine(
            (
                (
                    *("ramalama", "serve", "--model-draft", "file://{assistant}"),
                    *("--spec-type", "{spec_type}", "--spec-draft-n-max", "{draft}"),
                    ("-c", "{ctx}"),
                    "file://{target}",
                ),
            )
        ),
        TIMINGS,
        limits=(f"--spec-type: {SILENT}", "two models as arguments mean its router, which never drafts by itself"),
        drafters=WITH_BLOCKS,
    ),
    HostRecord(
        "ik_llama.cpp",
        "ik_llama.cpp's llama-server",
        "May 10, 2026 in its own dialect; June 19, 2026 in mainline's",
        READ,
        "ik_llama.cpp pull requests 1744, 1937 and 1995; code of August 15, 2026",
        IK_LLAMA,
        CommandLine(
            (
                (
                    *("llama-server", "-m", "{target}", "-md", "{assistant}"),
                    *("-mtp", "--draft-max", "{draft}"),
                    ("-c", "{ctx}"),
                    *("-np", "1"),
                ),
            )
        ),
        "its log shows figures of draft acceptance",
        limits=(
            "with more than one slot it drops MTP without a word",
            "-khad and -vhad spoil the drafts",
            "without -mtp the assistant is refused as an ordinary draft model",
        ),
    ),
    HostRecord(
        "vllm",
        "vLLM",
        "0.21",
        READ,
        "vLLM pull requests 41703 and 47216, and its documentation of speculative decoding, summer 2026",
        None,
        CommandLine(
            (
                (
                    *("vllm", "serve", "{target}", ("--max-model-len", "{ctx}"), "--speculative-config"),
                    '{{"method": "{kind}", "model": {assistant_json}, "num_speculative_tokens": {draft}}}',
                ),
            )
        ),
        "its log and /metrics tell drafted and accepted tokens",
        limits=("it reads Google's checkpoints and no GGUF",),
        drafters=WITH_BLOCKS,
    ),
    HostRecord(
        "sglang",
        "SGLang",
        "pull request 24436 (summer 2026)",
        READ,
        "SGLang pull request 24436 and its documentation of speculative decoding, summer 2026",
        None,
        CommandLine(
            (
                (
                    *("python", "-m", "sglang.launch_server", "--model-path", "{target}"),
                    *("--speculative-algorithm", "NEXTN", "--speculative-draft-model-path", "{assistant}"),
                    *("--speculative-num-steps", "{draft}", "--speculative-eagle-topk", "1"),
                    *("--speculative-num-draft-tokens", "{block}", ("--context-length", "{ctx}")),
                ),
            )
        ),
        "its log tells the accepted length of each batch",
        limits=("it reads Google's checkpoints and no GGUF",),
    ),
    HostRecord(
        "mlx-vlm",
        "mlx-vlm",
        "0.5 (May 2026)",
        READ,
        "mlx-vlm pull requests 1112, 1115 and 1117, and its server's options, summer 2026",
        None,
        CommandLine(
            (
                (
                    *("python", "-m", "mlx_vlm.server", "--model", "{target}", "--draft-model", "{assistant}"),
                    *("--draft-kind", "{kind}", "--draft-block-size", "{block}"),
                    ("--max-kv-size", "{ctx}"),
                ),
            )
        ),
        "its answers tell how many drafts were accepted",
        limits=(
            "it reads checkpoints in Google's layout or MLX's and no GGUF",
            "a block is the drafts and the token before them; a block of 1 ends every answer after one token",
        ),
        drafters=WITH_BLOCKS,
    ),
)
