"""What administrators do on the command line: `synapse-scim`, or `python -m synapse_scim`."""

from __future__ import annotations

import click

from synapse_scim.commands.audit import audit
from synapse_scim.commands.guard import guard
from synapse_scim.commands.schema import schema
from synapse_scim.commands.token import token


@click.group()
def main() -> None:
    """Care for SCIM on a Synapse homeserver."""


main.add_command(audit)
main.add_command(guard)
main.add_command(schema)
main.add_command(token)
