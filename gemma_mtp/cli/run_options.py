"""The options of `gemma-mtp run`, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from gemma_mtp.cli.options import ADAPTIVE, CHAT, FIXED, Think

if TYPE_CHECKING:
    from gemma_mtp.native.settings import ChatSettings, Drafting, Sampling

#: Tokens to generate for -n -1: more than any context has room for.
UNENDING = (1 << 31) - 1


@dataclass(frozen=True)
class TextOptions:
    """What is continued, and where it ends."""

    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="The text to continue. Without it: --file, or standard input.")
    ] = None
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="A file with the prompt (`-`: standard input), less a newline at its end."),
    ] = None
    tokens: Annotated[
        int, typer.Option("--tokens", "-n", min=-1, help="Tokens to generate at most. -1: until the model ends.")
    ] = 256
    stop: Annotated[
        list[str] | None, typer.Option("--stop", help="End before this text. May be given several times.")
    ] = None
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Never choose an end token.")] = False
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="The prompt is a message, in the model's own chat format; on a terminal without one: a conversation.",
            rich_help_panel=CHAT,
        ),
    ] = False
    system: Annotated[str | None, typer.Option(help="What the model is told first.", rich_help_panel=CHAT)] = None
    think: Think = False

    @property
    def most(self) -> int:
        """Tokens to generate at most."""
        return UNENDING if self.tokens == -1 else self.tokens

    def conversation(self) -> ChatSettings | None:
        """The chat's settings, None: the text is continued as it is. Raises UsageError."""
        from gemma_mtp.errors import UsageError
        from gemma_mtp.files.text import typed
        from gemma_mtp.native.settings import ChatSettings

        if not self.chat and (self.system is not None or self.think):
            raise UsageError("--system and --think are for --chat")
        return ChatSettings(None if self.system is None else typed(self.system), self.think) if self.chat else None


@dataclass(frozen=True)
class DraftingOptions:
    """How much is drafted."""

    PANEL: ClassVar[str] = "Drafting"

    draft: Annotated[
        Literal["fixed", "auto", "off"],
        typer.Option(help="fixed: always --draft-max. auto: what pays, measured on the way. off: the baseline."),
    ] = "fixed"
    no_draft: Annotated[bool, typer.Option("--no-draft", help="The same as --draft off.")] = False
    draft_max: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help=f"Tokens to draft in a round, at most. Default: what bench found, else {FIXED}; with auto {ADAPTIVE}.",
        ),
    ] = None
    draft_min: Annotated[int, typer.Option(min=0, help="Throw shorter drafts away.")] = 0
    p_min: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="End a draft where the drafter is less sure. Default: as --draft-max, else 0."),
    ] = None

    @property
    def way(self) -> str:
        """fixed, auto or off."""
        return "off" if self.no_draft else self.draft

    @property
    def said(self) -> bool:
        """Whether the command line says how much: nothing that was found before counts then."""
        return bool(self.way == "auto" or self.draft_max or self.draft_min or self.p_min is not None)

    def settings(self) -> Drafting:
        """What they say of a pair."""
        from gemma_mtp.native.settings import Drafting

        usual = ADAPTIVE if self.way == "auto" else FIXED
        return Drafting(self.draft_max or usual, self.draft_min, self.p_min or 0.0, self.way == "auto")


@dataclass(frozen=True)
class SamplingOptions:
    """How a token is chosen."""

    PANEL: ClassVar[str] = "Sampling"

    temp: Annotated[float, typer.Option(min=0, help="Temperature. 0: always the most probable token.")] = 0.0
    top_k: Annotated[int, typer.Option(min=0, help="Draw from so many of the best tokens. 0: all.")] = 40
    top_p: Annotated[float, typer.Option(help="Draw from the best with this probability together.")] = 0.95
    min_p: Annotated[float, typer.Option(help="Draw from those with this share of the best one's.")] = 0.05
    repeat_penalty: Annotated[float, typer.Option(help="Make tokens that were said less probable. 1: no.")] = 1.0
    repeat_last_n: Annotated[int, typer.Option(help="How far back penalties look. -1: all the way.")] = 64
    presence_penalty: Annotated[float, typer.Option(help="Taken from their logits once.")] = 0.0
    frequency_penalty: Annotated[float, typer.Option(help="Taken from their logits for each time.")] = 0.0
    seed: Annotated[int, typer.Option("--seed", "-s", min=-1, help="-1: another one each time.")] = -1
    sampling: Annotated[
        Literal["match", "reject"],
        typer.Option(
            help="match: drafting does not change a seed's text. reject: nor its distribution, and more is accepted."
        ),
    ] = "match"

    def settings(self) -> Sampling:
        """Raises UsageError."""
        from gemma_mtp.native.settings import Sampling

        return Sampling(
            temperature=self.temp,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repeat_penalty=self.repeat_penalty,
            repeat_last_n=self.repeat_last_n,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=None if self.seed == -1 else self.seed,
            mode=self.sampling,
        )
