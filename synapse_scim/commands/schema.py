"""The module's tables, from the command line: needed before a database moves from SQLite to PostgreSQL."""

from __future__ import annotations

from textwrap import dedent

import click

from synapse_scim.client.configuration import configured
from synapse_scim.database import Transaction
from synapse_scim.homeserver.description import query_offline
from synapse_scim.homeserver.offline import names_postgresql
from synapse_scim.store import schema as tables


@click.command()
@click.option(
    "--config",
    "-c",
    "config_paths",
    multiple=True,
    type=click.Path(exists=True),
    help="Synapse's configuration file with the database to create the tables in; can be given several times.",
)
@click.option("--create", is_flag=True, help="Create the tables that are missing, empty.")
def schema(config_paths: tuple[str, ...], *, create: bool) -> None:
    """Show the statements that make the module's tables, or CREATE the tables.

    synapse_port_db copies only tables that are there on both sides, so run this with --create on the new database
    before it.
    """
    if not create:
        for statement in tables.statements():
            click.echo(f"{dedent(statement).strip()};")
        return
    if not config_paths:
        raise click.UsageError("--create needs --config")
    with configured(config_paths):
        if not names_postgresql(config_paths):
            raise click.ClickException(
                "This configuration names an SQLite database, whose tables are made when Synapse starts; name the one"
                " with the new PostgreSQL database"
            )
        query_offline(config_paths, _create)
    click.echo("The tables of synapse-scim are there.")


def _create(txn: Transaction) -> None:
    for statement in tables.statements():
        txn.execute(statement)
