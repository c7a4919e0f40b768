"""The command line for tokens: how they are made, followed by others, and told apart."""

from __future__ import annotations

import hashlib
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from synapse_scim import ScimModule
from synapse_scim.commands import main
from tests.support.configuration import scim_module

TOKEN = re.compile(r"^    (scim_[\w-]{43})$", re.MULTILINE)


class Terminal(BytesIO):
    """What somebody types."""

    def isatty(self) -> bool:
        """It is a terminal."""
        return True


def run(*arguments: object, given: Any = None) -> Result:
    """Run a command, which is given something as its input."""
    return CliRunner().invoke(main, ["token", *map(str, arguments)], input=given)


def configured(tmp_path: Path, *clients: dict[str, Any]) -> Path:
    """Write the configuration of a homeserver, whose module knows some clients."""
    path = tmp_path / "homeserver.yaml"
    configuration = {
        "server_name": "example.org",
        "report_stats": False,
        "database": {"name": "sqlite3", "args": {"database": ":memory:"}},
        "suppress_key_server_warning": True,
        "macaroon_secret_key": "macaroon",
        "form_secret": "form",
        "signing_key": "ed25519 a_test " + "A" * 43,
        "media_store_path": str(tmp_path),
        "modules": [scim_module({"clients": list(clients)})],
    }
    path.write_text(yaml.safe_dump(configuration))
    return path


def made_by(said: Result) -> str:
    """Return the token that a command made and showed."""
    assert said.exit_code == 0, said.output
    (token,) = TOKEN.findall(said.output)
    return str(token)


def examples(said: Result) -> list[Any]:
    """Return the configurations that a command shows, each accepted by the module."""
    shown = re.findall(r"^    clients:\n(?:      .*\n)+", said.output, re.MULTILINE)
    parsed = [yaml.safe_load(example) for example in shown]
    for example in parsed:
        ScimModule.parse_config(example)
    return [example["clients"] for example in parsed]


def test_a_new_token_comes_with_its_configuration() -> None:
    """It is shown once, with what to configure: its digest, or a file. Every one is another."""
    said = run("new", "entra")

    token = made_by(said)
    assert examples(said) == [
        [{"name": "entra", "token_sha256": [hashlib.sha256(token.encode()).hexdigest()]}],
        [{"name": "entra", "token_paths": ["/etc/matrix-synapse/scim-entra.token"]}],
    ]
    assert made_by(run("new", "entra")) != token


def test_a_name_of_digits_stays_a_name() -> None:
    """What is shown can be pasted, whatever YAML makes of such words."""
    for name in ("123", "null", "1e5"):
        assert {client["name"] for example in examples(run("new", name)) for client in example} == {name}


def test_a_new_token_can_be_written_into_a_file(tmp_path: Path) -> None:
    """Only the owner can read it, and what was there is kept."""
    path = tmp_path / "entra.token"

    said = run("new", "entra", "--file", path)

    assert path.read_text() == f"{made_by(said)}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [*tmp_path.iterdir()] == [path]
    assert examples(said) == [[{"name": "entra", "token_paths": [str(path)]}]]

    again = run("new", "entra", "--file", path)
    assert (again.exit_code, again.output) == (1, f"Error: {path} exists already; it is kept as it is\n")
    assert path.read_text() == f"{made_by(said)}\n"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("name", ["", "a b", "a:b", "@ann:example.org", "a" * 65])
def test_what_is_no_name_gets_no_token(name: str) -> None:
    """A token whose client cannot be configured is not made."""
    said = run("new", name)

    assert said.exit_code == 2
    assert TOKEN.findall(said.output) == []


def test_a_file_that_cannot_be_written_is_said_to_be_one(tmp_path: Path) -> None:
    """Nobody is shown a token that was kept nowhere."""
    said = run("new", "entra", "--file", tmp_path / "missing" / "entra.token")

    assert (said.exit_code, TOKEN.findall(said.output)) == (1, [])
    assert said.output.endswith("entra.token cannot be written: No such file or directory\n")


def test_a_token_is_followed_by_another(tmp_path: Path) -> None:
    """The next one stands beside it, readable for the same people; both are valid until the old one is ended."""
    path = tmp_path / "entra.token"
    config = configured(tmp_path, {"name": "entra", "token_paths": [str(path)]})
    old = made_by(run("new", "entra", "--file", path))
    path.chmod(0o644)

    said = run("rotate", "entra", "-c", config)
    new = made_by(said)

    following = tmp_path / "entra.token.next"
    assert f"synapse-scim token rotate entra --end --config {config}\n" in said.output
    assert (path.read_text(), following.read_text()) == (f"{old}\n", f"{new}\n")
    assert (following.stat().st_mode & 0o777, following.stat().st_gid) == (0o640, path.stat().st_gid)
    for token in (old, new):
        assert run("check", "-c", config, given=f"{token}\n").output.startswith("This is a token of the client entra, ")
    again = run("rotate", "entra", "-c", config)
    assert (again.exit_code, again.output) == (1, f"Error: {following} exists already; it is kept as it is\n")

    assert run("rotate", "entra", "--end", "-c", config).output == (
        "The old token of the client entra is valid no longer.\n"
    )
    assert path.read_text() == f"{new}\n"
    assert not following.exists()
    assert run("check", "-c", config, given=f"{old}\n").output == "Error: This is no client's token\n"


def test_an_end_needs_a_next_token(tmp_path: Path) -> None:
    """The present token is not taken away for nothing."""
    path = tmp_path / "entra.token"
    config = configured(tmp_path, {"name": "entra", "token_paths": [str(path)]})
    old = made_by(run("new", "entra", "--file", path))

    for content, problem in ((None, "No such file or directory"), ("", "the file is empty")):
        if content is not None:
            (tmp_path / "entra.token.next").write_text(content)
        said = run("rotate", "entra", "--end", "-c", config)
        assert (said.exit_code, said.output) == (1, f"Error: There is no next token in {path}.next: {problem}\n")
    assert path.read_text() == f"{old}\n"


def test_what_cannot_be_followed_is_said_to_be_so(tmp_path: Path) -> None:
    """A digest stands in the configuration, two tokens leave no room for a third, and a stranger has none."""
    config = configured(
        tmp_path,
        {"name": "digest", "token_sha256": ["00" * 32]},
        {"name": "two", "token_paths": ["one", "other"]},
        {"name": "both", "token_sha256": ["01" * 32], "token_paths": ["file"]},
        {"name": "lost", "token_paths": [str(tmp_path / "lost.token")]},
    )

    for name in ("digest", "two", "both"):
        said = run("rotate", name, "-c", config)
        assert said.exit_code == 1
        assert "make one with 'synapse-scim token new'" in said.output
    assert run("rotate", "nobody", "-c", config).output == "Error: There is no client nobody in the configuration\n"
    assert run("rotate", "lost", "-c", config).output.endswith("cannot be read: No such file or directory\n")


def test_a_token_tells_whose_it_is(tmp_path: Path) -> None:
    """It is read from the input, or asked for without an echo; what it is good for is shown, and itself is not."""
    valid, expired = made_by(run("new", "entra")), made_by(run("new", "old"))
    config = configured(
        tmp_path,
        {
            "name": "entra",
            "token_sha256": [hashlib.sha256(valid.encode()).hexdigest()],
            "scopes": ["users:read"],
            "networks": ["192.0.2.0/24", "2001:db8::/32"],
            "expires": "2999-01-01T00:00:00Z",
        },
        {
            "name": "old",
            "token_sha256": [hashlib.sha256(expired.encode()).hexdigest()],
            "expires": "2001-01-01T00:00:00Z",
        },
    )
    answer = (
        "This is a token of the client entra, good for users:read, from 192.0.2.0/24, 2001:db8::/32,"
        " until 2999-01-01 00:00:00+00:00.\n"
    )

    said = run("check", "-c", config, given=f"{valid}\n")
    assert (said.exit_code, said.output) == (0, answer)
    asked = run("check", "-c", config, given=Terminal(f"{valid}\n".encode()))
    assert asked.output == f"Token: \n{answer}"
    said = run("check", "-c", config, given=f"{expired}\n")
    assert (said.exit_code, said.output) == (
        1,
        "Error: This is a token of the client old, and expired on 2001-01-01 00:00:00+00:00\n",
    )
    said = run("check", "-c", config, given="scim_unknown\n")
    assert (said.exit_code, said.output) == (1, "Error: This is no client's token\n")


def test_what_is_wrong_with_the_configuration_is_said(tmp_path: Path) -> None:
    """A token's file that is not there, a homeserver without the module, and a file that is no configuration."""
    config = configured(tmp_path, {"name": "entra", "token_paths": [str(tmp_path / "missing")]})
    said = run("check", "-c", config)
    assert said.output == ("Error: 'clients.<item 0>.token_paths.<item 0>' cannot be used: No such file or directory\n")

    written = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**written, "modules": [{"module": "io.BytesIO"}]}))
    assert run("check", "-c", config).output == (
        "Error: Synapse cannot use its configuration: it does not load synapse_scim.ScimModule\n"
    )
    config.write_text("server_name: example.org\n")
    assert run("check", "-c", config).output.startswith("Error: Synapse cannot use its configuration: ")
