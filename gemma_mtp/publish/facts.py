"""What a card is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gemma_mtp.bench.results import BenchResults
from gemma_mtp.hub.source import Source
from gemma_mtp.native.methods import METHODS
from gemma_mtp.publish.assistant_file import AssistantFile
from gemma_mtp.validate import Report


@dataclass(frozen=True)
class Facts:
    """All that a card is made from.

    files: those that are pushed now. others: names and sha256 of the assistants that stay in the repo.
    target: what the files were checked against. reports: by file name; None if not verified.
    proven: by file name, what a proof of origin found.
    """

    repo: str
    files: Sequence[AssistantFile]
    others: Mapping[str, str] = field(default_factory=dict)
    target: Source | None = None
    base_model: str | None = None
    reports: Mapping[str, Report] | None = None
    bench: BenchResults | None = None
    proven: Mapping[str, str] = field(default_factory=dict)

    @property
    def target_name(self) -> str:
        return self.files[0].name.model

    @property
    def kind(self) -> str:
        """How the files draft, for people."""
        return METHODS[self.files[0].family.name].title.split()[1]

    @property
    def first(self) -> AssistantFile:
        """The file that commands show: for mainline if there is one."""
        return next((file for file in self.files if file.dialect is file.family.mainline), self.files[0])

    @property
    def origin(self) -> str | None:
        """The repo of the checkpoint that the files were made from, as far as they or the user say."""
        return self.base_model or next((file.origin for file in self.files if file.origin), None)
