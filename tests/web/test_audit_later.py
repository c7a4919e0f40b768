"""The audit of what is done later, when nobody asks for it."""

from __future__ import annotations

import json

import pytest

from synapse_scim.application import build
from synapse_scim.module import ScimModule
from tests.web.audit import ADMIN, TITLE, events, execute, told
from tests.web.clients import (
    Admin,
)
from tests.web.life import ANN, OFF, ON, OWN_EMAIL, Life

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def life(admin: Admin) -> Life:
    """Ann's life, on each engine."""
    return Life(admin)


@pytest.mark.usefixtures("owner")
async def test_what_is_done_later_is_the_modules(life: Life) -> None:
    """Whoever's time has come: deactivation and forgetting name the module, not a client."""
    await life.join()
    await life.scim.patched(ANN, OFF)
    await life.pass_time(31)
    await life.scim.create("bob")
    assert (await life.scim.delete("@bob:example.org")).status == 204
    await life.pass_time(366)

    later = [row for row in await told(life.admin, "operation", "account", "credential", "client") if row[2] is None]
    assert later == [
        ("deactivate", ANN, None, "synapse-scim"),
        ("forget", ANN, None, "synapse-scim"),
        ("forget", "@bob:example.org", None, "synapse-scim"),
    ]


@pytest.mark.homeserver(module_config={"deleted": {"erase": True}})
async def test_erasure_is_an_event(life: Life) -> None:
    """What cannot be taken back is kept beside the deletion that led to it."""
    await life.join()
    assert (await life.scim.delete(ANN)).status == 204

    assert (await told(life.admin, "operation", "client"))[1:] == [("delete", ADMIN), ("erase", "synapse-scim")]
    assert OWN_EMAIL not in json.dumps(await events(life.admin))


ERASED_LATER = {"deleted": {"erase": True, "deactivate_after": "7d"}}


@pytest.mark.homeserver(module_config=ERASED_LATER)
async def test_later_erasure_is_an_event(life: Life) -> None:
    """It is kept when it happens."""
    await life.join()
    assert (await life.scim.delete(ANN)).status == 204
    assert (await told(life.admin, "operation"))[1:] == [("delete",)]

    await life.pass_time(8, ERASED_LATER)

    assert (await told(life.admin, "operation"))[2:] == [("erase",)]


@pytest.mark.usefixtures("owner")
async def test_what_cannot_be_done_yet_is_an_event(life: Life) -> None:
    """A deactivation that another module forbids is one that failed."""
    await life.join()
    await life.scim.patched(ANN, OFF)

    async def forbid(*_: object) -> bool:
        return False

    rules = life.admin.homeserver.hs.get_module_api_callbacks().third_party_event_rules
    rules._check_can_deactivate_user_callbacks.append(forbid)
    await life.pass_time(31)

    assert (await told(life.admin, "operation", "outcome", "client"))[2:] == [("deactivate", "failed", "synapse-scim")]


@pytest.mark.usefixtures("owner")
async def test_what_somebody_does_not_get_back_is_an_event(life: Life) -> None:
    """Identifiers that others have by then, by the attribute; and pushers that depended on them."""
    await life.join()
    await life.admin.homeserver.hs.get_pusherpool().add_or_update_pusher(
        user_id=ANN,
        kind="email",
        app_id="m.email",
        app_display_name="Email",
        device_display_name="mail",
        pushkey=OWN_EMAIL,
        lang=None,
        data={},
    )
    await life.scim.patched(ANN, OFF)
    await life.pass_time(31)
    await life.scim.create("bob", emails=[{"value": "ann@corp.example"}, {"value": OWN_EMAIL}])
    # While she is away nothing is given back.
    await life.scim.patched(ANN, TITLE)
    await life.scim.patched(ANN, ON)

    kept = await told(life.admin, "client", "operation", "outcome", "attributes", account=ANN)
    assert kept[-4:] == [
        (ADMIN, "patch", "done", ["title"]),
        (ADMIN, "patch", "done", ["active", "phoneNumbers"]),
        ("synapse-scim", "give_back", "failed", ["emails"]),
        ("synapse-scim", "give_back", "failed", ["pushers"]),
    ]


async def test_photos_are_events_when_they_come_or_not(admin: Admin) -> None:
    """What is fetched later is the module's; a fetch that fails is kept too."""
    await admin.scim.create("ann", photos=[{"value": "https://127.0.0.1:1/face"}])
    maintenance = build(ScimModule.parse_config({}), admin.homeserver.hs).maintenance
    await maintenance.start()
    await execute(admin, "UPDATE synapse_scim_photos SET fetch_ts = 0, attempts = 11")
    await maintenance.in_every_process()

    kept = await told(admin, "client", "operation", "account", "outcome", "attributes")
    assert kept[1] == ("synapse-scim", "fetch_photo", ANN, "failed", ["photos"])
