"""`meta.lastModified` moves when somebody else changes an account."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from synapse_scim.application import build
from synapse_scim.module import ScimModule
from tests.web.clients import Admin, Scim, Synapse

pytestmark = pytest.mark.usefixtures("owner", "engine")

OFF = {"op": "replace", "path": "active", "value": False}


async def last_modified(scim: Scim, user_id: str) -> datetime:
    """Return when a User changed, which an answer and a filter must agree on."""
    moment: str = (await scim.read(user_id))["meta"]["lastModified"]
    assert user_id in [user["id"] for user in await scim.users(filter=f'meta.lastModified eq "{moment}"')]
    return datetime.fromisoformat(moment)


async def reconcile(admin: Admin, config: dict[str, Any] | None = None) -> None:
    """Look for changes that nobody told of, as the homeserver does from time to time."""
    maintenance = build(ScimModule.parse_config(config or {}), admin.homeserver.hs).maintenance
    await maintenance.start()
    await maintenance.reconcile()


async def test_changes_that_synapse_tells_of(admin: Admin, scim: Scim, synapse: Synapse) -> None:
    """A display name, an avatar, an address, a deactivation: each moves it at once, managed or not."""
    await synapse.change("@bob:example.org", displayname="Bob")
    for user_id in ((await scim.create("ann", displayName="Ann"))["id"], "@bob:example.org"):
        seen = [await last_modified(scim, user_id)]
        changes: list[dict[str, Any]] = [
            {"displayname": "Somebody"},
            {"avatar_url": "mxc://example.org/face"},
            {"threepids": [{"medium": "email", "address": f"{user_id[1:4]}@x.example"}]},
            {"threepids": []},
            {"deactivated": True},
        ]
        for change in changes:
            await synapse.change(user_id, **change)
            seen.append(await last_modified(scim, user_id))
        assert seen == sorted(set(seen)), "it moves forward each time"
    assert len(await scim.names("meta.lastModified pr", sortBy="meta.lastModified")) == 3
    assert admin is not None


async def test_changes_that_synapse_does_not_tell_of(admin: Admin, scim: Scim, synapse: Synapse) -> None:
    """A lock, a suspension, a type: they move it when the module looks for them, once."""
    ann = (await scim.create("ann"))["id"]
    bob = "@bob:example.org"
    await synapse.change(bob, displayname="Bob")
    await synapse.change(bob, locked=True)
    await reconcile(admin)
    seen = {user_id: [await last_modified(scim, user_id)] for user_id in (ann, bob)}

    changes: list[dict[str, Any]] = [{"locked": True}, {"locked": False}, {"admin": True}]
    for change in changes:
        for user_id, moments in seen.items():
            await synapse.change(user_id, **change)
            await reconcile(admin)
            moments.append(await last_modified(scim, user_id))
    await reconcile(admin)

    # Bob was locked already.
    assert seen[bob][0] == seen[bob][1]
    assert seen[bob][1:] == sorted(set(seen[bob][1:]))
    assert seen[ann] == sorted(set(seen[ann]))
    assert await last_modified(scim, ann) == seen[ann][-1]


async def test_own_changes_move_it_once(admin: Admin, scim: Scim) -> None:
    """What SCIM changes has moved it already; looking for changes of others finds nothing."""
    await reconcile(admin)
    ann = await scim.create("ann", displayName="Ann", emails=[{"value": "ann@x.example"}])
    left = await scim.patched(ann["id"], OFF, {"op": "replace", "path": "displayName", "value": "Anna"})

    await reconcile(admin)
    await reconcile(admin)

    assert await last_modified(scim, ann["id"]) == datetime.fromisoformat(left["meta"]["lastModified"])


SSO = {"sso": {"idp_id": "oidc-corp"}}


@pytest.mark.homeserver(module_config=SSO)
async def test_single_sign_on_identities_move_it(admin: Admin, scim: Scim, synapse: Synapse) -> None:
    """An external ID that somebody else gives to an account shows as its externalId, and moves it."""
    bob = "@bob:example.org"
    await synapse.change(bob, displayname="Bob")
    await reconcile(admin, SSO)
    before = await last_modified(scim, bob)

    await synapse.change(bob, external_ids=[{"auth_provider": "oidc-corp", "external_id": "B1"}])
    await reconcile(admin, SSO)

    assert (await scim.read(bob))["externalId"] == "B1"
    assert await last_modified(scim, bob) > before
