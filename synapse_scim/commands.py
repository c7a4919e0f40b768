"""What administrators do on the command line: `synapse-scim`, or `python -m synapse_scim`."""

from __future__ import annotations

import click
from synapse.module_api.errors import ConfigError

from synapse_scim.homeserver.offline import run_offline
from synapse_scim.store.guard import OffboardingGuard

_config = click.option(
    "--config",
    "-c",
    "config_paths",
    multiple=True,
    required=True,
    type=click.Path(exists=True),
    help="Synapse's configuration file; can be given several times.",
)


@click.group()
def main() -> None:
    """Care for SCIM on a Synapse homeserver."""


@main.group()
def guard() -> None:
    """Decide about the guard, which keeps clients from disabling or deleting everybody."""


@guard.command()
@_config
@click.argument("accounts", type=click.IntRange(min=0))
def allow(config_paths: tuple[str, ...], accounts: int) -> None:
    """Let so many ACCOUNTS pass that the guard would refuse. It counts at once, in a homeserver that runs too."""
    try:
        run_offline(config_paths, "synapse_scim_allow", lambda txn: OffboardingGuard.allow(txn, accounts))
    except ConfigError as error:
        raise click.ClickException(f"Synapse cannot read its configuration: {error}") from None
    click.echo(f"The guard lets {accounts} more accounts be disabled or deleted.")
