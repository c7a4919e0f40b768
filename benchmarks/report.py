"""Shows what was found: as a table, as a page of the documentation, and as a plot."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from benchmarks.operations import PROMISES, VARIANTS
from benchmarks.results import Cost, Found

_NAMES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
_COLOURS = {"ours": "tab:blue", "floor": "tab:green", "admin": "tab:orange"}
_LABELS = {"ours": "SCIM", "floor": "bare work", "admin": "admin API"}
_FLAT = ("read", "userName", "externalId", "email", "phone", "cursor")
"""What must cost the same at any size."""

_FLAT_LIMIT = 1.2
_AHEAD = dict.fromkeys(PROMISES.keys() - {"contains", "total", "put"}, 1.0)
"""How many times the admin API something may cost, where that is promised."""

_HELD_LIMIT_MS = 50
_PANELS_A_ROW = 4

_INTRODUCTION = """\
# Performance

What operations cost, beside the bare work on the same server, and beside Synapse's own admin API. Written by
`make bench`, which anyone can run. Machines differ and are noisy: what counts are the ratios.

The columns *SCIM*, *bare work* and *admin API* are the CPU time of one operation in milliseconds, of Synapse and the
database together: the median of several turns, which the three ways take one after the other. The ratios *× bare* and
*× admin* are the medians of those within the turns, bold where SCIM promises less: at most so many times the bare work,
and, but for filters and totals, less than the admin API. The bare work is one SQL statement and its JSON, or
`register_user` and the same identifiers, or the change of the profile alone, behind the same authentication
(`benchmarks/floor.py`), by statements that PostgreSQL plans each time. Latencies, throughput and transactions are those
of SCIM.

Synapse looks up without regard to case whether a name is free, which reads the whole table of accounts for each
registration, whoever makes it. The last row is a creation with the index that `allow_synapse_indexes` adds: on
PostgreSQL it costs the same then however many accounts there are; on SQLite, Synapse's user directory goes on scanning.
"""

_HELD = f"""\
## How long a request holds the reactor

Meanwhile nobody else is answered. *Held* is the longest time, in milliseconds, in which a call that was due every
millisecond did not come, whatever the reason; *worked* is how long the reactor's thread itself worked between two such
calls, of which at most {_HELD_LIMIT_MS} ms are promised.

| | request | held | worked | seconds | memory, MiB | p99 of reads beside it, ms |
|---|---|---:|---:|---:|---:|---:|"""

_HEADERS = (
    "operation",
    "SCIM",
    "bare work",
    "admin API",
    "× bare",
    "at most",
    "× admin",
    "p50 ms",
    "p95",
    "p99",
    "op/s",
    "transactions",
)


def table(found: Found) -> Table:
    """Return a table for the terminal."""
    shown = Table(title=_title(found), box=None, header_style="bold", row_styles=["", "dim"])
    for header in _HEADERS:
        shown.add_column(header, justify="left" if header == "operation" else "right", no_wrap=True)
    for row in _rows(found, missed="[bold red]{}[/]"):
        shown.add_row(*row)
    return shown


def write_report(output: Path, found: Sequence[Found], *, command: str, concurrency: int, cores: int) -> None:
    """Write the page, and beside it a plot for each engine if matplotlib is there."""
    lines = [
        _INTRODUCTION,
        f"- Command: `{command}`",
        f"- Machine: {_processor()}, {cores} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB of memory",
        f"- Versions: synapse-scim {version('synapse-scim')}, Synapse {version('matrix-synapse')}, {_system()}",
        f"- Load: {concurrency} requests at a time",
        "",
    ]
    for one in found:
        lines += [f"## {_title(one)}", ""]
        lines += ["| " + " | ".join(_HEADERS) + " |", "|---|" + "---:|" * (len(_HEADERS) - 1)]
        lines += ["| " + " | ".join(row) + " |" for row in _rows(one, missed="**{}**")]
        before, after = one.memory_mib
        lines += ["", f"Memory of the Synapse process: {before:.0f} MiB at the start, {after:.0f} MiB at the end.", ""]
    lines += _held(found)
    lines += _verdict(found)
    for engine in dict.fromkeys(one.engine for one in found):
        file = output.with_name(f"{output.stem}-{engine}.png")
        if _plot(file, [one for one in found if one.engine == engine]):
            lines += [f"## Cost against size on {_NAMES[engine]}", "", f"![CPU time by size]({file.name})", ""]
    output.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _title(found: Found) -> str:
    return f"{_NAMES[found.engine]}, {found.size:,} accounts"


def _rows(found: Found, *, missed: str) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table.

    Args:
        found: What was found.
        missed: How a ratio is written that is higher than promised.
    """

    def ratio(ours: Cost, other: Cost | None, most: float | None) -> str:
        if other is None:
            return ""
        text = f"{ours.times(other):.2f}"
        return missed.format(text) if most and ours.times(other) > most else text

    for name, costs in found.costs.items():
        title, limit = PROMISES[name]
        ours, floor, admin = (costs.get(variant) for variant in VARIANTS)
        if ours is None:
            continue
        yield (
            title,
            *(f"{cost.middle_cpu_ms:.2f}" if cost else "" for cost in (ours, floor, admin)),
            ratio(ours, floor, limit),
            str(limit) if limit else "",
            ratio(ours, admin, _AHEAD.get(name)),
            *(f"{latency:.1f}" for latency in ours.latency_ms),
            f"{ours.rate:.0f}",
            str(sum(ours.transactions.values())),
        )


def _held(found: Sequence[Found]) -> list[str]:
    """Say for how long requests held the reactor."""
    if not any(one.held for one in found):
        return []
    rows = [
        "| "
        + " | ".join(
            (
                _title(one),
                what,
                f"{held.held_ms:.0f}",
                f"{held.worked_ms:.0f}",
                f"{held.seconds:.1f}",
                f"{held.grown_mib:+.0f}",
                f"{held.beside_ms:.0f}" if held.beside_ms else "",
            )
        )
        + " |"
        for one in found
        for what, held in one.held.items()
    ]
    return [_HELD, *rows, ""]


def _missed_reactor(found: Sequence[Found]) -> Iterator[str]:
    for one in found:
        for what, held in one.held.items():
            if held.worked_ms > _HELD_LIMIT_MS:
                yield f"- {_title(one)}, {what}: holds the reactor for {held.worked_ms:.0f} ms"


def _verdict(found: Sequence[Found]) -> list[str]:
    """Say which promises are kept, and which are not."""
    missed = [*_missed_limits(found), *_missed_growth(found), *_missed_reactor(found)]
    lines = ["## What is promised and not met", ""]
    if not missed:
        return [*lines, "Nothing: every operation stays within its limit.", ""]
    return [*lines, *missed, ""]


def _missed_limits(found: Sequence[Found]) -> Iterator[str]:
    for one in found:
        for name, costs in one.costs.items():
            title, limit = PROMISES[name]
            for variant, most in (("floor", limit), ("admin", _AHEAD.get(name))):
                if most and variant in costs and (times := costs["ours"].times(costs[variant])) > most:
                    yield f"- {_title(one)}, {title}: {times:.2f} × {_LABELS[variant]}, at most {most:g}"


def _missed_growth(found: Sequence[Found]) -> Iterator[str]:
    for engine in dict.fromkeys(one.engine for one in found):
        smallest, *larger = (one for one in found if one.engine == engine)
        for one in larger:
            for name in _FLAT:
                if name not in one.costs or name not in smallest.costs:
                    continue
                times = _growth(one.costs[name]["ours"], smallest.costs[name]["ours"])
                if times > _FLAT_LIMIT:
                    yield (
                        f"- {_title(one)}, {PROMISES[name][0]}: {times:.2f} × what it costs at {smallest.size:,}"
                        f" accounts, at most {_FLAT_LIMIT}"
                    )


def _growth(large: Cost, small: Cost) -> float:
    return large.middle_cpu_ms / small.middle_cpu_ms


def _plot(file: Path, found: Sequence[Found]) -> bool:
    """Plot cost against size.

    Returns:
        Whether that was possible.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - it is not there in a run of the tests
    except ModuleNotFoundError:
        return False
    names = [name for name in PROMISES if any(name in one.costs for one in found)]
    rows = -(-len(names) // _PANELS_A_ROW)
    figure: Any = Figure(figsize=(3 * _PANELS_A_ROW, 2.4 * rows), layout="constrained")
    panels = figure.subplots(rows, _PANELS_A_ROW, squeeze=False).flat
    for panel, name in zip(panels, names, strict=False):
        for variant in VARIANTS:
            points = [
                (one.size, one.costs[name][variant].middle_cpu_ms)
                for one in found
                if variant in one.costs.get(name, {})
            ]
            if points:
                panel.plot(*zip(*points, strict=True), marker="o", color=_COLOURS[variant], label=_LABELS[variant])
        panel.set_xscale("log")
        panel.set_ylim(bottom=0)
        panel.set_title(PROMISES[name][0], fontsize="small")
        panel.tick_params(labelsize="x-small")
    for panel in list(figure.axes)[len(names) :]:
        panel.remove()
    figure.axes[0].legend(fontsize="x-small")
    figure.supxlabel(f"accounts ({_NAMES[found[0].engine]})", fontsize="small")
    figure.supylabel("CPU ms for each operation", fontsize="small")
    figure.savefig(file, dpi=110)
    return True


def _system() -> str:
    return f"Python {platform.python_version()}, {platform.system()} {platform.release()}"


def _processor() -> str:
    """Return the processor's name, where Linux says it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
