"""Commands that compare a file with the server, and make the server like the file."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from synapse_scim.client.files import read_people
from synapse_scim.client.imports import Import, Limits, stopping
from synapse_scim.client.ledger import Ledger, Verdict
from synapse_scim.client.plans import OffBoard, Planner, held_back, read_file, read_server
from synapse_scim.client.server import Server
from synapse_scim.client.trouble import INTERRUPTED, Trouble
from synapse_scim.commands.options import connect, file_options, server_options

_SHOWN = 20
_STOPS = "The request that is under way is finished. Ctrl-C again ends at once."

_DIFFER = tuple(verdict for verdict in Verdict if verdict is not Verdict.unchanged)

_CALLED = {
    Verdict.created: "only in the file",
    Verdict.adopted: "different",
    Verdict.changed: "different",
    Verdict.disabled: "different",
    Verdict.off_boarded: "only on the server",
    Verdict.refused: "unclear",
}
"""What a comparison calls what an import would do: it does nothing."""

off_board_option = click.option(
    "--off-board",
    type=click.Choice(("none", "disable", "delete")),
    default="none",
    show_default=True,
    help="What becomes of people whom SCIM manages and the file lacks.",
)
all_option = click.option("--all", "show_all", is_flag=True, help=f"Show everybody, and not only the first {_SHOWN}.")


@attrs.frozen(kw_only=True)
class _Screen:
    """Where a command writes: results, and what goes on meanwhile."""

    results: Console = attrs.field(factory=lambda: Console(soft_wrap=True, highlight=False))
    errors: Console = attrs.field(factory=lambda: Console(stderr=True, soft_wrap=True, highlight=False))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Show bars for as long as the block runs, if somebody looks."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.errors, transient=True, disable=not self.errors.is_terminal) as progress:
            yield progress


@contextmanager
def _planned(
    screen: _Screen, server: Server, file: Path, *, encoding: str, file_format: Any, off_board: OffBoard
) -> Iterator[Ledger]:
    """Make the plan for a file."""
    with Ledger() as ledger:
        with screen.progress() as progress:
            reading = progress.add_task("Reading the file", total=None)
            ignored = read_file(read_people(file, encoding, file_format), ledger, lambda: progress.advance(reading))
            asking = progress.add_task("Asking the server", total=None)
            read_server(server, ledger, lambda: progress.advance(asking))
            Planner(ledger=ledger, is_administrator=server.calls_as_administrator()).plan(off_board)
        if ignored:
            screen.errors.print(f"The server ignores {', '.join(sorted(ignored))}", style="yellow", markup=False)
        yield ledger


@click.command()
@server_options
@file_options
@off_board_option
@all_option
def plan(
    url: str, token_path: Path, file: Path, encoding: str, file_format: Any, off_board: OffBoard, *, show_all: bool
) -> None:
    """Say what the import of FILE would change, and change nothing. The status is 1 if anything would be refused."""
    screen = _Screen()
    with (
        connect(url, token_path, screen.errors) as server,
        _planned(screen, server, file, encoding=encoding, file_format=file_format, off_board=off_board) as ledger,
    ):
        _show(screen, ledger, show_all=show_all)
        sys.exit(1 if ledger.count(Verdict.refused) else 0)


@click.command("import")
@server_options
@file_options
@off_board_option
@click.option("--keep-going", is_flag=True, help="Do what can be done, although something is refused.")
def import_(
    url: str, token_path: Path, file: Path, encoding: str, file_format: Any, off_board: OffBoard, *, keep_going: bool
) -> None:
    """Make the server like FILE. The status is 1 if anything was refused; the next run does what is left."""
    screen = _Screen()
    with (
        connect(url, token_path, screen.errors) as server,
        _planned(screen, server, file, encoding=encoding, file_format=file_format, off_board=off_board) as ledger,
    ):
        refused = ledger.count(Verdict.refused)
        if refused and not keep_going:
            _list(screen.errors, ledger, (Verdict.refused,), most=_SHOWN)
            raise Trouble(f"Nothing was done: {refused} refused. Correct the file, or use --keep-going")
        importing = Import(ledger, server, Limits.of(server))
        try:
            with screen.progress() as progress, stopping(importing, partial(screen.errors.print, _STOPS)):
                task = progress.add_task("Importing", total=ledger.count(*_DIFFER) - refused)
                importing.run(lambda steps: progress.advance(task, steps))
        finally:
            _show_done(screen, ledger, importing)
        failed = refused or importing.refused or importing.held_back
        sys.exit(INTERRUPTED if importing.stopped else 1 if failed else 0)


@click.command()
@server_options
@file_options
@all_option
def drift(url: str, token_path: Path, file: Path, encoding: str, file_format: Any, *, show_all: bool) -> None:
    """Say where the server and FILE differ. People count whom the file lacks. The status is 1 if they differ."""
    screen = _Screen()
    with (
        connect(url, token_path, screen.errors) as server,
        _planned(screen, server, file, encoding=encoding, file_format=file_format, off_board="none") as ledger,
    ):
        lacking = [user["userName"] for user in ledger.untaken()]
        most = None if show_all else _SHOWN
        table = Table("", "people")
        table.add_row("the same", str(ledger.count(Verdict.unchanged)))
        table.add_row("different", str(ledger.count(Verdict.adopted, Verdict.changed, Verdict.disabled)))
        table.add_row("only in the file", str(ledger.count(Verdict.created)))
        table.add_row("only on the server", str(len(lacking)))
        table.add_row("unclear", str(ledger.count(Verdict.refused)))
        screen.results.print(table)
        _list(screen.results, ledger, _DIFFER, most=most, called=_CALLED)
        for person in lacking[:most]:
            screen.results.print(f"only on the server: {person}", markup=False)
        sys.exit(1 if lacking or ledger.count(*_DIFFER) else 0)


def _show(screen: _Screen, ledger: Ledger, *, show_all: bool) -> None:
    """Show a plan."""
    table = Table("", "people")
    for verdict in Verdict:
        table.add_row(verdict, str(ledger.count(verdict)))
    screen.results.print(table)
    attributes = Counter(
        attribute
        for step in ledger.steps((Verdict.adopted, Verdict.changed, Verdict.disabled))
        for attribute in step.attributes
    )
    if attributes:
        counts = ", ".join(f"{attribute} ({count})" for attribute, count in attributes.most_common())
        screen.results.print(f"What changes: {counts}", markup=False)
    _list(screen.results, ledger, _DIFFER, most=None if show_all else _SHOWN)
    if back := held_back(ledger):
        screen.results.print(
            f"The server's guard, in its default settings, would hold {back} of those back who leave; an administrator"
            f" of the server lets them pass with: synapse-scim guard allow {back}",
            style="yellow",
        )


def _list(
    console: Console,
    ledger: Ledger,
    verdicts: tuple[Verdict, ...],
    most: int | None,
    called: Mapping[Verdict, str] | None = None,
) -> None:
    for verdict in verdicts:
        name = verdict if called is None else called[verdict]
        for step in ledger.steps((verdict,), -1 if most is None else most):
            console.print(f"{name}: {step}", markup=False)
        if most is not None and (more := ledger.count(verdict) - most) > 0:
            console.print(f"{name}: and {more} more")


def _show_done(screen: _Screen, ledger: Ledger, importing: Import) -> None:
    """Show what an import has done."""
    planned = ledger.count(*_DIFFER[:-1])
    refused = Counter(step.verdict for step in importing.refused)
    table = Table("", "planned", "done", "refused")
    for verdict in _DIFFER[:-1]:
        table.add_row(verdict, str(ledger.count(verdict)), str(importing.done[verdict]), str(refused[verdict]))
    table.add_row(Verdict.unchanged, str(ledger.count(Verdict.unchanged)), "", "")
    table.add_row("refused beforehand", str(ledger.count(Verdict.refused)), "", "")
    screen.results.print(table)
    if sum(importing.done.values()) + len(importing.refused) + importing.held_back < planned:
        screen.results.print("Not everything is done. The same command goes on from here.", style="yellow")
    for step in importing.refused[:_SHOWN]:
        screen.results.print(f"refused: {step}", markup=False)
    if importing.held_back:
        screen.results.print(
            f"The server's guard holds {importing.held_back} people back. If they really should leave, an administrator"
            f" of the server says: synapse-scim guard allow {importing.held_back}. Then run the import again",
            style="yellow",
        )
