"""The command line, as far as it needs no homeserver."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

from synapse_scim.commands import main


def test_the_package_is_a_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m synapse_scim` is the command line."""
    monkeypatch.setattr("sys.argv", ["synapse_scim", "--help"])

    with pytest.raises(SystemExit) as ended:
        runpy.run_module("synapse_scim", run_name="__main__")

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("Usage: synapse-scim [OPTIONS] COMMAND")


def test_a_configuration_that_synapse_cannot_read_is_said_to_be_one(tmp_path: Path) -> None:
    """What is wrong is said in a line, and nothing is done."""
    path = tmp_path / "homeserver.yaml"
    path.write_text("server_name: example.org\n")

    said = CliRunner().invoke(main, ["guard", "allow", "3", "--config", str(path)])

    assert said.exit_code == 1
    assert said.output.startswith("Error: Synapse cannot read its configuration: ")


@pytest.mark.parametrize("arguments", [["guard", "allow", "3"], ["guard", "allow", "-c", "setup.cfg", "--", "-1"]])
def test_what_is_missing_or_senseless_is_refused(arguments: list[str]) -> None:
    """A command says how it wants to be called."""
    assert CliRunner().invoke(main, arguments).exit_code == 2
