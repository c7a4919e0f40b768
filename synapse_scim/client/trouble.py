"""What ends a command before it has done anything, or anything more."""

from __future__ import annotations

import click

INTERRUPTED = 130
"""The status of a command that Ctrl-C ends, as of one that the shell ends."""


class Trouble(click.ClickException):
    """The command cannot go on. Its exit status tells that from an answer that is no."""

    exit_code = 2
