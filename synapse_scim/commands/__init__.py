"""What administrators do on the command line: `synapse-scim`, or `python -m synapse_scim`."""

from __future__ import annotations

import click

from synapse_scim.commands.guard import guard


@click.group()
def main() -> None:
    """Care for SCIM on a Synapse homeserver."""


main.add_command(guard)
