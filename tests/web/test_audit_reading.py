"""Reading the audit, and how long it is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from synapse_scim.application import build
from synapse_scim.module import ScimModule
from synapse_scim.store import audit
from synapse_scim.store.audit import Wanted
from tests.support.configuration import http_listener, scim_module
from tests.support.homeserver import StartHomeserver
from tests.web.audit import ADMIN, TITLE, events, execute, run, told
from tests.web.clients import (
    Admin,
    assert_error,
    assert_scim,
    new_user,
)
from tests.web.life import ANN, OFF, PERSON
from tests.web.test_plans import plan_of, statements
from tests.web.tokens import client, scim_of, token_of

pytestmark = pytest.mark.usefixtures("engine")


async def test_events_are_kept_for_a_time(admin: Admin) -> None:
    """Those older than `audit.keep` go, however many they are; later ones stay."""
    await admin.scim.create("ann")
    await execute(
        admin,
        "INSERT INTO synapse_scim_audit (event_id, ts, first_ts, occurrences, client, operation, attributes, outcome)"
        " WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 2500)"
        " SELECT CAST(number AS TEXT), number, number, 1, 'old', 'create', '', 'done' FROM numbers",
    )
    assert len(await events(admin, client="old", count=1000)) == 1000

    await build(ScimModule.parse_config({"audit": {"keep": "1d"}}), admin.homeserver.hs).maintenance.start()

    assert await told(admin, "operation", "account") == [("create", ANN)]
    await execute(admin, "UPDATE synapse_scim_audit SET ts = ts - 2 * 86400000")
    await build(ScimModule.parse_config({}), admin.homeserver.hs).maintenance.start()
    assert await told(admin, "operation", "account") == [("create", ANN)]


@pytest.mark.homeserver(module_config={"clients": [client("okta")]})
async def test_events_are_found_by_client_account_and_time(admin: Admin) -> None:
    """The parameters restrict together; a page leads to the next, and each event stands on one."""
    okta = scim_of(admin.homeserver, token_of("okta"))
    for name in ("ann", "bob"):
        await okta.create(name)
        await admin.scim.patched(f"@{name}:example.org", TITLE)
    everything = await events(admin)
    times = [event["time"] for event in everything]
    assert times == sorted(times, reverse=True)

    assert await told(admin, "client", "account", client="okta") == [("okta", ANN), ("okta", "@bob:example.org")]
    assert await told(admin, "client", "account", client="okta", account=ANN) == [("okta", ANN)]
    assert await told(admin, "operation", account=ANN) == [("create",), ("patch",)]
    assert await events(admin, client="nobody") == []
    assert await events(admin, since=times[1]) == [event for event in everything if event["time"] >= times[1]]
    assert await events(admin, until=times[1]) == [event for event in everything if event["time"] < times[1]]
    assert await events(admin, since="2000-01-01T00:00:00+02:00", until="2001-01-01T00:00:00Z") == []

    walked: list[dict[str, Any]] = []
    cursor = ""
    for expected in (3, 1):
        page = assert_scim(await admin.scim.get("/AuditEvents", params={"count": 3, "cursor": cursor}), 200)
        assert page["itemsPerPage"] == len(page["Resources"]) == expected
        walked += page["Resources"]
        cursor = page.get("nextCursor", "")
    assert (walked, cursor) == (everything, "")


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(client="okta"),
        Wanted(user_id=ANN, since=datetime(2026, 1, 1, tzinfo=UTC)),
        Wanted(client="okta", after=(7, "a")),
    ],
)
async def test_reading_follows_an_index(admin: Admin, engine: str, wanted: Wanted) -> None:
    """However long the audit is: a page is found, not searched for."""
    plan = await plan_of(admin.homeserver, engine, audit.query(wanted, 100))

    assert "synapse_scim_audit_" in plan, plan
    assert not {word for word in ("Seq Scan", "Sort", "TEMP B-TREE") if word in plan}, plan


async def test_a_write_takes_no_transaction_more(admin: Admin) -> None:
    """What succeeds is recorded in a transaction that there is anyway."""
    with statements() as names:
        await admin.scim.create("ann", **PERSON)
        await admin.scim.patched(ANN, TITLE)
        await admin.scim.patched(ANN, OFF)
        assert (await admin.scim.delete(ANN)).status == 204

    assert not [name for name in names if "audit" in name]
    assert len(await events(admin)) == 4


async def test_what_makes_no_sense_is_refused(admin: Admin) -> None:
    """A parameter that is unknown or cannot be read is named, instead of being passed over."""
    for name, value in (
        ("acount", ANN),
        ("filter", 'client eq "x"'),
        ("since", "yesterday"),
        ("since", "2026-01-01T00:00:00"),
        ("until", ""),
        ("count", "0"),
        ("count", "-1"),
        ("count", "many"),
        ("count", "9" * 5000),
    ):
        assert_error(await admin.scim.get("/AuditEvents", params={name: value}), 400, "invalidValue", name)
    for cursor in ("x", "1-2", f"{'9' * 40}-{'a' * 32}", f"1-{'a' * 32}'"):
        answer = await admin.scim.get("/AuditEvents", params={"cursor": cursor})
        assert_error(answer, 400, "invalidCursor", "cursor")
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        refused = await admin.scim.request(method, "/AuditEvents", {})
        assert_error(refused, 405)
        assert refused.headers["allow"] == "GET"
    assert_error(await admin.scim.get("/AuditEvents/1"), 404)


@pytest.mark.homeserver(module_config={"clients": [client("okta")]})
async def test_the_audit_is_for_server_administrators(admin: Admin) -> None:
    """No client reads it, nobody who is unknown does, and discovery does not speak of it."""
    okta = scim_of(admin.homeserver, token_of("okta"))
    assert_error(await okta.get("/AuditEvents"), 403)
    assert_error(await scim_of(admin.homeserver, "wrong").get("/AuditEvents"), 401)
    for path in ("/ResourceTypes", "/Schemas", "/ServiceProviderConfig"):
        assert b"Audit" not in (await admin.scim.get(path)).body
    assert await events(admin) == []


async def test_the_command_line_reads_it_too(admin: Admin) -> None:
    """`synapse-scim audit` shows the same, each event as a line, for those who have no token at hand."""
    await admin.scim.create("ann")
    await admin.scim.create("bob")
    bob, ann = await events(admin)

    said = await run(admin, "audit")
    assert [json.loads(line) for line in said.output.splitlines()] == [bob, ann]
    for arguments, found in (
        (("--account", ANN), [ann]),
        (("--count", "1"), [bob]),
        (("--client", "nobody"), []),
        (("--until", "2001-01-01T00:00:00Z"), []),
        (("--since", "2001-01-01T00:00:00Z", "--client", ADMIN, "--count", "1"), [bob]),
    ):
        assert [json.loads(line) for line in (await run(admin, "audit", *arguments)).output.splitlines()] == found
    assert "such as 2027" in (await run(admin, "audit", "--since", "2001-01-01")).output


async def test_requests_are_named_as_synapse_names_them(start_homeserver: StartHomeserver) -> None:
    """A header may give the name (`request_id_header`): what of it is fit to be kept, and not more."""
    listener = http_listener("client")
    listener["http_options"] = {}
    listener["request_id_header"] = "X-Request"
    admin = await Admin.of(await start_homeserver(module=scim_module(), listeners=[listener]))
    long = "a\x7fb\xe9 " + "c" * 1000
    assert_scim(await admin.scim.post("/Users", new_user("ann"), headers={"X-Request": long}), 201)

    ((kept,),) = await told(admin, "requestId")
    assert kept.startswith("POST-ab c")
    assert set(kept[7:]) == {" ", "c"}
    assert 90 < len(kept) <= 100
