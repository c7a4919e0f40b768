"""What administrators do on the command line: `synapse-scim`, or `python -m synapse_scim`."""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOWrapper
from typing import Any, cast

import click

from synapse_scim.client.trouble import INTERRUPTED, Trouble
from synapse_scim.commands.audit import audit
from synapse_scim.commands.check import check
from synapse_scim.commands.export import export
from synapse_scim.commands.guard import guard
from synapse_scim.commands.schema import schema
from synapse_scim.commands.token import token
from synapse_scim.commands.trace import trace
from synapse_scim.commands.transfer import drift, import_, plan


class _Commands(click.Group):
    """Commands whose end is in words, whatever ends them."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. What it writes is in UTF-8, as files are that other commands read, whatever the terminal's."""
        for stream in (sys.stdout, sys.stderr):
            cast("TextIOWrapper", stream).reconfigure(encoding="utf-8")
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except (KeyboardInterrupt, click.Abort):
            click.echo("Broken off.", err=True)
            ctx.exit(INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:
                # Whoever read it has seen enough; click ends the command without a word.
                raise
            # What is left would be written again at the very end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Trouble(f"What the command has to say cannot be written: {error.strerror}") from None


@click.group(cls=_Commands)
@click.version_option(package_name="synapse-scim")
def main() -> None:
    """Care for SCIM on a Synapse homeserver."""


for _command in (audit, check, drift, export, guard, import_, plan, schema, token, trace):
    main.add_command(_command)
