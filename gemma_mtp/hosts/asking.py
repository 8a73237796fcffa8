"""Does a server that runs now draft? It is asked what it is and what it has loaded, and for one small answer.

What a kind of server tells differs: `KINDS` has a function for each, which fills in what can be known of a `Witness`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from gemma_mtp.advice import ASSISTANT, TARGET, ours
from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.hosts.talking import Server, looked_up
from gemma_mtp.mtp_runtime.prompts import BUILT_IN

MTP = "draft-mtp"
#: Tokens of the one answer: enough for several rounds.
TOKENS = 48
PROMPT = next(iter(BUILT_IN.values()))


@dataclass(frozen=True)
class Witness:
    """What a server says of itself; None: it does not say. types: of speculative decoding, empty for none.

    kind: what it is. drafter: the file that it was given as one. speculates: whether its slots have a drafter.
    tokens, drafted, accepted: of the answer. context: tokens of a slot.
    """

    kind: str
    version: str | None = None
    model: str | None = None
    drafter: str | None = None
    types: tuple[str, ...] | None = None
    speculates: bool | None = None
    context: int | None = None
    slots: int | None = None
    images: bool | None = None
    tokens: int | None = None
    drafted: int | None = None
    accepted: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """drafts: None if the server does not let that be known. remedy: what to do if it does not draft."""

    drafts: bool | None
    why: str
    remedy: str = ""


@dataclass(frozen=True)
class ServerReport:
    address: str
    witness: Witness
    verdict: Verdict = field(default_factory=lambda: Verdict(None, ""))

    def to_dict(self) -> dict[str, Any]:
        said = {one.name: getattr(self.witness, one.name) for one in fields(Witness)}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}
        own = {"address": self.address, "drafts": self.verdict.drafts, "why": self.verdict.why}
        return own | {"remedy": self.verdict.remedy} | listed


def ask_server(address: str, *, api_key: str | None = None, model: str | None = None) -> ServerReport:
    """What a running server says, and what follows from it. model: which, of a server that has several.

    Raises UsageError (no address, a key or a model is wanted), EnvironmentProblem (it does not answer).
    """
    server = Server.at(address, api_key)
    witness = next(found for kind in KINDS if (found := kind(server, model)) is not None)
    return ServerReport(server.address, witness, judged(witness))


def _llama(server: Server, model: str | None) -> Witness | None:
    """llama.cpp's server, or what is built on it and passes its answers on; its router."""
    props = server.get("/props")
    if looked_up(props, "role") == "router":
        return _router(server, model)
    if looked_up(props, "default_generation_settings") is None:
        return None
    return _of_model(server, props, None, Witness("llama.cpp's server"))


def _router(server: Server, model: str | None) -> Witness:
    """Raises UsageError: it has several models, or not this one."""
    listed = [one for one in looked_up(server.get("/models"), "data") or [] if isinstance(one, dict)]
    names = {str(one.get("id")): one for one in listed}
    loaded = [name for name, one in names.items() if looked_up(one, "status", "value") == "loaded"]
    chosen = model or (loaded[0] if len(loaded) == 1 else next(iter(names), None) if len(names) == 1 else None)
    if chosen not in names:
        what = f"the router has no model {model!r}" if model else "the router has several models"
        raise UsageError(what, where=server.address, hint=f"--model with one of {', '.join(names) or 'none'}")
    words = looked_up(names[chosen], "status", "args")
    witness = given(words if isinstance(words, list) else [], Witness("llama.cpp's router"))
    try:
        answer = _completion(server, chosen)
    except EnvironmentProblem as problem:
        return replace(witness, model=chosen, notes=(f"the model gives no answer: {problem.what}",))
    return _of_answer(answer, replace(witness, model=chosen))


def given(words: Sequence[Any], witness: Witness) -> Witness:
    """With what a router's arguments for a model say."""
    texts = [str(word) for word in words]
    options = {word: texts[index + 1] for index, word in enumerate(texts[:-1]) if word.startswith("-")}
    kinds = options.get("--spec-type", "none")
    return replace(
        witness,
        drafter=options.get("--model-draft") or options.get("--spec-draft-model") or options.get("-md"),
        types=tuple(kind for kind in kinds.split(",") if kind != "none"),
        slots=_number(options.get("--parallel")),
        images="--mmproj" in options,
    )


def _of_model(server: Server, props: Any, model: str | None, witness: Witness) -> Witness:
    images = looked_up(props, "modalities", "vision")
    slots = _optional(server, "/slots")
    speculates = looked_up(slots, 0, "speculative")
    witness = replace(
        witness,
        version=_text(looked_up(props, "build_info")),
        model=_text(looked_up(props, "model_path")),
        context=_number(looked_up(props, "default_generation_settings", "n_ctx")),
        slots=_number(looked_up(props, "total_slots")),
        images=images if isinstance(images, bool) else None,
        speculates=speculates if isinstance(speculates, bool) else None,
    )
    return _of_answer(_completion(server, model), witness)


def _completion(server: Server, model: str | None) -> Any:
    asked = {"prompt": PROMPT, "n_predict": TOKENS, "temperature": 0, "cache_prompt": False}
    return server.post("/completion", asked if model is None else {**asked, "model": model})


def _of_answer(answer: Any, witness: Witness) -> Witness:
    """llama.cpp tells drafts in `timings` if there were any, and the type in `generation_settings`."""
    kinds = looked_up(answer, "generation_settings", "speculative.types")
    types = witness.types
    if isinstance(kinds, str):
        types = tuple(kind for kind in kinds.split(",") if kind not in ("none", ""))
    timings = looked_up(answer, "timings")
    if not isinstance(timings, dict):
        return replace(witness, types=types)
    drafted = _number(timings.get("draft_n", 0))
    accepted = _number(timings.get("draft_n_accepted", 0))
    return replace(witness, types=types, tokens=_number(timings.get("predicted_n")), drafted=drafted, accepted=accepted)


def _kobold(server: Server, _: str | None) -> Witness | None:
    about = server.get("/api/extra/version")
    if looked_up(about, "result") != "KoboldCpp":
        return None
    server.post("/api/v1/generate", {"prompt": PROMPT, "max_length": TOKENS, "temperature": 0})
    perf = server.get("/api/extra/perf")
    good, bad = (_number(looked_up(perf, f"last_draft_{name}")) for name in ("success", "failed"))
    images = looked_up(about, "vision")
    return Witness(
        "KoboldCpp",
        _text(looked_up(about, "version")),
        _text(looked_up(server.get("/api/v1/model"), "result")),
        context=_number(looked_up(server.get("/api/extra/true_max_context_length"), "value")),
        images=images if isinstance(images, bool) else None,
        tokens=_number(looked_up(perf, "last_token_count")),
        drafted=None if good is None or bad is None else good + bad,
        accepted=good,
    )


def _ollama(server: Server, model: str | None) -> Witness | None:
    """Its answers tell nothing about drafts; the Modelfile of a model tells whether it names a draft."""
    version = _text(looked_up(server.get("/api/version"), "version"))
    listed = looked_up(server.get("/api/tags"), "models")
    if version is None or not isinstance(listed, list):
        return None
    running = looked_up(server.get("/api/ps"), "models", 0, "name")
    names = [str(looked_up(one, "name")) for one in listed]
    chosen = model or running or (names[0] if len(names) == 1 else None)
    if chosen is None:
        raise UsageError(
            "Ollama has several models", where=server.address, hint=f"--model with one of {', '.join(names)}"
        )
    modelfile = _text(looked_up(server.post("/api/show", {"model": chosen}), "modelfile")) or ""
    lines = [line.split(None, 1) for line in modelfile.splitlines()]
    drafter = next((line[1] for line in lines if len(line) == 2 and line[0].upper() == "DRAFT"), None)
    return Witness("Ollama", version, str(chosen), drafter, notes=("its API tells nothing about drafts",))


def _openai(server: Server, model: str | None) -> Witness:
    """Any endpoint of OpenAI's kind. `timings` come through where llama.cpp stands behind it."""
    listed = looked_up(server.get("/v1/models"), "data")
    names = [str(looked_up(one, "id")) for one in listed] if isinstance(listed, list) else []
    if not names:
        raise EnvironmentProblem(
            "this is no server that is known here: it has neither /props nor /v1/models",
            where=server.address,
            hint="name the address of llama-server, its router, Ollama, KoboldCpp or another OpenAI endpoint",
        )
    chosen = model or names[0]
    asked = {"model": chosen, "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0}
    answer = server.post("/v1/completions", asked)
    witness = _of_answer(answer, Witness("an OpenAI endpoint", model=chosen))
    tokens = witness.tokens or _number(looked_up(answer, "usage", "completion_tokens"))
    notes = () if witness.drafted is not None else ("its answers tell nothing about drafts",)
    return replace(witness, tokens=tokens, notes=notes)


#: In this order: llama.cpp's answers tell most, and several programs have OpenAI's paths beside their own.
KINDS: tuple[Callable[[Server, str | None], Witness | None], ...] = (_llama, _kobold, _ollama, _openai)


def judged(witness: Witness) -> Verdict:
    """What follows. Nothing is taken for drafting but drafts that were seen."""
    if witness.drafted:
        return _drafting(witness)
    remedy = ours("export", "llama-server", TARGET, ASSISTANT)
    if witness.types is not None and witness.types and MTP not in witness.types:
        return Verdict(
            False,
            f"another method is set ({', '.join(witness.types)}), and it drafted nothing in this answer",
            f"start it with --spec-type {MTP}: {remedy} writes the command",
        )
    if witness.types == () and witness.drafter:
        return Verdict(
            False,
            f"{witness.drafter} is named as the draft model, and no type is: it is loaded and never drafts, or is not "
            "loaded at all (b11549)",
            f"put spec-type = {MTP} into the model's section of the preset file: "
            f"{ours('export', 'llama-router', TARGET, ASSISTANT)} writes it",
        )
    if witness.types == ():
        return Verdict(
            False,
            "no type of speculative decoding is set: it was started without a drafter, or with -md alone, which "
            "earlier builds drop without a word",
            f"start it with -md and --spec-type {MTP}: {remedy} writes the command",
        )
    if witness.types and witness.speculates is False:
        return Verdict(
            False,
            f"{MTP} is set, but its slots have no drafter: it was not loaded",
            f"read its log with {ours('explain', 'server.log')}",
        )
    if witness.types and witness.drafted == 0:
        return Verdict(
            False,
            f"{MTP} is set, and nothing was drafted in {witness.tokens} tokens: the draft length may be 0, or the "
            "confidence asked of a draft (p-min) too high",
            f"start it with --spec-draft-n-max 3: {remedy} writes the command",
        )
    return _unseen(witness)


def _drafting(witness: Witness) -> Verdict:
    assert witness.drafted is not None
    by = "" if witness.types is None or MTP in witness.types else f" by {', '.join(witness.types)}, not by an assistant"
    return Verdict(
        True,
        f"{witness.drafted} tokens were drafted{by} for an answer of {witness.tokens}, and {witness.accepted} of them "
        f"accepted ({(witness.accepted or 0) / witness.drafted:.0%})",
    )


def _unseen(witness: Witness) -> Verdict:
    """What is left: servers that tell nothing of the type."""
    if witness.drafted == 0:
        return Verdict(
            False,
            "nothing was drafted in this answer, and the server does not tell why",
            "see in its settings whether a draft model and its type are named",
        )
    if witness.drafter:
        return Verdict(None, f"{witness.drafter} is named as the draft; whether it drafts is not told", "see its log")
    return Verdict(None, "whether it drafts is not told", "see its log")


def _optional(server: Server, path: str) -> Any:
    """What a server may keep to itself: some refuse these paths unless they are switched on."""
    try:
        return server.get(path)
    except (EnvironmentProblem, UsageError):
        return None


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value == value else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
