"""`active`: who can log in."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Owner
from tests.support.homeserver import LocalHomeserver
from tests.web.clients import MATRIX, Scim, Synapse, without_meta

pytestmark = pytest.mark.usefixtures("owner")

OFF = {"op": "replace", "path": "active", "value": False}
ON = {"op": "replace", "path": "active", "value": True}
PERSON: dict[str, Any] = {
    "externalId": "7",
    "displayName": "Ann",
    "password": "correct horse",
    "name": {"givenName": "Ann"},
    "emails": [{"value": "ann@corp.example", "type": "work"}],
    "phoneNumbers": [{"value": "+49 30 123456"}],
}


async def test_inactive_people_are_locked_out_and_lose_nothing(
    homeserver: LocalHomeserver, owner: Owner, scim: Scim, synapse: Synapse
) -> None:
    """`active: false` stops every session and login, `active: true` gives all of it back (the documentation, IdP).

    MAS knows no token of somebody who is locked, which Synapse remembers for two minutes.
    """
    ann = await scim.create("ann", **PERSON)
    token = await synapse.token("ann", "correct horse")
    before = await synapse.account(ann["id"])

    left = await scim.patched(ann["id"], OFF)

    assert (left["active"], left[MATRIX]["locked"], left[MATRIX]["deactivated"]) == (False, True, False)
    refused = await synapse.whoami(token)
    reason = ("M_USER_LOCKED", True) if owner == "synapse" else ("M_UNKNOWN_TOKEN", False)
    assert (refused.status, refused.json["errcode"], refused.json["soft_logout"]) == (401, *reason)
    login = await synapse.login("ann", "correct horse")
    assert (login.status, login.json["errcode"]) in {(401, "M_USER_LOCKED"), (403, "M_USER_LOCKED")}
    assert await scim.read(ann["id"]) == left
    for scim_filter in ("active eq false", 'userName eq "ann"', 'externalId eq "7"', 'emails co "ann@"'):
        assert await scim.users(filter=scim_filter) == [left]
    assert "ann" not in await scim.names("active eq true")

    back = await scim.patched(ann["id"], ON)

    assert without_meta(back) == without_meta(ann)
    homeserver.forget_introspections()
    assert (await synapse.whoami(token)).json["user_id"] == ann["id"]
    assert (await synapse.login("ann", "correct horse")).status == 200
    after = await synapse.account(ann["id"])
    assert {**after, "last_seen_ts": None} == {**before, "last_seen_ts": None}


async def test_people_can_be_made_inactive_from_the_start(scim: Scim, synapse: Synapse) -> None:
    """A POST with `active: false` makes an account that nobody can log in to yet (IdP: PingFederate)."""
    ann = await scim.create("ann", active=False, **PERSON)

    assert (ann["active"], ann[MATRIX]["locked"]) == (False, True)
    assert (await synapse.login("ann", "correct horse")).json["errcode"] == "M_USER_LOCKED"
    assert (await scim.replaced(ann["id"], {**ann, "active": True}))["active"] is True
    assert (await synapse.login("ann", "correct horse")).status == 200
    changed = await scim.patched(ann["id"], OFF, {"op": "replace", "path": "title", "value": "Dr"})
    assert (changed["active"], changed["title"]) == (False, "Dr")


async def test_lock_of_an_administrator_is_not_lifted(scim: Scim, synapse: Synapse) -> None:
    """Another's lock shows as `active: false`, and a sync's repeated `true` leaves it (the documentation)."""
    ann = await scim.create("ann", **PERSON)
    await synapse.change(ann["id"], locked=True)
    locked = await scim.read(ann["id"])
    assert (locked["active"], locked[MATRIX]["locked"]) == (False, True)
    assert await scim.names("active eq false") == ["ann"]

    assert (await scim.patched(ann["id"], ON))["active"] is False
    replaced = await scim.replaced(ann["id"], {**ann, "title": "Dr", "active": True})

    assert (replaced["active"], replaced["title"]) == (False, "Dr")
    assert (await synapse.account(ann["id"]))["locked"] is True
    # The administrator lifts it, as ever.
    await synapse.change(ann["id"], locked=False)
    assert (await scim.read(ann["id"]))["active"] is True


async def test_lock_is_lifted_for_who_is_wished_back(scim: Scim, synapse: Synapse) -> None:
    """SCIM lifts a lock when its own last wish was false and becomes true, whoever set the lock (the documentation)."""
    ann = await scim.create("ann", **PERSON)
    await synapse.change(ann["id"], locked=True)

    assert (await scim.patched(ann["id"], OFF))["active"] is False
    assert (await scim.patched(ann["id"], ON))["active"] is True

    assert (await synapse.account(ann["id"]))["locked"] is False


async def test_deactivation_by_an_administrator_is_not_undone(scim: Scim, synapse: Synapse) -> None:
    """An account that an administrator deactivated shows as inactive, whole, and stays so (the documentation)."""
    ann = await scim.create("ann", **PERSON)
    await synapse.change(ann["id"], deactivated=True)

    gone = await scim.read(ann["id"])

    assert (gone["active"], gone[MATRIX]["deactivated"], gone["emails"]) == (False, True, ann["emails"])
    assert await scim.names("active eq false") == ["ann"]
    assert (await scim.patched(ann["id"], ON))["active"] is False
    assert (await synapse.account(ann["id"]))["deactivated"] is True


async def test_lock_lifted_by_an_administrator(scim: Scim, synapse: Synapse) -> None:
    """Who was made inactive by SCIM and unlocked by an administrator is active until SCIM says otherwise again."""
    ann = await scim.create("ann", **PERSON)
    await scim.patched(ann["id"], OFF)

    await synapse.change(ann["id"], locked=False)

    assert (await scim.read(ann["id"]))["active"] is True
    assert (await scim.patched(ann["id"], OFF))["active"] is False
    assert (await synapse.account(ann["id"]))["locked"] is True
