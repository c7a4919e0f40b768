"""A database that an earlier version wrote opens in this one, and goes on being right for both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tests.support
from synapse_scim.accounts import Unavailable
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.mapping.identifiers import fold
from synapse_scim.store import schema
from tests.support.configuration import scim_module
from tests.support.databases import Engine
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.web.clients import Admin, assert_error, until, url_of

FIXTURES = Path(next(iter(tests.support.__path__)))
FOR_EVER = "36500d"
MODULE = scim_module(
    {
        "sso": {"idp_id": "oidc"},
        "photos": {"fetch": False},
        "profile_fields": {"m.tz": "timezone"},
        "deleted": {"revive_within": FOR_EVER, "forget_after": FOR_EVER},
    }
)


async def opened(start_homeserver: StartHomeserver, engine: Engine) -> Admin:
    """Return the administrator of a homeserver on which version 1 ran, and now this one does."""
    homeserver = await start_homeserver(engine=engine, module=None)
    token = await homeserver.access_token(await homeserver.register("admin", admin=True))
    text = (FIXTURES / "version_1.sql").read_text()
    statements = "\n".join(line for line in text.splitlines() if not line.startswith("--")).split(";\n")
    for statement in filter(None, statements):
        homeserver._database.execute(statement)
    await homeserver.restart({"modules": [MODULE]})
    admin = Admin(homeserver, token)
    await admin._until_scim_answers()
    return admin


def comparable(user: dict[str, Any]) -> dict[str, Any]:
    """Return a User without its version, which may be computed in another way, and as any prefix shows it."""
    return {**user, "meta": {name: value for name, value in user["meta"].items() if name != "version"}}


async def test_version_1_opens(start_homeserver: StartHomeserver, engine: Engine) -> None:
    """Everybody is shown as before, whoever left can come back, and what was interrupted is finished."""
    admin = await opened(start_homeserver, engine)
    expected = json.loads((FIXTURES / "version_1.json").read_text())

    found = {user["id"]: comparable(user) for user in await admin.scim.users(count=1000)}

    del found["@admin:example.org"]
    assert found == {user_id: comparable(user) for user_id, user in expected.items()}
    versions = admin.homeserver._database.execute("SELECT version FROM synapse_scim_schema ORDER BY version")
    assert versions == [(number,) for number in range(1, schema.VERSION + 1)]

    async def is_finished() -> bool:
        return not admin.homeserver._database.execute("SELECT user_id FROM synapse_scim_writes")

    await until(is_finished)
    assert await admin.scim.names('emails.value eq "ann@corp.example" and title eq "dr"') == ["ann"]
    assert_error(await admin.scim.get(url_of("@gone:example.org")), 404)
    gone = await admin.scim.create("gone", externalId="gone-external")
    assert gone["id"] == "@gone:example.org"
    on = await admin.scim.patched("@off:example.org", {"op": "replace", "path": "active", "value": True})
    assert on["active"] is True
    assert (await admin.synapse.login("ann", "correct horse")).status == 200


async def test_tables_are_upgraded_again_and_again(start_homeserver: StartHomeserver, engine: Engine) -> None:
    """Every step can be repeated: a database whose upgrade was interrupted, or restored half, is upgraded anew."""
    admin = await opened(start_homeserver, engine)
    ann = await admin.scim.read("@ann:example.org")
    admin.homeserver._database.execute("DELETE FROM synapse_scim_schema")

    with admin.homeserver._context():
        assert await schema.upgrade(HomeserverDatabase(admin.homeserver.hs, fold)) == schema.VERSION

    assert await admin.scim.read("@ann:example.org") == ann


async def test_version_1_writes_beside_this_one(start_homeserver: StartHomeserver, engine: Engine) -> None:
    """During a rolling restart both write: what version 1 stores, which knows no newer column, is shown at once."""
    admin = await opened(start_homeserver, engine)
    await admin.scim.patched("@ann:example.org", {"op": "replace", "path": "title", "value": "Professor"})

    # As version 1 does it.
    admin.homeserver._database.execute(
        "UPDATE synapse_scim_users SET attributes = replace(attributes, 'Professor', 'Emerita'),"
        " revision = revision + 1 WHERE user_id = '@ann:example.org'"
    )

    assert (await admin.scim.read("@ann:example.org"))["title"] == "Emerita"


def locks(homeserver: LocalHomeserver) -> list[tuple[Any, ...]]:
    """Return the locks of accounts."""
    return homeserver._database.execute("SELECT lock_key FROM worker_locks WHERE lock_name = 'scim_user'")


async def test_version_1_and_this_one_lock_each_other_out(start_homeserver: StartHomeserver, engine: Engine) -> None:
    """A lock that one version holds the other one waits for, so that an account has one writer among all processes."""
    admin = await opened(start_homeserver, engine)
    hs = admin.homeserver.hs
    database = HomeserverDatabase(hs, fold, shared=True, lock_wait_s=0.05)

    with admin.homeserver._context():
        async with database.lock("@ann:example.org"):
            assert await hs.get_datastores().main.try_acquire_lock("scim_user", "@ann:example.org") is None
        theirs = await hs.get_datastores().main.try_acquire_lock("scim_user", "@ann:example.org")
        assert theirs is not None
        async with theirs:
            with pytest.raises(Unavailable, match="is being changed by somebody else"):
                async with database.lock("@ann:example.org"):
                    raise AssertionError("two writers at one account")
    assert locks(admin.homeserver) == []
