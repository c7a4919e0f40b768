"""Notifications by e-mail follow the address (SPEC, attributes and off-boarding)."""

from __future__ import annotations

import pytest

from tests.web.clients import Admin

pytestmark = pytest.mark.usefixtures("owner")

OFF = {"op": "replace", "path": "active", "value": False}
ON = {"op": "replace", "path": "active", "value": True}
NOTIFYING = {
    "email": {
        "smtp_host": "127.0.0.1",
        "smtp_port": 1,
        "notif_from": "Synapse <no-reply@example.org>",
        "app_name": "Matrix",
        "enable_notifs": True,
        "notif_for_new_users": True,
    }
}


async def notified(admin: Admin, user_id: str) -> list[str]:
    """Return where somebody is notified by e-mail."""
    pushers = await admin.homeserver.hs.get_datastores().main.get_pushers_by_user_id(user_id)
    return sorted(pusher.pushkey for pusher in pushers if pusher.kind == "email")


@pytest.mark.homeserver(config=NOTIFYING, module_config={"inactive": {"deactivate_after": 0}})
async def test_new_people_are_notified_by_email(admin: Admin) -> None:
    """As the admin API does, where the homeserver is configured so; a removed address, or a leaver, is not."""
    emails = [{"value": "Ann@Corp.example", "type": "work"}, {"value": "home@x.example"}]
    ann = await admin.scim.create("ann", emails=emails)
    gone = await admin.scim.create("bob", active=False, emails=[{"value": "bob@corp.example"}])
    assert await notified(admin, ann["id"]) == ["ann@corp.example", "home@x.example"]
    assert await notified(admin, gone["id"]) == []

    await admin.scim.patched(ann["id"], {"op": "remove", "path": 'emails[value eq "home@x.example"]'})
    assert await notified(admin, ann["id"]) == ["ann@corp.example"]
    left = await admin.scim.patched(ann["id"], OFF)
    assert (left["active"], await notified(admin, ann["id"])) == (False, [])
    await admin.scim.patched(ann["id"], ON)
    assert await notified(admin, ann["id"]) == ["ann@corp.example"]


async def test_nobody_is_notified_by_default(admin: Admin) -> None:
    """Synapse's default is to notify nobody by e-mail."""
    ann = await admin.scim.create("ann", emails=[{"value": "ann@corp.example"}])
    assert await notified(admin, ann["id"]) == []


@pytest.mark.homeserver(config=NOTIFYING)
async def test_an_address_that_is_gone_again_is_not_notified(admin: Admin) -> None:
    """Where another module takes a new address away at once, the person is created all the same, and can be changed."""

    async def take_away(user_id: str, medium: str, address: str) -> None:
        await admin.homeserver.hs.get_datastores().main.user_delete_threepid(user_id, medium, address)

    rules = admin.homeserver.hs.get_module_api().register_third_party_rules_callbacks
    rules(on_add_user_third_party_identifier=take_away)
    ann = await admin.scim.create("ann", emails=[{"value": "ann@corp.example"}])

    assert await notified(admin, ann["id"]) == []
    await admin.scim.patched(ann["id"], {"op": "replace", "path": "title", "value": "Boss"})
