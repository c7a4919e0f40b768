"""The command line, as far as it needs no homeserver."""

from __future__ import annotations

import os
import resource
import runpy
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import synapse_scim
from synapse_scim.client.ledger import Ledger, Step, Verdict
from synapse_scim.client.trouble import Trouble
from synapse_scim.commands import main
from synapse_scim.module import ScimModule
from tests.support.configuration import scim_module


def test_the_package_is_a_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m synapse_scim` is the command line."""
    monkeypatch.setattr("sys.argv", ["synapse_scim", "--help"])

    with pytest.raises(SystemExit) as ended:
        runpy.run_module("synapse_scim", run_name="__main__")

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("Usage: synapse-scim [OPTIONS] COMMAND")


def test_the_version_is_told() -> None:
    """It is that of the package which is installed."""
    result = CliRunner().invoke(main, ["--version"], prog_name="synapse-scim")

    assert result.output == f"synapse-scim, version {metadata.version('synapse-scim')}\n"


INTERRUPTED_AT_ONCE = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "synapse_scim.commands":
            os.kill(os.getpid(), signal.SIGINT)

from synapse_scim.__main__ import run
sys.meta_path.insert(0, Finder())
run()
"""


def test_ctrl_c_ends_a_command_that_has_not_begun() -> None:
    """What the command line needs takes seconds to import; whoever breaks that off sees no traceback."""
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED_AT_ONCE], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "Broken off.\n")


def test_the_package_offers_the_module_alone() -> None:
    """It is imported when it is asked for."""
    assert synapse_scim.ScimModule is ScimModule
    with pytest.raises(AttributeError, match="has no attribute 'Scim'"):
        getattr(synapse_scim, "Scim")  # noqa: B009 - what it is not is not known to the type checker


def configuration(folder: Path, **settings: Any) -> dict[str, Any]:
    """Return the configuration of a homeserver that has never been started."""
    return {
        "server_name": "example.org",
        "report_stats": False,
        "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
        "macaroon_secret_key": "macaroon",
        "signing_key": "ed25519 a_test " + "A" * 43,
        "media_store_path": str(folder),
        "modules": [scim_module()],
        **settings,
    }


COMMANDS = [
    ("guard", "allow", "3"),
    ("audit",),
    ("schema", "--create"),
    ("token", "check"),
    ("token", "rotate", "okta"),
    ("trace", "start", "okta"),
    ("trace", "stop"),
]

# What is wrong with a configuration, and what is said of it.
WRONG: Mapping[str, tuple[Any, str]] = {
    "no report_stats": ("server_name: example.org\n", "report_stats"),
    "a tab": ("server_name:\n\texample.org\n", "it is no YAML: while scanning for the next token"),
    "another indentation": ("modules:\n  - module: a\n config: {}\n", "it is no YAML: "),
    "a misspelled class": (
        {"modules": [{"module": "synapse_scim.ScimModul", "config": {}}]},
        "a module that it names cannot be loaded: module 'synapse_scim' has no attribute 'ScimModul'",
    ),
    "a misspelled package": (
        {"modules": [{"module": "synapse_skim.ScimModule", "config": {}}]},
        "a module that it names cannot be loaded: No module named 'synapse_skim'",
    ),
    "a misspelled key": ({"modules": [scim_module({"clientz": []})]}, "'clientz' is not a setting that this version"),
}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_is_wrong_with_a_configuration_is_said_in_words(tmp_path: Path, command: tuple[str, ...]) -> None:
    """What Synapse does not start with is named, and nothing is done."""
    path = tmp_path / "homeserver.yaml"
    for what, (written, said) in WRONG.items():
        path.write_text(written if isinstance(written, str) else yaml.safe_dump(configuration(tmp_path, **written)))

        answer = CliRunner().invoke(main, [*command, "--config", str(path)])

        assert (answer.exit_code, said in answer.output) == (2, True), (what, answer.output)
        assert answer.output.startswith("Error: Synapse cannot use its configuration: ")
    assert {file.name for file in tmp_path.iterdir()} == {"homeserver.yaml"}


@pytest.mark.parametrize("what", WRONG)
def test_check_names_what_is_wrong_with_a_configuration(tmp_path: Path, what: str) -> None:
    """It is a red line like any other."""
    written, said = WRONG[what]
    path = tmp_path / "homeserver.yaml"
    path.write_text(written if isinstance(written, str) else yaml.safe_dump(configuration(tmp_path, **written)))

    answer = CliRunner().invoke(main, ["check", "--config", str(path)], env={"SYNAPSE_SCIM_URL": None})

    assert answer.exit_code == 1
    assert answer.output.startswith("✘ configuration: ")
    assert said in answer.output


@pytest.mark.parametrize("command", [("guard", "allow", "3"), ("audit",), ("trace", "stop")], ids=" ".join)
@pytest.mark.parametrize("database", ["missing", "empty", "unreachable"])
def test_a_database_that_cannot_be_used_is_said_to_be_one(
    tmp_path: Path, command: tuple[str, ...], database: str
) -> None:
    """Nothing is made where there is none; what Synapse prints of its configuration is left to its own start."""
    path, unreachable = tmp_path / "homeserver.yaml", {"host": "127.0.0.1", "port": 1, "dbname": "x", "user": "x"}
    settings = {"database": {"name": "psycopg2", "args": unreachable}} if database == "unreachable" else {}
    path.write_text(yaml.safe_dump(configuration(tmp_path, **settings)))
    if database == "empty":
        (tmp_path / "homeserver.db").touch()

    said = CliRunner().invoke(main, [*command, "--config", str(path)])

    assert said.exit_code == 2
    assert said.output.startswith("Error: The database cannot be used: ")
    assert said.output.count("\n") == 1
    assert (tmp_path / "homeserver.db").exists() == (database == "empty")


def test_a_full_disk_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command says may go into a file."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr("sys.stdout", full)

        with pytest.raises(Trouble) as refused:
            main(["schema"], standalone_mode=False)

    assert refused.value.message == "What the command has to say cannot be written: No space left on device"


def test_a_full_temporary_folder_is_said_in_words() -> None:
    """What a comparison has to remember may be larger than the room for it."""

    def fill(ledger: Ledger) -> None:
        for number in range(100_000):
            ledger.add_step(Step(verdict=Verdict.refused, place=f"line {number}", why="x" * 1000))

    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, former[1]))
    try:
        with Ledger() as ledger, pytest.raises(Trouble) as refused:
            fill(ledger)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)

    assert "does not fit into its temporary file: " in refused.value.message


def test_a_reader_that_has_seen_enough_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """`synapse-scim … | head -1` ends without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    with suppress(BrokenPipeError), os.fdopen(writing, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)

        with pytest.raises(BrokenPipeError):
            main(["schema"], standalone_mode=False)


def test_everything_is_written_in_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old terminal shows signs that are strange; no command fails there, and exports can be imported."""
    path, printed = tmp_path / "homeserver.yaml", tmp_path / "printed"
    path.write_text("server_name: example.org\n")
    monkeypatch.delenv("SYNAPSE_SCIM_URL", raising=False)
    with printed.open("w", encoding="latin-1") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)

        with pytest.raises(SystemExit):
            main(["check", "--config", str(path)])

    assert printed.read_text(encoding="utf-8").startswith("✘ configuration: ")


class Impatient(BytesIO):
    """Somebody who presses Ctrl-C when they are asked for something."""

    def __init__(self, *, is_terminal: bool) -> None:
        """Ask at a terminal, or elsewhere."""
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return self._is_terminal

    def read1(self, _size: int | None = -1, /) -> bytes:
        """Give nothing."""
        raise KeyboardInterrupt


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_is_broken_off_has_a_status_of_its_own(tmp_path: Path, *, is_terminal: bool) -> None:
    """Scripts can tell Ctrl-C from an answer."""
    path = tmp_path / "homeserver.yaml"
    path.write_text(yaml.safe_dump(configuration(tmp_path)))

    said = CliRunner().invoke(main, ["token", "check", "-c", str(path)], input=Impatient(is_terminal=is_terminal))

    assert said.exit_code == 130
    assert said.stderr == "Broken off.\n"


@pytest.mark.parametrize("command", ["plan", "import", "drift", "export"])
def test_what_is_missing_is_named_with_its_variable(command: str) -> None:
    """What each command needs may stand in the environment."""
    arguments = [command] if command == "export" else [command, "people.csv"]
    environment: dict[str, str | None] = {"SYNAPSE_SCIM_URL": None, "SYNAPSE_SCIM_TOKEN_FILE": None}

    assert "SYNAPSE_SCIM_URL" in CliRunner().invoke(main, arguments, env=environment).output
    environment["SYNAPSE_SCIM_URL"] = "https://matrix.example.org/_scim"
    assert "SYNAPSE_SCIM_TOKEN_FILE" in CliRunner().invoke(main, arguments, env=environment).output


@pytest.mark.parametrize(
    "arguments",
    [
        ["guard", "allow", "3"],
        ["guard", "allow", "-c", "setup.cfg", "--", "-1"],
        ["guard", "allow", "-c", "setup.cfg", "9" * 20],
    ],
)
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
    assert "cannot use its configuration" in CliRunner().invoke(main, ["schema", "--create", "-c", str(path)]).output
