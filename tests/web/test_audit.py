"""The audit: who wrote what to which account, and how it ended (SPEC, off-boarding and who may call)."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from synapse_scim.application import build
from synapse_scim.audit import Caller
from synapse_scim.module import ScimModule
from synapse_scim.store import audit
from tests.web.audit import ADMIN, JSON, TITLE, events, execute, lines, run, told
from tests.web.clients import (
    ENTERPRISE,
    PATCH,
    Admin,
    assert_error,
    assert_scim,
    bulk_of,
    new_user,
    url_of,
)
from tests.web.life import ANN, OFF, ON, OWN_EMAIL, PERSON
from tests.web.tokens import client, scim_of, token_of

pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.usefixtures("owner")
async def test_each_write_is_one_event(admin: Admin) -> None:
    """Who, with what, in which request, which account, which attributes by name, and that it was done."""
    sent = {**PERSON, "name": {"givenName": "Ann"}, ENTERPRISE: {"department": "X", "costCenter": "7"}}
    ann = await admin.scim.create("ann", **sent)
    await admin.scim.replaced(ANN, {**ann, "displayName": "Anna", ENTERPRISE: {"department": "Y", "costCenter": "7"}})
    await admin.scim.patched(ANN, TITLE, {"op": "replace", "path": "password", "value": "another horse"})
    await admin.scim.patched(ANN, {"op": "remove", "path": 'emails[type eq "work"]'})
    await admin.scim.patched(ANN, OFF)
    assert (await admin.scim.delete(ANN)).status == 204

    kept = list(reversed(await events(admin)))
    assert [(event["operation"], event.get("attributes", [])) for event in kept] == [
        (
            "create",
            [
                "displayName",
                "emails",
                "externalId",
                "name",
                "password",
                "phoneNumbers",
                "title",
                f"{ENTERPRISE}:costCenter",
                f"{ENTERPRISE}:department",
                "userName",
            ],
        ),
        ("replace", ["displayName", f"{ENTERPRISE}:department"]),
        ("patch", ["password", "title"]),
        ("patch", ["emails"]),
        ("patch", ["active"]),
        ("delete", []),
    ]
    for event, method in zip(kept, ("POST", "PUT", "PATCH", "PATCH", "PATCH", "DELETE"), strict=True):
        assert (event["client"], event["credential"], event["account"], event["outcome"]) == (
            ADMIN,
            "access token",
            ANN,
            "done",
        )
        assert event["requestId"].startswith(f"{method}-")
        assert "count" not in event
    assert len({event["id"] for event in kept}) == len(kept)


async def test_the_log_says_the_same_in_a_line(admin: Admin) -> None:
    """The logger `synapse_scim.audit` has each event as a line of JSON, at INFO."""
    await admin.scim.create("ann", **PERSON)
    assert_error(await admin.scim.post("/Users", new_user("ann")), 409, "uniqueness")

    recorded = list(reversed(await events(admin)))
    assert [{k: v for k, v in event.items() if k not in {"id", "time"}} for event in recorded] == lines(admin)
    assert lines(admin)[1] == {
        "client": ADMIN,
        "credential": "access token",
        "requestId": recorded[1]["requestId"],
        "operation": "create",
        "outcome": "refused",
        "status": 409,
        "scimType": "uniqueness",
    }


async def test_nothing_of_anybody_is_kept(admin: Admin) -> None:
    """Names of attributes and accounts, and no value: neither what succeeds nor what is refused says more."""
    await admin.scim.create("ann", **PERSON)
    assert_error(await admin.scim.post("/Users", new_user("ann@secret.example", **PERSON)), 409, "uniqueness")
    assert_error(await admin.scim.put("ann@secret.example", new_user("ann")), 404)
    assert_error(await admin.scim.delete(f"@{'x' * 300}:example.org"), 404)

    kept = json.dumps([await events(admin), lines(admin)])
    assert [event.get("account") for event in await events(admin)] == [None, None, None, ANN]
    assert not {word for word in ("secret", "corp", "30 123", "4930123", "horse", "Boss", "xxx") if word in kept}
    assert admin.token not in kept


async def test_what_changes_nothing_leaves_no_event(admin: Admin) -> None:
    """A PUT of what is there, a search and a read are no writes."""
    ann = await admin.scim.create("ann", **PERSON)
    await admin.scim.replaced(ANN, ann)
    await admin.scim.patched(ANN, ON)
    await admin.scim.users()
    assert_error(await admin.scim.get(url_of("@nobody:example.org")), 404)

    assert await told(admin, "operation") == [("create",)]


@pytest.mark.usefixtures("owner")
async def test_taking_over_and_bringing_back_are_named(admin: Admin) -> None:
    """An account that SCIM did not make is adopted, and only what differs is changed; a deleted one is revived."""
    await admin.synapse.change(ANN, displayname="Ann", threepids=[{"medium": "email", "address": OWN_EMAIL}])
    shown = await admin.scim.read(ANN)
    await admin.scim.replaced(ANN, {**shown, "externalId": "7", "title": "Boss"})
    assert (await admin.scim.delete(ANN)).status == 204
    await admin.scim.create("ann", externalId="7")

    assert await told(admin, "operation", "attributes") == [
        ("adopt", ["externalId", "title"]),
        ("delete", None),
        ("revive", ["active", "emails", "externalId"]),
    ]


CLIENTS = [client("okta"), client("hr", domain="hr")]


@pytest.mark.homeserver(module_config={"protected": ["@boss:.*"], "clients": CLIENTS})
async def test_refusals_are_kept_with_their_reason(admin: Admin) -> None:
    """Whatever a client is refused that would have written: with the status and the scimType that it was told."""
    okta, hr = (scim_of(admin.homeserver, token_of(name)) for name in ("okta", "hr"))
    await admin.synapse.change("@boss:example.org", displayname="Boss")
    await okta.create("ann")
    assert_error(await hr.patch(ANN, TITLE), 403)
    assert_error(await okta.put("@boss:example.org", new_user("boss")), 403)
    assert_error(await okta.delete(ADMIN), 403)
    assert_error(await okta.put(ANN, new_user("")), 400, "invalidValue")
    assert_error(await okta.patch(ANN, TITLE, headers={"If-Match": 'W/"old"'}), 412)
    assert_error(await okta.post("/Users", {"schemas": ["x"]}), 400, "invalidValue")
    assert_error(await okta.request("POST", "/Users", body=b"{", headers=JSON), 400, "invalidSyntax")
    assert_error(await okta.post("/Bulk", {"Operations": "x"}), 400, "invalidValue")
    assert_error(await admin.scim.request("DELETE", "/Me"), 403)

    assert await told(admin, "client", "credential", "operation", "account", "status", "scimType") == [
        ("okta", "client token", "create", ANN, None, None),
        ("hr", "client token", "patch", ANN, 403, None),
        ("okta", "client token", "replace", "@boss:example.org", 403, None),
        ("okta", "client token", "delete", ADMIN, 403, None),
        ("okta", "client token", "replace", ANN, 400, "invalidValue"),
        ("okta", "client token", "patch", ANN, 412, None),
        ("okta", "client token", "create", None, 400, "invalidValue"),
        ("okta", "client token", "create", None, 400, "invalidSyntax"),
        ("okta", "client token", "bulk", None, 400, "invalidValue"),
        (ADMIN, "access token", "delete", ADMIN, 403, None),
    ]
    assert {outcome for (outcome,) in (await told(admin, "outcome"))[1:]} == {"refused"}


@pytest.mark.homeserver(module_config={"clients": [client("okta", scopes=["users:read"])]})
async def test_lack_of_a_scope_is_kept(admin: Admin) -> None:
    """A client that may only read, and wants to write; nobody's token is nobody's event."""
    assert_error(await scim_of(admin.homeserver, token_of("okta")).post("/Users", new_user("ann")), 403)
    assert_error(await scim_of(admin.homeserver, "wrong").post("/Users", new_user("ann")), 401)

    assert await told(admin, "client", "operation", "status") == [("okta", "create", 403)]


@pytest.mark.homeserver(module_config={"read_only": True})
async def test_what_the_configuration_forbids_is_kept(admin: Admin) -> None:
    """With `read_only` too it is seen who would have written."""
    assert_error(await admin.scim.post("/Users", new_user("ann")), 403)
    assert_error(await admin.scim.post("/Bulk", bulk_of()), 403)

    assert await told(admin, "operation", "status") == [("create", 403), ("bulk", 403)]


async def test_repeated_refusals_are_counted(admin: Admin) -> None:
    """What a client is refused again and again is one event, that says since when, until when and how often."""
    await admin.synapse.change(ANN, admin=True)
    for _ in range(3):
        assert_error(await admin.scim.patch(ANN, TITLE), 403)
    assert_error(await admin.scim.delete(ANN), 403)

    deleting, patching = await events(admin)
    assert (deleting["operation"], deleting.get("count")) == ("delete", None)
    assert (patching["operation"], patching["count"]) == ("patch", 3)
    assert patching["first"] < patching["time"]
    # The request is the last one.
    assert patching["requestId"] == lines(admin)[2]["requestId"]


async def test_each_hour_counts_anew(admin: Admin) -> None:
    """What goes on for hours is seen to."""
    # In a year whose events are not too old to be kept.
    database = build(ScimModule.parse_config({}), admin.homeserver.hs).store.database
    event = Caller(client="okta").event("delete", ANN)
    for hour, minute in ((1, 0), (1, 59), (2, 0)):
        await database.run("test", audit.count, [event], datetime(2099, 1, 1, hour, minute, tzinfo=UTC))

    assert await told(admin, "first", "time", "count") == [
        ("2099-01-01T01:00:00Z", "2099-01-01T01:59:00Z", 2),
        (None, "2099-01-01T02:00:00Z", None),
    ]


async def test_the_operations_of_a_bulk_are_events_of_one_request(admin: Admin) -> None:
    """Each leaves one, done or refused, and all name the same request."""
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": "a", "data": new_user("ann")},
        {"method": "POST", "path": "/Users", "bulkId": "b", "data": new_user("ann")},
        {"method": "PATCH", "path": "/Users/bulkId:a", "data": {"schemas": [PATCH], "Operations": [TITLE]}},
        {"method": "PUT", "path": f"/Users/{ANN}", "data": {"title": 7}},
        {"method": "DELETE", "path": f"/Users/{ADMIN}"},
        {"method": "DELETE", "path": f"/Users/{ADMIN}"},
        {"method": "DELETE", "path": f"/Users/{ANN}"},
        {"path": "/Users"},
    ]
    answer = assert_scim(await admin.scim.post("/Bulk", bulk_of(*operations)), 200)
    statuses = [operation["status"] for operation in answer["Operations"]]
    assert statuses == ["201", "409", "200", "400", "403", "403", "204", "400"]

    kept = await events(admin)
    assert len({event["requestId"] for event in kept}) == 1
    assert sorted((e["operation"], e.get("account", ""), e.get("status", 0), e.get("count", 1)) for e in kept) == [
        ("bulk", "", 400, 1),
        ("create", "", 409, 1),
        ("create", ANN, 0, 1),
        ("delete", ADMIN, 403, 2),
        ("delete", ANN, 0, 1),
        ("patch", ANN, 0, 1),
        ("replace", ANN, 400, 1),
    ]


@pytest.mark.homeserver(module_config={"guard": {"max": 0, "at_least": 0}})
async def test_the_guard_leaves_events(admin: Admin) -> None:
    """What it refuses is kept, and so is what an administrator lets pass on the command line."""
    await admin.scim.create("ann")
    for _ in range(2):
        assert_error(await admin.scim.patch(ANN, OFF), 429)
    said = await run(admin, "guard", "allow", "1")
    assert said.exit_code == 0
    await admin.scim.patched(ANN, OFF)

    assert (await told(admin, "client", "operation", "account", "outcome", "status", "count"))[1:] == [
        (ADMIN, "patch", ANN, "refused", 429, 2),
        ("command line", "guard_allow 1", None, "done", None, None),
        (ADMIN, "patch", ANN, "done", None, None),
    ]


async def test_a_flood_of_refusals_fills_no_table(admin: Admin) -> None:
    """Of one client in one hour a process tells a thousand accounts apart; what goes beyond is counted together."""
    trail = build(ScimModule.parse_config({}), admin.homeserver.hs).endpoint.observer.trail
    caller = Caller(client="okta")
    await trail.add([caller.event("delete", f"@a{number}:example.org") for number in range(1500)])
    await trail.add([caller.event("delete", f"@a{number}:example.org") for number in (7, 1400)])
    await trail.add([Caller(client="hr").event("delete", "@a1400:example.org")])

    pages = [await events(admin, client="okta", count=1000)]
    pages.append(await events(admin, client="okta", count=1000, until=pages[0][-1]["time"]))
    named = {event.get("account"): event.get("count", 1) for event in pages[0] + pages[1]}
    assert named[None] == 501
    assert await told(admin, "account", client="hr") == [("@a1400:example.org",)]


@pytest.mark.expected_errors("could not be recorded", "synapse_scim_audit", "bug of synapse-scim")
@pytest.mark.usefixtures("owner")
async def test_no_write_without_its_event(admin: Admin) -> None:
    """Where the audit cannot be written nothing is written; what is refused is refused all the same."""
    await admin.scim.create("ann")
    await execute(admin, "ALTER TABLE synapse_scim_audit RENAME TO gone")
    try:
        assert_error(await admin.scim.patch(ANN, TITLE), 500)
        assert "title" not in await admin.scim.read(ANN)
        assert_error(await admin.scim.post("/Users", new_user("ann")), 409, "uniqueness")
    finally:
        await execute(admin, "ALTER TABLE gone RENAME TO synapse_scim_audit")
    await admin.scim.patched(ANN, TITLE)
