"""What an earlier write left behind is settled before the next begins, or the next is told to wait."""

from __future__ import annotations

import pytest

from synapse_scim.accounts import Record, Unavailable
from synapse_scim.application import Application, build
from synapse_scim.audit import MAINTENANCE
from synapse_scim.mapping.changes import Plan
from synapse_scim.module import ScimModule
from synapse_scim.steps import EndSessions, RemovePushers
from synapse_scim.store import journal
from tests.support.homeserver import LocalHomeserver

pytestmark = pytest.mark.usefixtures("engine", "owner")

ANN = "@ann:example.org"


async def prepared(homeserver: LocalHomeserver, entry: journal.Entry) -> Application:
    """Return SCIM on a homeserver where a write was left behind."""
    application = build(ScimModule.parse_config(homeserver.delegation), homeserver.hs)
    await application.maintenance.start()
    await application.store.database.run("test_leave_behind", journal.write, ANN, entry, 0)
    return application


def creation(application: Application) -> Plan:
    """Return what makes an account."""
    now = application.store.gateway.now()
    record = Record(
        domain="default",
        user_name="ann",
        external_id=None,
        attributes={},
        threepids=frozenset(),
        displayname="Ann",
        created=now,
        modified=now,
    )
    return Plan(record=record)


async def test_a_creation_settles_what_was_left_behind(homeserver: LocalHomeserver) -> None:
    """An unfinished write at the user ID of a new account is undone first."""
    application = await prepared(homeserver, journal.Entry())
    writer, plan = application.store.writer, creation(application)
    await application.store.database.run("test_reserve", writer.records.insert, ANN, "pending", plan.record)

    async with application.store.database.lock(ANN):
        await writer.create("ann", plan, None, MAINTENANCE.event("create", ANN))

    assert await writer.unfinished() == []
    assert await homeserver.hs.get_module_api().check_user_exists(ANN) == ANN


async def test_what_cannot_be_finished_yet_makes_the_next_wait(homeserver: LocalHomeserver) -> None:
    """Its steps must not be lost: whoever comes next is told to try again later."""

    class NotNow:
        def __init__(self, gateway: object) -> None:
            self._gateway = gateway

        def __getattr__(self, name: str) -> object:
            return getattr(self._gateway, name)

        async def finish(self, *_arguments: object) -> None:
            raise Unavailable("not now")

    application = await prepared(homeserver, journal.Entry(certain=True, final=(EndSessions(),)))
    config = ScimModule.parse_config(homeserver.delegation)
    failing = build(config, homeserver.hs, gateway=NotNow(application.store.gateway))  # type: ignore[arg-type]

    with pytest.raises(Unavailable, match="not finished yet"):
        await failing.store.writer.recover(ANN)
    # Maintenance begins with it, and says so.
    await failing.maintenance.start()

    assert await application.store.writer.unfinished() == [ANN]
    logged = [record.getMessage() for record in homeserver.log_records]
    assert any(text.startswith(f"An interrupted write to {ANN} waits for the next attempt") for text in logged)


async def test_a_race_that_is_lost_is_run_again(homeserver: LocalHomeserver) -> None:
    """A transaction that the database refuses because of another one's rows is tried once more, to see them."""
    application = await prepared(homeserver, journal.Entry())
    writer = application.store.writer
    attempts: list[int] = []

    def conflict(_txn: object) -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise application.store.database.conflict("taken")
        return "seen"

    assert await writer._transaction("conflict", conflict) == "seen"


@pytest.mark.expected_errors("The interrupted write to @ann:example.org cannot be dealt with")
async def test_one_account_does_not_keep_the_others_from_being_cared_for(homeserver: LocalHomeserver) -> None:
    """Whatever is wrong with an unfinished write, those of others are finished, and what is due is done."""
    entry = journal.Entry(certain=True, final=(RemovePushers(),))
    application = await prepared(homeserver, entry)
    await application.store.database.run("test_leave_behind", journal.write, "@bob:example.org", entry, 1)
    homeserver._database.execute(f"UPDATE synapse_scim_writes SET write = '{{' WHERE user_id = '{ANN}'")  # noqa: S608

    await application.maintenance.in_one_process()

    assert await application.store.writer.unfinished() == [ANN]
