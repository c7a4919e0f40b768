"""Tokens of clients in files, which may change at any time."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from synapse.module_api.errors import ConfigError

from tests.support.homeserver import StartHomeserver
from tests.web.clients import assert_scim
from tests.web.tokens import assert_unauthenticated, client, logged, scim_of, started, token_of, write


async def test_two_tokens_are_valid_at_a_time(start_homeserver: StartHomeserver, tmp_path: Path) -> None:
    """One in a file, one as a digest: a client can be given the second before the first ends (documentation)."""
    path = write(tmp_path / "okta.token", token_of("file"))
    admin = await started(start_homeserver, client("okta", token_paths=[str(path)]))

    for token in (token_of("okta"), token_of("file")):
        assert_scim(await scim_of(admin.homeserver, token).get("/Users"), 200)


@pytest.mark.expected_errors("A token of the SCIM client okta is lost; .* cannot be used: ")
async def test_a_file_that_changes_counts_at_once(start_homeserver: StartHomeserver, tmp_path: Path) -> None:
    """The next request knows the new token and not the old one; without a restart (documentation)."""
    path = write(tmp_path / "okta.token", token_of("first"))
    admin = await started(start_homeserver, {"name": "okta", "token_paths": [str(path)]})
    first, second = (scim_of(admin.homeserver, token_of(name)) for name in ("first", "second"))
    assert_scim(await first.get("/Users"), 200)

    write(path, token_of("second"))
    assert_unauthenticated(await first.get("/Users"))
    assert_scim(await second.get("/Users"), 200)

    for lose in (path.unlink, lambda: path.write_text("short"), lambda: path.write_text("\n"), path.unlink):
        lose()
        for scim in (first, second):
            assert_unauthenticated(await scim.get("/Users"))
            assert_unauthenticated(await scim.get("/Users"))

    write(path, token_of("first"))
    assert_scim(await first.get("/Users"), 200)
    lost = [line.rpartition(": ")[2] for line in logged(admin.homeserver, logging.ERROR).splitlines()]
    assert lost == [
        "No such file or directory",
        "the token has less than 32 characters, and can be guessed",
        "the file is empty",
        "No such file or directory",
    ]


async def test_a_next_token_may_appear_beside_the_present_one(
    start_homeserver: StartHomeserver, tmp_path: Path
) -> None:
    """`token rotate` puts it there; both are valid until the one replaces the other (documentation)."""
    path = write(tmp_path / "okta.token", token_of("first"))
    admin = await started(start_homeserver, {"name": "okta", "token_paths": [str(path)]})
    first, second = (scim_of(admin.homeserver, token_of(name)) for name in ("first", "second"))

    following = write(tmp_path / "okta.token.next", token_of("second"))
    for scim in (first, second):
        assert_scim(await scim.get("/Users"), 200)
    following.unlink()
    assert_unauthenticated(await second.get("/Users"))
    assert_scim(await first.get("/Users"), 200)

    write(following, token_of("second")).replace(path)
    assert_unauthenticated(await first.get("/Users"))
    assert_scim(await second.get("/Users"), 200)
    assert logged(admin.homeserver, logging.WARNING).count("okta") == 0


async def test_there_is_no_third_token(start_homeserver: StartHomeserver, tmp_path: Path) -> None:
    """Beside a file of a client that has two tokens nothing is looked for (documentation)."""
    paths = [write(tmp_path / f"{name}.token", token_of(name)) for name in ("first", "second")]
    for path in paths:
        write(path.with_name(f"{path.name}.next"), token_of("third"))
    admin = await started(start_homeserver, {"name": "okta", "token_paths": [str(path) for path in paths]})

    assert_scim(await scim_of(admin.homeserver, token_of("second")).get("/Users"), 200)
    assert_unauthenticated(await scim_of(admin.homeserver, token_of("third")).get("/Users"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ("x" * 31, "the token has less than 32 characters, and can be guessed"),
        ("x" * 32 + " y", "the file must hold one token, in ASCII and without blanks"),
        ("x" * 32 + "\n" + "y" * 32, "the file must hold one token, in ASCII and without blanks"),
        ("ü" * 32, "the file must hold one token, in ASCII and without blanks"),
        ("x" * 5000, "the file must hold one token, in ASCII and without blanks"),
        ("syt_" + "x" * 32, "it holds an access token of Synapse, which opens more than SCIM"),
    ],
)
async def test_unusable_file_stops_synapse(
    content: str | None, problem: str, start_homeserver: StartHomeserver, tmp_path: Path
) -> None:
    """A client that cannot be told from others does not call; the message names the setting, and no value."""
    path = tmp_path / "okta.token"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ConfigError) as refused:
        await started(start_homeserver, client("hr"), {"name": "okta", "token_paths": [str(path)]})

    assert refused.value.msg == f"'clients.<item 1>.token_paths.<item 0>' cannot be used: {problem}"


async def test_what_is_no_file_stops_synapse(start_homeserver: StartHomeserver, tmp_path: Path) -> None:
    """A folder, or a device that never ends, holds no token."""
    for path in (str(tmp_path), "/dev/zero"):
        with pytest.raises(ConfigError, match="cannot be used: it is no regular file"):
            await started(start_homeserver, {"name": "okta", "token_paths": [path]})


async def test_clients_with_one_token_stop_synapse(start_homeserver: StartHomeserver, tmp_path: Path) -> None:
    """A token that two clients have would be either's."""
    path = write(tmp_path / "hr.token", token_of("okta"))

    with pytest.raises(ConfigError, match=r"'clients\.<item 1>' has a token of another client"):
        await started(start_homeserver, client("okta"), {"name": "hr", "token_paths": [str(path)]})


@pytest.mark.expected_errors("The SCIM clients hr and okta have the same token, which is nobody's")
async def test_a_token_that_becomes_anothers_is_nobodys(start_homeserver: StartHomeserver, tmp_path: Path) -> None:
    """A file that changes cannot make one client the other."""
    path = write(tmp_path / "hr.token", token_of("hr"))
    admin = await started(start_homeserver, client("okta"), {"name": "hr", "token_paths": [str(path)]})
    okta = scim_of(admin.homeserver, token_of("okta"))
    assert_scim(await okta.get("/Users"), 200)

    write(path, token_of("okta"))
    assert_unauthenticated(await okta.get("/Users"))
    write(path, token_of("hr"))
    assert_scim(await okta.get("/Users"), 200)


async def test_a_file_that_others_can_read_is_warned_of(start_homeserver: StartHomeserver, tmp_path: Path) -> None:
    """A group may be meant to read it; everybody is not (documentation)."""
    for mode, warned in ((0o600, False), (0o640, False), (0o644, True), (0o602, True)):
        path = write(tmp_path / f"{mode:o}.token", token_of("okta"))
        path.chmod(mode)
        admin = await started(start_homeserver, {"name": "okta", "token_paths": [str(path)]})
        assert (
            "Everybody on this machine has access to the token" in logged(admin.homeserver, logging.WARNING)
        ) is warned
        assert_scim(await scim_of(admin.homeserver, token_of("okta")).get("/Users"), 200)
        await admin.homeserver.stop()
