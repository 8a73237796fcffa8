"""`verify --run`: what a pair does when it is decoded, in a child process that may die of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import fspath
from typing import Any

from gemma_mtp.advice import ASSISTANT, TARGET, ours
from gemma_mtp.errors import BadFileError, CheckpointError, LlamaError
from gemma_mtp.extras import advice as how_to_install
from gemma_mtp.model.part import Part
from gemma_mtp.mtp_runtime.prompts import BUILT_IN
from gemma_mtp.native import engines
from gemma_mtp.native.causes import LESS_MEMORY
from gemma_mtp.native.child import NativeCrash, in_child
from gemma_mtp.native.settings import ContextSettings, ModelSettings
from gemma_mtp.native.stats import column_sums
from gemma_mtp.progress import Progress, silent
from gemma_mtp.sources.opening import Place, local_gguf
from gemma_mtp.validate.comparison import Choice, Comparison, Job
from gemma_mtp.validate.findings import Finding, Report, Result, error, note, ok, skipped, warning

PROBE = "gemma_mtp.validate.probe:compare"
TITLE = "Decoding in a child process"
#: Two logits this close are a tie that kernels for other batch sizes may round the other way.
TIE = 0.25
#: Below the first a pair is broken (good pairs reach more even on odd texts), below the second it disappoints.
BROKEN, POOR = 0.10, 0.35
#: Lines of llama.cpp's log that a finding quotes.
LAST_WORDS = 4


@dataclass(frozen=True)
class RunOptions:
    """tokens: for each prompt. seconds: for loading and for each prompt. memory: bytes, None for no limit.

    engine: a key of `engines.TITLE`; None: what is installed. model: how both are loaded; None: as this machine can.
    """

    prompts: tuple[tuple[str, str], ...] = tuple(BUILT_IN.items())
    tokens: int = 96
    draft_max: int = 3
    seconds: int = 300
    memory: int | None = None
    engine: str | None = None
    model: ModelSettings | None = None


def with_run(
    report: Report,
    target: Place,
    assistant: Place,
    *,
    context: ContextSettings | None = None,
    options: RunOptions | None = None,
    progress: Progress = silent,
) -> Report:
    """The report on a pair of GGUFs, which are downloaded if need be, and what decoding with them shows.

    A pair with errors is not loaded.

    progress: of downloads, and of the prompts.
    Raises UsageError (no GGUF files), MissingExtra (no engine), EnvironmentProblem (llama.cpp does not work on this
    machine at all).
    """
    options = options or RunOptions()
    if report.errors:
        refused = Result("run", TITLE, skipped("the pair has errors and was not loaded"))
        return replace(report, results=(*report.results, refused))
    job = make_job(target, assistant, context or ContextSettings(), options, progress)
    done, failed = answers(PROBE, job, job, options, progress)
    names = fspath(target), fspath(assistant)
    results = [
        Result(f"run-{one.kind.lower().replace(' ', '-')}", f"Decoding: {one.kind}", judged(one)) for one in done
    ]
    if failed is not None:
        results.append(Result("run", TITLE, failed))
    else:
        results.append(Result("run-acceptance", "Acceptance", acceptance(done, *names)))
        results.append(Result("run-speed", "Speed with drafting", speed(done, *names)))
    return replace(report, results=(*report.results, *results), run=tuple(done))


def make_job(
    target: Place, assistant: Place, context: ContextSettings, options: RunOptions, progress: Progress = silent
) -> Job:
    """What the child is to do with a pair; progress: of downloading it.

    Raises UsageError (no GGUF files), MissingExtra (the engine), EnvironmentProblem.
    """
    engine = engines.choose(options.engine)
    return Job(
        str(local_gguf(target, Part.TARGET, progress=progress)),
        str(local_gguf(assistant, Part.ASSISTANT, progress=progress)),
        dict(options.prompts),
        options.tokens,
        options.draft_max,
        options.seconds,
        options.memory,
        context,
        _loading(engines.settings_for(engine), options.model),
        engine,
    )


def _loading(works: ModelSettings, asked: ModelSettings | None) -> ModelSettings:
    """As asked, with what this machine's llama.cpp works with."""
    return works if asked is None else replace(asked, extra_buffers=works.extra_buffers and asked.extra_buffers)


def answers(
    entrance: str, call: Any, job: Job, options: RunOptions, progress: Progress
) -> tuple[list[Any], Finding | None]:
    """What a child process gave, prompt by prompt, and what ended it, if that was no good end."""
    done: list[Any] = []
    try:
        with progress("decoding", len(options.prompts), "prompts") as advance:
            for item in in_child(entrance, call, files=job.files):
                done.append(item)
                advance(1)
    except LlamaError as failure:
        return done, _failure(failure, options, len(done))
    except CheckpointError:  # of --reference: not the pair's fault
        raise
    except BadFileError as refusal:
        return done, error(f"the pair was not loaded: {refusal}", refusal.hint or ours("verify", *job.files))
    return done, None


def judged(one: Comparison) -> Finding:
    """Whether a prompt's outputs are identical with and without drafting."""
    target = f"{one.tokens} tokens, {one.plain_speed:.1f}/s"
    assistant = f"{one.drafted_speed:.1f}/s, accepted {_shares([one])}"
    if one.different_at is None:
        return ok(target, assistant, "identical output")
    if one.plain is None or one.drafted is None:
        return warning(
            f"from token {one.different_at + 1} of {one.kind} on the output differs with drafting. "
            f"{engines.TITLE[one.engine]} tells no logits, so it is unknown whether this is a near-tie or a fault",
            f"`--engine python` tells the two apart ({how_to_install(engines.EXTRA[engines.PYTHON])})",
            target,
            assistant,
        )
    where = f"from token {one.different_at + 1} of {one.kind} on the output differs with drafting: "
    how = f"{_told(one.plain, one.drafted)} without, {_told(one.drafted, one.plain)} with"
    if is_tie(one.plain, one.drafted):
        return note(f"{where}{how}. This is a rounding near-tie, not a fault of the pair", target, assistant)
    return error(
        f"{where}{how}. This is no near-tie: drafting changes what the target says",
        f"{ours('doctor')} tests this llama.cpp build; try --cache-type f16, or another build",
        target,
        assistant,
    )


def is_tie(plain: Choice, drafted: Choice) -> bool:
    """Whether each choice was before the other one's by a hair, whoever else was there."""
    return all(ahead is not None and ahead <= TIE for ahead in (plain.ahead, drafted.ahead))


def acceptance(done: list[Comparison], target: str = TARGET, assistant: str = ASSISTANT) -> Finding:
    """The share of accepted drafts over all prompts."""
    drafted, accepted = _drafts(done)
    share = accepted / drafted if drafted else 0.0
    values = (f"{drafted} drafted", f"{accepted} accepted: {_shares(done)}")
    if share < BROKEN:
        return error(
            f"only {share:.0%} of the drafts are accepted: the assistant does not fit this target",
            "use the assistant of exactly this release; for a fine-tune, a drafter has to be trained",
            *values,
        )
    if share < POOR:
        return warning(
            f"{share:.0%} of the drafts are accepted: drafting will hardly pay",
            f"{ours('bench', target, assistant)} tells whether any draft length pays, 1 for instance",
            *values,
        )
    return ok(*values)


def speed(done: list[Comparison], target: str = TARGET, assistant: str = ASSISTANT) -> Finding:
    """Tokens a second over all prompts, prompts included; that drafts are accepted does not mean that they pay."""
    plain, drafted = (
        sum(one.tokens for one in done) / sum(one.tokens / getattr(one, name) for one in done)
        for name in ("plain_speed", "drafted_speed")
    )
    values = (f"{plain:.1f} tokens/s without", f"{drafted:.1f} with drafting: {drafted / plain:.2f}x")
    if drafted >= plain:
        return ok(*values)
    return note(
        "decoding is not faster with drafts here: checking them costs more than they save. Draft fewer (--draft-max "
        f"1), or leave the drafter out; {ours('bench', target, assistant)} measures it with care",
        *values,
    )


def _failure(failure: LlamaError, options: RunOptions, done: int) -> Finding:
    where = "while loading or at the first prompt" if not done else f"after {done} of {len(options.prompts)} prompts"
    words = [line for line in failure.log if line.strip(". ")][-LAST_WORDS:]
    if failure.reason and failure.reason not in words:
        words = [failure.reason, *words[1:]]
    said = f"; llama.cpp's last words: {' / '.join(words)}" if words else ""
    name = failure.signal_name if isinstance(failure, NativeCrash) else ""
    if name == "SIGALRM":
        return error(f"llama.cpp did not answer within {options.seconds} s, {where}{said}", "give it more --timeout")
    remedy = failure.hint or ours("doctor")
    if failure.hint == LESS_MEMORY and options.memory:
        remedy += ", or raise --memory-limit"
    return error(f"{failure.what} ({where}){said}", remedy)


def _told(choice: Choice, other: Choice) -> str:
    behind = (other.token, choice.other_logit)
    token, logit = (choice.second, choice.second_logit) if choice.other_logit is None else behind
    return f"token {choice.token} ({choice.logit:.3f}) before {token} ({logit:.3f})"


def _shares(done: list[Comparison]) -> str:
    drafted, accepted = _drafts(done)
    if not drafted:
        return "nothing drafted"
    sums = (column_sums(getattr(one, name) for one in done) for name in ("accepted_at", "drafted_at"))
    columns = zip(*sums, strict=True)
    by_position = " ".join(f"{taken / tried:.0%}" for taken, tried in columns if tried)
    return f"{accepted / drafted:.0%}" + (f" (by position {by_position})" if by_position else "")


def _drafts(done: list[Comparison]) -> tuple[int, int]:
    """Tokens that were drafted, and accepted, over all prompts."""
    return sum(one.drafts[0] for one in done), sum(one.drafts[1] for one in done)
