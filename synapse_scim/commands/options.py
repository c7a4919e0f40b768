"""The options that several commands have."""

from __future__ import annotations

import click

config_option = click.option(
    "--config",
    "-c",
    "config_paths",
    multiple=True,
    required=True,
    type=click.Path(exists=True),
    help="Synapse's configuration file; can be given several times.",
)
