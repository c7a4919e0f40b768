"""The guard, from the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from synapse.module_api.errors import ConfigError

from synapse_scim.audit import COMMAND_LINE
from synapse_scim.commands.options import config_option
from synapse_scim.database import Transaction
from synapse_scim.homeserver.offline import run_offline
from synapse_scim.store import audit
from synapse_scim.store.guard import OffboardingGuard


@click.group()
def guard() -> None:
    """Decide about the guard, which keeps clients from disabling or deleting everybody."""


@guard.command()
@config_option
@click.argument("accounts", type=click.IntRange(min=0))
def allow(config_paths: tuple[str, ...], accounts: int) -> None:
    """Let so many ACCOUNTS pass that the guard would refuse. It counts at once, in a homeserver that runs too."""

    def release(txn: Transaction) -> None:
        OffboardingGuard.allow(txn, accounts)
        audit.write(txn, [COMMAND_LINE.event(f"guard_allow {accounts}", None)], datetime.now(UTC))

    try:
        run_offline(config_paths, "synapse_scim_allow", release)
    except ConfigError as error:
        raise click.ClickException(f"Synapse cannot read its configuration: {error}") from None
    click.echo(f"The guard lets {accounts} more accounts be disabled or deleted.")
