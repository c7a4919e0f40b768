"""The guard, from the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from synapse_scim.audit import COMMAND_LINE
from synapse_scim.client.configuration import configured
from synapse_scim.commands.options import config_option
from synapse_scim.database import Transaction
from synapse_scim.homeserver.description import query_offline
from synapse_scim.store import audit
from synapse_scim.store.guard import OffboardingGuard

_MOST = 1_000_000
"""More people than a homeserver has: a number beyond it is a slip of the hand."""


@click.group()
def guard() -> None:
    """Decide about the guard, which keeps clients from disabling or deleting everybody."""


@guard.command()
@config_option
@click.argument("accounts", type=click.IntRange(min=0, max=_MOST))
def allow(config_paths: tuple[str, ...], accounts: int) -> None:
    """Let so many ACCOUNTS pass that the guard would refuse. It counts at once, in a homeserver that runs too."""

    def release(txn: Transaction) -> None:
        OffboardingGuard.allow(txn, accounts)
        audit.write(txn, [COMMAND_LINE.event(f"guard_allow {accounts}", None)], datetime.now(UTC))

    with configured(config_paths):
        query_offline(config_paths, release)
    click.echo(f"The guard lets {accounts} more accounts be disabled or deleted.")
