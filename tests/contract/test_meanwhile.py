"""What others do between two steps of a write, or of what the module does by itself, is not lost."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from scim2_models import ForbiddenException, UniquenessException

from synapse_scim.application import Application, build
from synapse_scim.database import Transaction
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.homeserver.gateway import SynapseAccounts
from synapse_scim.homeserver.locks import LEASE_S
from synapse_scim.mapping.identifiers import fold
from synapse_scim.module import ScimModule
from synapse_scim.steps import SetProfileField
from synapse_scim.store import journal, photo_orders
from synapse_scim.store.accounts import ts_ms
from tests.contract.test_whole_writes import SSO, Person
from tests.support.homeserver import LocalHomeserver

pytestmark = pytest.mark.usefixtures("engine")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FORMER, PRESENT = (f"https://127.0.0.1:1/{name}.png" for name in ("former", "present"))
"""Photos that nobody can fetch for now."""


class Meanwhile(HomeserverDatabase):
    """A database where something happens before a transaction, or after it, once."""

    before: str | None = None
    after: str | None = None
    happens: Callable[[], Awaitable[Any]]

    async def run(self, name, function, *args, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003, ANN201
        """Let it happen, if this is the transaction."""
        if name == self.before:
            self.before = None
            await self.happens()
        result = await super().run(name, function, *args, **kwargs)
        if name == self.after:
            self.after = None
            await self.happens()
        return result


@attrs.frozen
class Scene:
    """A process in whose way another one comes, which has no media repository."""

    database: Meanwhile
    slow: Application
    quick: Application

    @classmethod
    async def on(cls, homeserver: LocalHomeserver, **config: Any) -> Scene:
        """Return both, ready, on a homeserver."""
        parsed = ScimModule.parse_config({**homeserver.delegation, **config})
        database = Meanwhile(homeserver.hs, fold, shared=True)
        gateway = SynapseAccounts(homeserver.hs)
        gateway.stores_photos = False
        slow, quick = build(parsed, homeserver.hs, database=database), build(parsed, homeserver.hs, gateway=gateway)
        scene = cls(database, slow, quick)
        await scene.slow.maintenance.start()
        await scene.quick.maintenance.start()
        return scene

    def let(self, happen: Callable[[], Awaitable[Any]], *, before: str | None = None, after: str | None = None) -> None:
        """Let something happen before a transaction of the slow one, or after it."""
        self.database.happens = happen
        self.database.before, self.database.after = before, after

    def has_happened(self) -> bool:
        """Tell whether it has."""
        return self.database.before is self.database.after is None


async def test_who_is_forgotten_while_they_return_comes_back_whole(homeserver: LocalHomeserver) -> None:
    """A record that is emptied after it was read is written as a whole."""
    scene = await Scene.on(homeserver)
    person, quick = Person(scene.slow, "p0"), Person(scene.quick, "p0")
    sent = person.user(displayName="Ann")
    made = await person.users.create(person.user_type, sent)
    await person.delete()

    async def forget() -> None:
        store = scene.quick.store
        await store.database.run("forget", store.writer.offboarding.forget, person.user_id)

    scene.let(forget, before="synapse_scim_claims")
    back = await person.users.create(person.user_type, sent)

    assert scene.has_happened()
    assert back.model_dump(exclude={"meta"}) == made.model_dump(exclude={"meta"})
    assert await quick.users.get(person.user_type, person.user_id) == back


@pytest.mark.homeserver(config={"ip_range_whitelist": ["127.0.0.1/32"]})
@pytest.mark.parametrize("before", ["synapse_scim_photo_of", "synapse_scim_photo_end"])
async def test_a_photo_that_is_ordered_while_another_is_given_up_stays_ordered(
    homeserver: LocalHomeserver, before: str
) -> None:
    """An order that has taken the place of another does not end with that."""
    scene = await Scene.on(homeserver)
    slow, quick = Person(scene.slow, "p0"), Person(scene.quick, "p0")
    await slow.users.create(slow.user_type, slow.user())
    # Of a photo that the User has no more.
    await scene.slow.store.database.run("order", photo_orders.place, slow.user_id, FORMER, EPOCH)

    async def change() -> None:
        await quick.users.update(quick.user_type, quick.user(id=quick.user_id, photos=[{"value": PRESENT}]))

    scene.let(change, before=before)
    await scene.slow.store.photos.fetch_due()

    assert scene.has_happened()
    kept = homeserver._database.execute("SELECT user_id, source FROM synapse_scim_photos")
    assert kept == [(slow.user_id, PRESENT)]


@pytest.mark.homeserver(config={"allowed_avatar_mimetypes": ["image/png"]})
async def test_what_a_change_gives_up_is_taken_by_nobody_before_it_is_certain(homeserver: LocalHomeserver) -> None:
    """A refused change is undone, though somebody wants what it would have set free."""
    scene = await Scene.on(homeserver, **SSO)
    slow, quick = Person(scene.slow, "p0"), Person(scene.quick, "p1")
    made = await slow.users.create(slow.user_type, slow.user())
    wanted = {"emails": [{"value": "p0@mail.example.org"}], "phoneNumbers": []}

    async def take() -> None:
        with pytest.raises(UniquenessException):
            await quick.users.create(quick.user_type, quick.user(**wanted))

    scene.let(take, before="synapse_scim_journal")
    changed = slow.user(id=slow.user_id, emails=[], phoneNumbers=[], photos=[{"value": "mxc://example.org/face"}])
    with pytest.raises(ForbiddenException, match="avatar"):
        await slow.users.update(slow.user_type, changed)

    assert scene.has_happened()
    now = await slow.users.get(slow.user_type, slow.user_id)
    assert now.model_dump(exclude={"meta"}) == made.model_dump(exclude={"meta"})


@pytest.mark.homeserver(config={"allowed_avatar_mimetypes": ["image/png"]})
async def test_a_name_that_somebody_takes_during_a_change_that_is_refused_is_theirs(
    homeserver: LocalHomeserver,
) -> None:
    """The account keeps the new name then, and all else is as it was; it can be written to."""
    scene = await Scene.on(homeserver)
    slow, quick = Person(scene.slow, "p0"), Person(scene.quick, "p1")
    await slow.users.create(slow.user_type, slow.user())

    async def take() -> None:
        # For whom a password is hashed, what is in the way is looked for before anybody is waited for.
        namesake = quick.user(userName="p0", externalId="p0-external", password="correct horse")
        await quick.users.create(quick.user_type, namesake)

    scene.let(take, before="synapse_scim_journal")
    changed = slow.user(
        id=slow.user_id, userName="new", externalId="x", title="Clerk", photos=[{"value": "mxc://example.org/face"}]
    )
    with pytest.raises(ForbiddenException, match="avatar"):
        await slow.users.update(slow.user_type, changed)

    assert scene.has_happened()
    now: Any = await slow.users.get(slow.user_type, slow.user_id)
    assert (now.user_name, now.external_id, now.title) == ("new", "x", "Boss")
    now.title = "Clerk"
    assert await slow.users.update(slow.user_type, now) == await slow.users.get(slow.user_type, slow.user_id)


async def test_who_is_disabled_anew_gets_the_whole_time(homeserver: LocalHomeserver) -> None:
    """A deactivation that failed is tried again later only if it is still due."""
    scene = await Scene.on(homeserver)
    slow, quick = Person(scene.slow, "p0"), Person(scene.quick, "p0")
    await slow.create()
    homeserver._database.execute("UPDATE synapse_scim_departures SET deactivate_ts = 0")

    async def forbid(*_: object) -> bool:
        return False

    async def come_and_go() -> None:
        await quick.enable()
        await quick.disable()

    homeserver.hs.get_module_api().register_third_party_rules_callbacks(check_can_deactivate_user=forbid)
    scene.let(come_and_go, before="synapse_scim_postpone")
    await scene.slow.store.leavers.deactivate_due()

    assert scene.has_happened()
    [(due_ms,)] = homeserver._database.execute("SELECT deactivate_ts FROM synapse_scim_departures")
    assert due_ms > ts_ms(scene.slow.store.gateway.now() + timedelta(days=29))


async def test_who_has_lost_the_lock_takes_no_further_step(
    homeserver: LocalHomeserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is left is for the next writer: a process that was stopped for a while must not do it once more."""
    scene = await Scene.on(homeserver)
    person = Person(scene.slow, "p0")
    await person.users.create(person.user_type, person.user())

    async def stop_for_a_while() -> None:
        monotonic = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + LEASE_S)

    scene.let(stop_for_a_while, after="synapse_scim_delete")
    await person.delete()

    assert scene.has_happened()
    assert await scene.slow.store.writer.unfinished() == [person.user_id]
    deactivated = "SELECT deactivated FROM users WHERE name = '@p0:example.org'"
    assert homeserver._database.execute(deactivated) == [(0,)]
    await scene.quick.maintenance.in_one_process()
    assert homeserver._database.execute(deactivated) == [(1,)]


@pytest.mark.parametrize(("present", "left"), [("Annie", "Ann"), ("Mine", "Mine")])
async def test_a_name_that_its_owner_chose_since_stays(homeserver: LocalHomeserver, present: str, left: str) -> None:
    """Of a profile, only what the interrupted write made of it is taken back."""
    scene = await Scene.on(homeserver)
    person = Person(scene.slow, "p0")
    await person.users.create(person.user_type, person.user(displayName="Ann"))
    store = person.application.store
    change = SetProfileField(field="displayname", value="Annie", former="Ann")
    await store.gateway.change_profile(person.user_id, attrs.evolve(change, value=present))

    def leave_behind(txn: Transaction) -> None:
        record = store.reader.read(txn, [person.user_id])[person.user_id].record
        assert record is not None
        entry = journal.Entry(former=store.writer.records.columns(record), profile=(change,))
        journal.write(txn, person.user_id, entry, 0)

    await store.database.run("test_leave_behind", leave_behind)
    await person.application.maintenance.in_one_process()

    user: Any = await person.users.get(person.user_type, person.user_id)
    assert user.display_name == left
    assert await store.writer.unfinished() == []
