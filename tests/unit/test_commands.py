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


@pytest.mark.parametrize("command", [("guard", "allow", "3"), ("audit",)])
def test_a_configuration_that_synapse_cannot_read_is_said_to_be_one(tmp_path: Path, command: tuple[str, ...]) -> None:
    """What is wrong is said in a line, and nothing is done."""
    path = tmp_path / "homeserver.yaml"
    path.write_text("server_name: example.org\n")

    said = CliRunner().invoke(main, [*command, "--config", str(path)])

    assert said.exit_code == 1
    assert said.output.startswith("Error: Synapse cannot read its configuration: ")


@pytest.mark.parametrize("arguments", [["guard", "allow", "3"], ["guard", "allow", "-c", "setup.cfg", "--", "-1"]])
def test_what_is_missing_or_senseless_is_refused(arguments: list[str]) -> None:
    """A command says how it wants to be called."""
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_the_tables_can_be_shown() -> None:
    """`schema` shows what makes the tables on PostgreSQL, a statement each, those of later versions too."""
    said = CliRunner().invoke(main, ["schema"])

    statements = said.output.rstrip(";\n").split(";\n")
    assert said.exit_code == 0
    assert statements[0] == "CREATE TABLE IF NOT EXISTS synapse_scim_schema (version BIGINT NOT NULL PRIMARY KEY)"
    assert "ALTER TABLE synapse_scim_users ADD COLUMN IF NOT EXISTS rendering TEXT" in statements
    assert all(" IF NOT EXISTS " in statement for statement in statements)


def test_tables_are_created_on_postgresql_alone(tmp_path: Path) -> None:
    """`schema --create` wants to know where, and says that SQLite needs no such thing."""
    assert CliRunner().invoke(main, ["schema", "--create"]).exit_code == 2
    path = tmp_path / "homeserver.yaml"
    database = f"database: {{name: sqlite3, args: {{database: {tmp_path}/homeserver.db}}}}"
    path.write_text(f"server_name: example.org\nreport_stats: false\n{database}\n")
    (tmp_path / "example.org.signing.key").write_text("ed25519 a_test " + "A" * 43)

    said = CliRunner().invoke(main, ["schema", "--create", "--config", str(path)])

    assert said.exit_code == 1, said.output
    assert "names an SQLite database" in said.output
    path.write_text("server_name: example.org\n")
    assert "cannot read its configuration" in CliRunner().invoke(main, ["schema", "--create", "-c", str(path)]).output
