"""How the database is asked: as often as must be, whatever the number of accounts, and by indexes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scim2_models import SearchRequest, TooManyException
from synapse.logging.context import LoggingContext, current_context
from synapse.metrics.background_process_metrics import BackgroundProcessLoggingContext
from twisted.internet.defer import Deferred

from synapse_scim.application import build
from synapse_scim.config import Config, Sso
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.mapping.identifiers import fold
from synapse_scim.store.creation import what_is_there
from synapse_scim.store.rights import Rights
from synapse_scim.store.search import Page
from synapse_scim.store.sql import Sql
from synapse_scim.store.users import UserStorage
from synapse_scim.subject import Subject
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.web.clients import Admin, assert_scim, new_user, url_of

pytestmark = pytest.mark.usefixtures("engine")


class Statements(logging.Handler):
    """Keeps the names of the transactions of which statements are run."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        super().__init__(logging.DEBUG)
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the name of the transaction of a statement, unless it only tells how another one is to be run.

        What Synapse, and the module after its start, do in the background does not count.
        """
        message = record.getMessage()
        if message.startswith("[SQL] {") and "} PREPARE " not in message and not _is_in_background():
            self.names.append(message[7:].partition("-")[0])


def _is_in_background() -> bool:
    """Tell whether what is done now is done for no request."""
    context: object = current_context()
    while isinstance(context, LoggingContext):
        if isinstance(context, BackgroundProcessLoggingContext):
            return True
        context = context.parent_context
    return False


@contextmanager
def statements() -> Iterator[list[str]]:
    """Watch the statements that Synapse runs, by the names of their transactions."""
    logger, handler = logging.getLogger("synapse.storage.SQL"), Statements()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler.names
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)


async def people(admin: Admin, numbers: range) -> None:
    """Make people who have a bit of everything."""
    for number in numbers:
        await admin.scim.create(
            f"person{number}",
            externalId=f"e{number}",
            emails=[{"value": f"person{number}@x.example", "type": "work"}],
            photos=[{"value": "mxc://example.org/face"}],
            title="Dr",
        )


async def test_reading_costs_the_same_whoever_else_there_is(admin: Admin) -> None:
    """No statement is run for each listed account, and reading one takes few."""
    counts = []
    for numbers in (range(3), range(3, 12)):
        await people(admin, numbers)
        person = (await admin.scim.users(filter='userName eq "person2"'))[0]
        queries: dict[str, dict[str, Any]] = {
            "page": {"count": 1000},
            "cursor": {"count": 5, "cursor": ""},
            "eq": {"filter": 'emails.value eq "person2@x.example"'},
            "co": {"filter": 'userName co "person" and title eq "Dr"', "sortBy": "displayName"},
        }
        counted = {}
        for name, params in queries.items():
            with statements() as names:
                assert_scim(await admin.scim.get("/Users", params=params), 200)
            counted[name] = len([ran for ran in names if ran.startswith("synapse_scim")])
        with statements() as names:
            assert_scim(await admin.scim.get(url_of(person["id"])), 200)
        counted["read"] = len([ran for ran in names if ran.startswith("synapse_scim")])
        counts.append(counted)

    assert counts[0] == counts[1]
    assert max(counts[0].values()) <= 5
    assert counts[0]["read"] <= 2


async def test_what_changes_nothing_is_not_written(admin: Admin) -> None:
    """A PUT of what is there reads, and neither registers nor changes anything."""
    await people(admin, range(1))
    person = (await admin.scim.users(filter='userName eq "person0"'))[0]

    with statements() as names:
        assert await admin.scim.replaced(person["id"], person) == person

    assert "synapse_scim_update" not in names
    assert not {name for name in names if "profile" in name}


async def test_a_put_reads_the_account_once(admin: Admin) -> None:
    """What is there is read under the lock, and not before; the answer needs no further look."""
    await people(admin, range(1))
    person = (await admin.scim.users(filter='userName eq "person0"'))[0]

    for title in ("Dr", "Prof"):
        with statements() as names:
            await admin.scim.replaced(person["id"], {**person, "title": title})
        assert names.count("synapse_scim_read") <= 4


@pytest.mark.homeserver(module_config={"sso": {"idp_id": "oidc"}})
async def test_a_creation_adds_two_transactions_to_the_registration(admin: Admin) -> None:
    """What may be in the way is looked for where the names are reserved, and the User is shown without a further look.

    Nothing more is asked of Synapse than a registration is; how the new account is, it need not ask.
    """
    with statements() as names:
        await admin.homeserver.register("ann", display_name="Ann")
    registration = Counter(name for name in names if not name.startswith(("synapse_scim", "INVITE")))

    with statements() as names:
        await admin.scim.create(
            "bob",
            externalId="e1",
            emails=[{"value": "bob@x.example", "type": "work"}],
            phoneNumbers=[{"value": "+49 30 123456"}],
        )

    ours = Counter(name for name in names if name.startswith("synapse_scim"))
    assert ours.keys() == {"synapse_scim_reserve", "synapse_scim_conclude"}
    assert ours["synapse_scim_reserve"] <= 7
    assert ours["synapse_scim_conclude"] <= 5
    at_hand = {"get_user_deactivated_status", "is_support_user"}
    assert at_hand <= registration.keys()
    assert at_hand.isdisjoint(names)
    assert Counter(names) - ours <= registration


async def test_who_is_there_already_is_found_by_one_transaction(admin: Admin) -> None:
    """To refuse a userName that somebody has takes no more than to find out."""
    await admin.scim.create("ann")

    with statements() as names:
        assert_scim(await admin.scim.post("/Users", new_user("ann")), 409)

    assert {name for name in names if name.startswith("synapse_scim")} == {"synapse_scim_reserve", "synapse_scim_audit"}


async def test_a_new_display_name_takes_two_transactions_around_the_profile(admin: Admin) -> None:
    """It is recorded before the profile is changed, and certain after it."""
    await people(admin, range(1))
    person = (await admin.scim.users(filter='userName eq "person0"'))[0]

    with statements() as names:
        await admin.scim.patched(person["id"], {"op": "replace", "path": "displayName", "value": "Ann"})

    ours = Counter(name for name in names if name.startswith("synapse_scim"))
    assert ours.keys() == {"synapse_scim_read", "synapse_scim_update", "synapse_scim_settle"}
    assert ours.total() <= 9
    # Of somebody who is in no room, none is told.
    assert not [name for name in names if "task" in name or "lock" in name]


async def test_a_change_of_what_matrix_does_not_know_is_one_transaction(admin: Admin) -> None:
    """A new title touches neither the profile nor anything else of Synapse's."""
    await people(admin, range(1))
    person = (await admin.scim.users(filter='userName eq "person0"'))[0]

    with statements() as names:
        await admin.scim.patched(person["id"], {"op": "replace", "path": "title", "value": "Prof"})

    assert {name for name in names if name.startswith("synapse_scim")} == {"synapse_scim_read", "synapse_scim_update"}
    assert not {name for name in names if "profile" in name or "user_dir" in name}


LOOKUPS = (
    'id eq "@person1:example.org"',
    'userName eq "PERSON1"',
    'externalId eq "e1"',
    'emails.value eq "person1@x.example"',
    'emails[type eq "work" and value eq "person1@x.example"]',
    'phoneNumbers.value eq "+4930123456"',
    'title eq "Dr"',
    'userName eq "a" or externalId eq "b"',
    'userName eq "a" and title co "b"',
    'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber eq "7"',
)


async def plan_of(homeserver: LocalHomeserver, engine: str, query: Sql) -> str:
    """Return how the database would run a query, if it had to do without reading whole tables where it can."""

    def explain(txn: Any) -> str:
        if engine == "postgres":
            txn.execute("SET LOCAL enable_seqscan = off")
            txn.execute("SET LOCAL enable_bitmapscan = off")
            txn.execute("SET LOCAL enable_sort = off")
            txn.execute(f"EXPLAIN {query.text}", query.parameters)
        else:
            txn.execute(f"EXPLAIN QUERY PLAN {query.text}", query.parameters)
        return "\n".join(str(row[-1]) for row in txn.fetchall())

    plan: str = await homeserver.hs.get_datastores().main.db_pool.runInteraction("explain", explain)
    return plan


async def test_what_may_be_in_the_way_is_looked_for_by_indexes(admin: Admin, engine: str) -> None:
    """A creation reads no table from end to end to find out whether its names are free."""
    query = what_is_there("@a:example.org", "a", ("e1", "default"), "hash", ["4930123456", "4930654321"])

    plan = await plan_of(admin.homeserver, engine, query)

    assert "Seq Scan" not in plan, plan
    assert "SCAN" not in plan, plan


@pytest.mark.parametrize("scim_filter", LOOKUPS)
async def test_lookups_use_indexes(admin: Admin, engine: str, scim_filter: str) -> None:
    """A filter with an `eq` that identifies somebody starts from an index, and reads no table from end to end."""
    application = build(Config(sso=Sso(providers={"default": "oidc"})), admin.homeserver.hs)
    store = application.store
    await application.maintenance.start()
    rights = Rights(subject=Subject(name="x"), protected=(), users=store.users)
    request = SearchRequest[Any].model_validate({"filter": scim_filter})

    plan = await plan_of(admin.homeserver, engine, store.search.page(store.search.query(request, rights), limit=100))

    assert "Seq Scan" not in plan, plan
    # What is called e, c and f are the results of queries.
    scans = {line for line in plan.splitlines() if line.startswith("SCAN")} - {"SCAN e", "SCAN c", "SCAN f"}
    assert scans == set(), plan
    assert "(medium=?)" not in plan, plan


async def test_pages_by_cursor_follow_the_index_of_accounts(admin: Admin, engine: str) -> None:
    """A page by cursor starts where the former one ended, and sorts nothing but, on SQLite, itself."""
    store = build(Config(), admin.homeserver.hs).store
    rights = Rights(subject=Subject(name="x"), protected=(), users=store.users)
    query = store.search.query(SearchRequest[store.model](), rights)  # type: ignore[name-defined]
    page = store.search.page(query, Sql("user_id > ?", ("@b",)), limit=100)

    plan = await plan_of(admin.homeserver, engine, page)

    assert "Seq Scan on users" not in plan, plan
    assert "TEMP B-TREE" not in plan.rpartition("\n")[0], plan
    assert "Sort" not in plan, plan


CASE_LOOKUP = Sql("SELECT name FROM users WHERE lower(name) = lower(?)", ("@a:example.org",))


@pytest.mark.homeserver(module_config={"allow_synapse_indexes": True})
async def test_registrations_use_an_index_where_that_is_allowed(admin: Admin, engine: str) -> None:
    """With `allow_synapse_indexes` Synapse's own search for a name without regard to case has an index."""
    await build(Config(allow_synapse_indexes=True), admin.homeserver.hs).maintenance.start()

    assert "synapse_scim_users_lower_name" in await plan_of(admin.homeserver, engine, CASE_LOOKUP)


@pytest.mark.homeserver(engine="postgres")
async def test_an_index_whose_making_was_interrupted_is_made_anew(start_homeserver: StartHomeserver) -> None:
    """PostgreSQL keeps what it could not finish, and does not use it."""
    homeserver = await start_homeserver(engine="postgres", module=None)
    database = HomeserverDatabase(homeserver.hs, fold)
    await database.index_user_ids()
    pool = homeserver.hs.get_datastores().main.db_pool
    broken = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'synapse_scim_users_lower_name'::regclass"
    await pool.runInteraction("break", lambda txn: txn.execute(broken))

    await database.index_user_ids()

    assert "synapse_scim_users_lower_name" in await plan_of(homeserver, "postgres", CASE_LOOKUP)


async def test_synapses_tables_stay_as_they_are_by_default(admin: Admin, engine: str) -> None:
    """Without it, nothing is added to Synapse's tables."""
    assert "synapse_scim" not in await plan_of(admin.homeserver, engine, CASE_LOOKUP)


async def test_scans_leave_the_homeserver_threads(admin: Admin) -> None:
    """Two filters that look at every account run at a time; whoever looks somebody up does not wait for them."""
    await admin.scim.create("ann")
    application = build(Config(), admin.homeserver.hs)
    await application.maintenance.start()
    store = application.store
    rights = Rights(subject=Subject(name="okta"), protected=(), users=store.users)

    def search(scim_filter: str) -> Deferred[Page]:
        request = SearchRequest[Any].model_validate({"filter": scim_filter})
        return Deferred.fromCoroutine(store.search.run(request, rights, None))

    async with store.database.scanning(), store.database.scanning():
        third = search('userName co "a"')
        assert (await search('userName eq "ann"')).total == 1
        assert not third.called
    assert (await third).total == 2


async def test_a_search_that_takes_too_long_is_ended(admin: Admin) -> None:
    """It is 400 `tooMany` (RFC 7644 §3.4.2.2); whoever looks somebody up is not concerned, and the database goes on."""
    await people(admin, range(9))
    hs = admin.homeserver.hs
    application = build(Config(), hs, database=HomeserverDatabase(hs, fold, scan_limit_s=0))
    await application.maintenance.start()
    store = application.store
    users = UserStorage(store, Rights(subject=Subject(name="okta"), protected=(), users=store.users))
    long = " or ".join(f'userName co "{number}"' for number in range(200))

    for request in ({"filter": long}, {"filter": long, "cursor": ""}):
        search = SearchRequest[Any].model_validate(request)
        with pytest.raises(TooManyException, match="was ended after 0 seconds"):
            await users.search([*application.provider.resource_types], search)
    lookup = SearchRequest[Any].model_validate({"filter": 'userName eq "person1"'})
    assert (await users.search([*application.provider.resource_types], lookup)).total == 1
    assert len(await admin.scim.users(filter=long)) == 9


async def test_other_errors_of_a_search_are_errors(admin: Admin) -> None:
    """What the database says of a statement that is wrong is not taken for a search that took too long."""
    database = HomeserverDatabase(admin.homeserver.hs, fold)

    def wrong(txn: Any) -> None:
        with database.bounded(txn):
            txn.execute("SELECT 1 FROM nothing_of_that_name")

    with pytest.raises(Exception, match="nothing_of_that_name"):
        await database.run("wrong", wrong)
