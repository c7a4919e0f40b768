"""The guard: nobody disables or deletes everybody (SPEC, off-boarding)."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner
from twisted.internet.threads import deferToThread

from synapse_scim.commands import main
from tests.support.client import Response
from tests.web.clients import Admin, assert_error, assert_scim, bulk_of, url_of

pytestmark = pytest.mark.usefixtures("owner", "engine")

OFF = {"op": "replace", "path": "active", "value": False}
ON = {"op": "replace", "path": "active", "value": True}

two_at_most = pytest.mark.homeserver(module_config={"guard": {"max": 2, "at_least": 0}})


async def people(admin: Admin, count: int) -> list[str]:
    """Make so many people, long ago, and return their ids."""
    ids = [(await admin.scim.create(f"person{number}"))["id"] for number in range(count)]
    await execute(admin, "UPDATE synapse_scim_users SET created_ts = created_ts - 86400000")
    return ids


async def execute(admin: Admin, sql: str) -> None:
    """Run a statement."""
    pool = admin.homeserver.hs.get_datastores().main.db_pool
    await pool.runInteraction("test", lambda txn: txn.execute(sql))


def assert_guarded(response: Response) -> None:
    """Check a refusal."""
    assert_error(response, 429, naming="guard")
    assert 3500 < int(response.headers["retry-after"]) <= 3600


@two_at_most
async def test_more_than_the_most_are_refused(admin: Admin) -> None:
    """Locks and deletions count together; what is refused has changed nothing, and everything else goes on."""
    ids = await people(admin, 4)
    await admin.scim.patched(ids[0], OFF)
    assert (await admin.scim.delete(ids[1])).status == 204

    assert_guarded(await admin.scim.patch(ids[2], OFF))
    assert_guarded(await admin.scim.delete(ids[3]))

    assert [(await admin.scim.read(user_id))["active"] for user_id in ids[2:]] == [True, True]
    await admin.scim.patched(ids[2], {"op": "replace", "path": "title", "value": "Dr"})
    # Whoever is off already is no further one.
    await admin.scim.patched(ids[0], OFF)
    assert (await admin.scim.delete(ids[0])).status == 204
    warnings = [r for r in admin.homeserver.log_records if "guard refuses" in r.getMessage()]
    assert [record.levelname for record in warnings] == ["WARNING"]


@two_at_most
async def test_bulk_is_no_way_around(admin: Admin) -> None:
    """The operations of a bulk request count one by one."""
    ids = await people(admin, 4)

    answer = assert_scim(
        await admin.scim.post("/Bulk", bulk_of(*({"method": "DELETE", "path": url_of(user_id)} for user_id in ids))),
        200,
    )

    assert [operation["status"] for operation in answer["Operations"]] == ["204", "204", "429", "429"]


@two_at_most
async def test_the_window_passes(admin: Admin) -> None:
    """After the window as many may go again."""
    ids = await people(admin, 3)
    for user_id in ids[:2]:
        await admin.scim.patched(user_id, OFF)
    assert_guarded(await admin.scim.patch(ids[2], OFF))

    await execute(admin, "UPDATE synapse_scim_guard SET left_ts = left_ts - 3600000 WHERE user_id <> ''")

    assert (await admin.scim.patched(ids[2], OFF))["active"] is False


@two_at_most
async def test_administrators_can_let_more_pass(admin: Admin) -> None:
    """`guard allow N` lets N further ones pass; no client can."""
    ids = await people(admin, 5)
    for user_id in ids[:2]:
        await admin.scim.patched(user_id, OFF)

    path = admin.homeserver.write_configuration()
    said = await deferToThread(CliRunner().invoke, main, ["guard", "allow", "2", "--config", str(path)])
    assert (said.exit_code, said.output) == (0, "The guard lets 2 more accounts be disabled or deleted.\n")

    for user_id in ids[2:4]:
        await admin.scim.patched(user_id, OFF)
    assert_guarded(await admin.scim.patch(ids[4], OFF))


@pytest.mark.homeserver(module_config={"guard": {"max": "50%", "at_least": 1}})
async def test_a_share_is_one_of_those_who_were_active(admin: Admin) -> None:
    """The share is counted of the managed accounts that were active when the window began."""
    ids = await people(admin, 6)
    newcomer = await admin.scim.create("newcomer")

    for user_id in ids[:3]:
        await admin.scim.patched(user_id, OFF)

    assert_guarded(await admin.scim.patch(ids[3], OFF))
    assert_guarded(await admin.scim.delete(newcomer["id"]))


@pytest.mark.homeserver(module_config={"guard": {"max": 0, "at_least": 3}})
async def test_a_few_may_always_go(admin: Admin) -> None:
    """As many as `at_least` may go whatever the most is."""
    ids = await people(admin, 4)

    for user_id in ids[:3]:
        await admin.scim.patched(user_id, OFF)

    assert_guarded(await admin.scim.patch(ids[3], OFF))


@pytest.mark.homeserver(module_config={"guard": {"max": None, "at_least": 0}})
async def test_there_need_not_be_a_guard(admin: Admin) -> None:
    """`max: null` switches it off."""
    for user_id in await people(admin, 3):
        assert (await admin.scim.delete(user_id)).status == 204


@two_at_most
async def test_coming_back_is_free(admin: Admin) -> None:
    """Enabling is not counted; disabling the same person again is not counted twice."""
    ids = await people(admin, 2)
    for change in (OFF, ON, OFF, ON, OFF):
        await admin.scim.patched(ids[0], change)

    patched: dict[str, Any] = await admin.scim.patched(ids[1], OFF)
    assert patched["active"] is False


@pytest.mark.homeserver(
    module_config={"guard": {"max": 1, "at_least": 0}}, config={"allowed_avatar_mimetypes": ["image/png"]}
)
async def test_who_was_not_disabled_does_not_count(admin: Admin) -> None:
    """A change that the homeserver refuses, and that would have disabled somebody, lets another go."""
    ids = await people(admin, 2)
    face = {"op": "replace", "path": "photos", "value": [{"value": "mxc://example.org/face"}]}

    assert_error(await admin.scim.patch(ids[0], OFF, face), 403, naming="avatar")

    assert (await admin.scim.read(ids[0]))["active"] is True
    await admin.scim.patched(ids[1], OFF)
    assert_guarded(await admin.scim.patch(ids[0], OFF))
