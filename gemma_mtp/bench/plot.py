"""The picture of a measurement: speed-up and acceptance against draft length, one line a category."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from gemma_mtp.bench.results import AUTO, OVERALL, PLAIN, BenchResults, Row
from gemma_mtp.errors import MissingExtra, UsageError
from gemma_mtp.files.atomic import check_output, write_whole

SUFFIXES = (".png", ".svg", ".pdf")
#: Okabe and Ito's colours, which colour-blind people can tell apart; the darkest is kept for all prompts together.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1", "#7F7F7F")
INK, FAINT, GRID = "#1A1A1A", "#6B6B6B", "#E4E4E4"


def check_plot(path: Path, force: bool) -> None:
    """Refuse before anything is measured. Raises UsageError (the name, the folder), MissingExtra (matplotlib)."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"a picture ends in {', '.join(SUFFIXES)}", where=path)
    check_output(path, force)
    _figure_class()


def draw(results: BenchResults, path: Path, *, force: bool = False) -> None:
    """Draw the first engine's rows. Raises UsageError, MissingExtra, EnvironmentProblem (not writable)."""
    figure = _figure_class()(figsize=(11, 5.6), dpi=160, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    speed, acceptance = figure.subplots(1, 2, width_ratios=(1.15, 1))
    engine = results.engines[0]
    for category, colour, width in _lines(results):
        rows = results.of(engine, category)
        style = {"color": colour, "linewidth": width, "zorder": 3 + width}
        _line(speed, [row for row in rows if row.draft != AUTO], "speedup", style, label=_label(category))
        _line(acceptance, [row for row in rows if row.draft > PLAIN], "acceptance", style, label=None)
        _adaptive(speed, rows, results, colour, width)
    _ceiling(speed, results.of(engine, OVERALL))
    _dress_speed(speed, results)
    _dress_acceptance(acceptance, results)
    figure.legend(loc="outside lower center", ncols=9, frameon=False, fontsize=9, labelcolor=INK, handlelength=1.8)
    _title(figure, results)
    picture = BytesIO()
    figure.savefig(picture, format=path.suffix.lower().lstrip("."), facecolor="white")
    write_whole(path, picture.getvalue(), force=force)


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtra("plot") from None
    return Figure


def _lines(results: BenchResults) -> list[tuple[str, str, float]]:
    """(category, colour, width): all prompts together last, so that they lie on top."""
    colours = (COLOURS[number % len(COLOURS)] for number in range(len(results.categories)))
    categories = [(name, colour, 1.6) for name, colour in zip(results.categories, colours, strict=True)]
    return [*categories, (OVERALL, INK, 3.0)] if len(categories) > 1 else categories


def _label(category: str) -> str:
    return "all prompts" if category == OVERALL else category


def _line(axes: Any, rows: list[Row], field: str, style: dict[str, Any], label: str | None) -> None:
    axes.plot(
        [row.draft for row in rows],
        [getattr(row, field) for row in rows],
        marker="o",
        markersize=3.5 + style["linewidth"],
        markeredgecolor="white",
        markeredgewidth=0.8,
        label=label,
        **style,
    )


def _adaptive(axes: Any, rows: list[Row], results: BenchResults, colour: str, width: float) -> None:
    for row in rows:
        if row.draft == AUTO:
            axes.plot(
                [results.settings.draft_max + 1],
                [row.speedup],
                marker="D",
                markersize=4 + width,
                color=colour,
                markeredgecolor="white",
                markeredgewidth=0.8,
                zorder=3 + width,
            )


def _ceiling(axes: Any, rows: list[Row]) -> None:
    told = [row for row in rows if row.draft != AUTO and row.ceiling is not None]
    if told:
        axes.plot(
            [row.draft for row in told],
            [row.ceiling for row in told],
            color=INK,
            linewidth=1.2,
            linestyle=(0, (4, 3)),
            zorder=3,
            label="all, if drafting were free",
        )


def _dress_speed(axes: Any, results: BenchResults) -> None:
    longest = results.settings.draft_max
    _dress(axes, "Speed-up over plain decoding", "draft length (tokens)")
    axes.axhline(1, color=FAINT, linewidth=1, zorder=2)
    ticks, names = [*range(longest + 1)], ["no\ndraft", *map(str, range(1, longest + 1))]
    if AUTO in results.drafts:
        ticks.append(longest + 1)
        names.append("auto")
        axes.axvspan(longest + 0.5, longest + 1.5, color="#F5F5F5", zorder=0)
        axes.set_xlim(-0.35, longest + 1.5)
    axes.set_xticks(ticks, names)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.1f}x")
    axes.set_ylim(bottom=min(0.9, axes.get_ylim()[0]))


def _dress_acceptance(axes: Any, results: BenchResults) -> None:
    longest = results.settings.draft_max
    _dress(axes, "Share of drafted tokens that the target accepts", "draft length (tokens)")
    axes.set_xticks(range(1, longest + 1))
    axes.set_xlim(0.8, longest + 0.2)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _dress(axes: Any, title: str, below: str) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, color=INK, pad=10)
    axes.set_xlabel(below, fontsize=9.5, color=FAINT)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=FAINT, labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)


def _title(figure: Any, results: BenchResults) -> None:
    settings = results.settings
    names = f"{results.target.name} ({results.target.type})"
    if results.assistant is not None:
        names += f" with {results.assistant.type} assistant"
    figure.suptitle(f"{names}\n", x=0.012, ha="left", fontsize=13, fontweight="bold", color=INK)
    below = f"{results.machine.cpu}, {settings.threads} threads, {results.engines[0]} engine, {settings.tokens} tokens"
    figure.text(0.012, 0.925, below, fontsize=9.5, color=FAINT)
