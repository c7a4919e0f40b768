"""The command that looks whether all is as it should be."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
import click
from rich.console import Console
from rich.text import Text

from synapse_scim.client.calls import call
from synapse_scim.client.findings import Finding, bad, good, unclear
from synapse_scim.client.reach import reach
from synapse_scim.client.server import Server, read_token
from synapse_scim.client.setup import look_at, look_at_owner
from synapse_scim.client.trouble import Trouble
from synapse_scim.commands.options import exposed
from synapse_scim.homeserver.description import Description
from synapse_scim.resources.request import STABLE_PREFIX, UNSTABLE_PREFIX

_MARKS = {"good": ("✔", "green"), "bad": ("✘", "red"), "open": ("?", "yellow")}


@click.command()
@click.option(
    "--config",
    "-c",
    "config_paths",
    multiple=True,
    type=click.Path(exists=True),
    help="Synapse's configuration file, to look at that, too; can be given several times.",
)
@click.option(
    "--url",
    envvar="SYNAPSE_SCIM_URL",
    show_envvar=True,
    metavar="URL",
    help="Where SCIM answers; by default what the configuration says.",
)
@click.option(
    "--token-file",
    "token_path",
    envvar="SYNAPSE_SCIM_TOKEN_FILE",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="The file with the token, to look at what it opens.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def check(config_paths: tuple[str, ...], url: str | None, token_path: Path | None, *, as_json: bool) -> None:
    """Look whether all is as it should be. Where it is not, say what to do; the status is 1 then."""
    if url is None and not config_paths:
        raise click.UsageError("Say where SCIM answers (--url), or which configuration to look at (--config)")
    findings = []
    for finding in _findings(config_paths, url, token_path):
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        click.echo(json.dumps([attrs.asdict(finding) for finding in findings], indent=1))
    sys.exit(1 if any(finding.outcome == "bad" for finding in findings) else 0)


def _findings(config_paths: tuple[str, ...], url: str | None, token_path: Path | None) -> Iterator[Finding]:
    description = None
    if config_paths:
        setup = look_at(config_paths)
        yield from setup.findings
        description = setup.description
    if url is None:
        if description is None or description.module is None:
            return
        prefix = STABLE_PREFIX if description.module.stable_prefix else UNSTABLE_PREFIX
        url = description.public_baseurl.rstrip("/") + prefix
    yield from _outside(url, token_path, description)


def _outside(url: str, token_path: Path | None, description: Description | None) -> Iterator[Finding]:
    with Server(url, None) as anonymous:
        reached = reach(anonymous, description)
        yield from reached.findings
        if token_path is None:
            yield unclear("token", "none was given", "Name a file with one, to look at what it opens: --token-file")
            return
        try:
            token = read_token(token_path)
        except Trouble as error:
            yield bad("token file", error.message, "Write the token into it, and nothing else")
            return
        if exposed(token_path):
            yield bad("token file", "other users can read it", f"Make a new token, and: chmod 600 {token_path}")
        else:
            yield good("token file", "other users cannot read it")
        if description is not None:
            yield from look_at_owner(token, description, datetime.now(UTC))
        if reached.is_scim:
            with Server(url, token) as server:
                yield from call(server, anonymous, description)


def _show(finding: Finding) -> None:
    mark, colour = _MARKS[finding.outcome]
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(f"{mark} {finding.about}: {finding.said}", style=colour))
    if finding.advice:
        console.print(Text(f"  → {finding.advice}"))
