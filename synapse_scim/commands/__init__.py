"""What administrators do on the command line: `synapse-scim`, or `python -m synapse_scim`."""

from __future__ import annotations

import click

from synapse_scim.commands.audit import audit
from synapse_scim.commands.check import check
from synapse_scim.commands.export import export
from synapse_scim.commands.guard import guard
from synapse_scim.commands.schema import schema
from synapse_scim.commands.token import token
from synapse_scim.commands.trace import trace
from synapse_scim.commands.transfer import drift, import_, plan


@click.group()
def main() -> None:
    """Care for SCIM on a Synapse homeserver."""


for _command in (audit, check, drift, export, guard, import_, plan, schema, token, trace):
    main.add_command(_command)
