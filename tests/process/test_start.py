"""How a homeserver with the module starts, or refuses to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from synapse.module_api.errors import ConfigError

from tests.support.configuration import scim_module
from tests.support.homeserver import StartHomeserver
from tests.support.process import SpawnHomeserver
from tests.web.clients import STABLE, Scim, assert_scim

SECRET = "hunter2"

# What Synapse asks of a homeserver that delegates authentication: no passwords, and where to.
DELEGATED = {
    "password_config": {"enabled": False},
    "matrix_authentication_service": {"enabled": True, "endpoint": "http://127.0.0.1:1/", "secret": SECRET},
}


@pytest.mark.parametrize("entry", [{"config": {}}, {"config": None}, {}])
async def test_no_setting_is_needed(entry: dict[str, Any], spawn_homeserver: SpawnHomeserver) -> None:
    """The module starts with an empty configuration, and with none, and the log says when it is ready."""
    homeserver = await spawn_homeserver(module={"module": scim_module()["module"], **entry})
    homeserver.start()

    homeserver.wait_until_logged("SCIM is ready")

    assert_scim(await Scim(homeserver.url, homeserver.register_admin(), STABLE).get("/Me"), 200)


@pytest.mark.parametrize(
    ("config", "last_line"),
    [
        ({"pasword": SECRET}, "'pasword' is not a setting that this version knows; did you mean 'password'?"),
        ({"sso": {"idp_id": [SECRET]}}, "'sso.idp_id' must be a string or null"),
        ({"protected": ["@ok:.*", f"({SECRET}"]}, "'protected.<item 1>' is not a valid regular expression"),
        ({"limits": {"body_size": SECRET}}, "'limits.body_size' must be a size in bytes, such as 65536 or 4M"),
        (
            {"clients": [{"name": "okta", "token_sha256": [SECRET]}]},
            "'clients.<item 0>.token_sha256.<item 0>' must be a SHA-256 digest: 64 hexadecimal digits",
        ),
        ([SECRET], "'config' must be a mapping of keys to values"),
    ],
)
async def test_wrong_setting_stops_synapse(config: Any, last_line: str, spawn_homeserver: SpawnHomeserver) -> None:
    """The last line that is printed names the setting in words that show no value, since it may be a secret."""
    homeserver = await spawn_homeserver(module={**scim_module(), "config": config})

    refusal = homeserver.run_until_exit()

    assert (refusal.code, refusal.output.splitlines()[-1].strip()) == (1, last_line), refusal.output
    assert SECRET not in refusal.output + homeserver.log()


async def test_missing_file_stops_synapse(tmp_path: Path, spawn_homeserver: SpawnHomeserver) -> None:
    """A file that a setting names is read at the start; the last line that is printed says what is wrong with it."""
    homeserver = await spawn_homeserver(module=scim_module({"cursor_secret_path": str(tmp_path / "missing")}))

    refusal = homeserver.run_until_exit()

    assert refusal.code == 1
    said = "'cursor_secret_path' names a file that cannot be read: No such file or directory"
    assert refusal.output.splitlines()[-1].endswith(said)


async def test_delegated_authentication_stops_synapse(spawn_homeserver: SpawnHomeserver) -> None:
    """Where accounts live in Matrix Authentication Service, the module does not start and pretend to serve them."""
    homeserver = await spawn_homeserver(config=DELEGATED)

    refusal = homeserver.run_until_exit()

    assert refusal.code == 1
    assert "delegates authentication to Matrix Authentication Service" in refusal.output.splitlines()[-1]
    assert SECRET not in refusal.output + homeserver.log()


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "cannot be read: No such file or directory"), (" \n", "is empty")]
)
async def test_unusable_secret_is_refused(
    content: str | None, problem: str, tmp_path: Path, start_homeserver: StartHomeserver
) -> None:
    """A secret that is not there, or is nothing but white space, seals nothing."""
    path = tmp_path / "cursors.secret"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ConfigError, match=f"'cursor_secret_path' names a file that {problem}"):
        await start_homeserver(module=scim_module({"cursor_secret_path": str(path)}))


async def test_delegated_authentication_is_refused(start_homeserver: StartHomeserver) -> None:
    """The refusal is an error as Synapse's own are, for whoever runs homeservers in a process of theirs."""
    with pytest.raises(ConfigError, match="delegates authentication to Matrix Authentication Service"):
        await start_homeserver(config=DELEGATED)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file"),
        (b"\n", "is empty"),
        (b"\xff", "holds no text"),
    ],
)
async def test_unusable_secret_for_mas_is_refused(
    content: bytes | None, problem: str, tmp_path: Path, start_homeserver: StartHomeserver
) -> None:
    """Without the client's secret nothing can be asked of MAS."""
    path = tmp_path / "mas.secret"
    if content is not None:
        path.write_bytes(content)
    mas = {"client_id": "01ADM1NC11ENT0000000000000", "client_secret_path": str(path)}

    with pytest.raises(ConfigError, match=f"'mas.client_secret_path' names a file that {problem}"):
        await start_homeserver(config=DELEGATED, module=scim_module({"mas": mas}))


async def test_mas_without_delegation_is_refused(tmp_path: Path, start_homeserver: StartHomeserver) -> None:
    """Accounts that are Synapse's are not to be looked for elsewhere."""
    mas = {"client_id": "01ADM1NC11ENT0000000000000", "client_secret_path": str(tmp_path / "mas.secret")}

    with pytest.raises(ConfigError, match="'mas' is given, but this homeserver has no 'matrix_authentication_service'"):
        await start_homeserver(module=scim_module({"mas": mas}))


@pytest.mark.parametrize(
    ("field", "path", "problem"),
    [
        ("m.tz", "timezon", "does not name an attribute of a User"),
        ("m.tz", "1 2", "does not name an attribute of a User"),
        ("avatar_url", "title", "is mapped already, by 'displayName' or 'photos'"),
    ],
)
async def test_profile_fields_are_checked(
    field: str, path: str, problem: str, start_homeserver: StartHomeserver
) -> None:
    """What a profile field shows must be an attribute; display name and avatar have their own."""
    with pytest.raises(ConfigError, match=f"'profile_fields.{field}' {problem}"):
        await start_homeserver(module=scim_module({"profile_fields": {field: path}}))
