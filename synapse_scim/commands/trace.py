"""The trace of what a client does, from the command line: the homeserver need not be restarted for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from synapse_scim.audit import COMMAND_LINE
from synapse_scim.client.configuration import configured
from synapse_scim.commands.options import config_option
from synapse_scim.config import may_call
from synapse_scim.database import Transaction
from synapse_scim.homeserver.description import query_offline
from synapse_scim.homeserver.offline import read_module_config
from synapse_scim.homeserver.settings import parse_duration_ms
from synapse_scim.store import audit
from synapse_scim.store.traces import Traces

_SHORTEST = timedelta(minutes=1)
"""A process takes as long to notice; and a number without a unit is of milliseconds, which nobody means."""

_LONGEST = timedelta(days=1)


def _duration(_context: click.Context, _parameter: click.Parameter, text: str) -> timedelta:
    try:
        duration = timedelta(milliseconds=parse_duration_ms(text))
    except (IndexError, TypeError, ValueError, OverflowError):
        # IndexError: Synapse looks for the unit of an empty string. TypeError: it does not know the unit.
        duration = timedelta(0)
    if not _SHORTEST <= duration <= _LONGEST:
        raise click.BadParameter("must be a duration of at least a minute and at most a day, such as 10m or 2h")
    return duration


@click.group()
def trace() -> None:
    """Have Synapse's log say what a client sends and is told, for a while and without a restart."""


@trace.command()
@config_option
@click.option("--for", "duration", default="10m", show_default=True, callback=_duration, help="How long, at most 24h.")
@click.argument("client")
def start(config_paths: tuple[str, ...], duration: timedelta, client: str) -> None:
    """Trace CLIENT: a name of 'clients', CLIENT@ISSUER, or the user ID of a server administrator."""
    now = datetime.now(UTC)
    end = now + duration

    def begin(txn: Transaction) -> bool:
        # Who administers where accounts belong to MAS, Synapse does not know.
        is_known = not client.startswith("@") or config.mas is not None or _is_administrator(txn, client)
        if not (is_known and may_call(config, client)):
            return False
        Traces.begin(txn, client, end)
        audit.write(txn, [COMMAND_LINE.event(f"trace_start {client}", None)], now)
        return True

    with configured(config_paths):
        config = read_module_config(config_paths)
        has_begun = query_offline(config_paths, begin)
    if not has_begun:
        raise click.ClickException(
            f"{client} can be nobody here: name one of 'clients', CLIENT@ISSUER of one with tokens of 'jwt' or"
            " 'introspection', or the user ID of a server administrator whose access token is accepted"
        )
    click.echo(f"Within a minute, each process logs what {client} does, until {end:%Y-%m-%d %H:%M:%S} UTC.")


@trace.command()
@config_option
def stop(config_paths: tuple[str, ...]) -> None:
    """Trace nobody any longer whom 'trace start' named."""

    def end(txn: Transaction) -> None:
        Traces.end(txn)
        audit.write(txn, [COMMAND_LINE.event("trace_stop", None)], datetime.now(UTC))

    with configured(config_paths):
        query_offline(config_paths, end)
    click.echo("Within a minute, no process logs any longer what a client does, but for 'trace' in the configuration.")


def _is_administrator(txn: Transaction, user_id: str) -> bool:
    txn.execute("SELECT 1 FROM users WHERE name = ? AND admin = 1", (user_id,))
    return txn.fetchone() is not None
