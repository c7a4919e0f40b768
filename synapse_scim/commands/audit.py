"""The audit, from the command line."""

from __future__ import annotations

import json
from datetime import datetime

import click

from synapse_scim.client.configuration import configured
from synapse_scim.commands.options import config_option
from synapse_scim.homeserver.description import query_offline
from synapse_scim.store import audit as events
from synapse_scim.text import zoned_time


def _time(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    try:
        return None if text is None else zoned_time(text)
    except ValueError:
        raise click.BadParameter("must be a date and a time with its zone, such as 2027-06-30T00:00:00Z") from None


@click.command()
@config_option
@click.option("--client", help="Only what this client did: its name, or the user ID of a server administrator.")
@click.option("--account", "user_id", help="Only what was done to this account: its user ID.")
@click.option("--since", callback=_time, help="Not before this time.")
@click.option("--until", callback=_time, help="Before this time.")
@click.option("--count", type=click.IntRange(min=1), default=100, show_default=True, help="How many, at most.")
def audit(
    *,
    config_paths: tuple[str, ...],
    client: str | None,
    user_id: str | None,
    since: datetime | None,
    until: datetime | None,
    count: int,
) -> None:
    """Show who wrote what over SCIM. The latest comes first, each event as a line of JSON."""
    wanted = events.Wanted(client=client, user_id=user_id, since=since, until=until)
    with configured(config_paths):
        found = query_offline(config_paths, lambda txn: events.read(txn, wanted, count))
    for recorded in found:
        click.echo(json.dumps(events.listed(recorded)))
