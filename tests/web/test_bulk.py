"""Many operations in one request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.homeserver import LocalHomeserver
from tests.web.clients import (
    ENTERPRISE,
    ERROR,
    SERVER,
    STABLE,
    UNSTABLE,
    Admin,
    Scim,
    Synapse,
    assert_error,
    assert_scim,
    bulk_of,
    new_user,
    patch_of,
)

pytestmark = pytest.mark.usefixtures("owner")


def create(bulk_id: str, user_name: Any, **attributes: Any) -> dict[str, Any]:
    """Return an operation that makes a User."""
    return {"method": "POST", "path": "/Users", "bulkId": bulk_id, "data": new_user(user_name, **attributes)}


async def run(scim: Scim, *operations: Any, **more: Any) -> list[dict[str, Any]]:
    """Send a bulk request, which must be carried out, and return the results in order."""
    body = assert_scim(await scim.post("/Bulk", bulk_of(*operations, **more)), 200)
    assert body["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:BulkResponse"]
    results: list[dict[str, Any]] = body["Operations"]
    return results


def statuses(results: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """Return status and scimType of each result, and check the form of those that failed (RFC 7644 §3.7.3)."""
    for result in results:
        if not result["status"].startswith("2"):
            assert result["response"]["schemas"] == [ERROR]
            assert result["response"]["status"] == result["status"]
            assert result["response"]["detail"]
    return [(result["status"], result.get("response", {}).get("scimType")) for result in results]


async def test_operations_are_carried_out(scim: Scim, synapse: Synapse) -> None:
    """Each result has method, status, location and version, a new one its bulkId (RFC 7644 §3.7)."""
    bob = await scim.create("bob", title="x")
    cat = await scim.create("cat")

    results = await run(
        scim,
        create("a", "ann", emails=[{"value": "ann@corp.example"}], password="correct horse"),
        {"method": "PUT", "path": f"/Users/{bob['id']}", "data": new_user("bob", title="Dr")},
        {
            "method": "patch".upper(),
            "path": f"/Users/{bob['id']}",
            "data": patch_of({"op": "add", "path": "nickName", "value": "B"}),
        },
        {"method": "DELETE", "path": f"/Users/{cat['id']}"},
    )

    assert [(r["method"], r["status"]) for r in results] == [
        ("POST", "201"),
        ("PUT", "200"),
        ("PATCH", "200"),
        ("DELETE", "204"),
    ]
    ann, bob = await scim.read("@ann:example.org"), await scim.read(bob["id"])
    assert (results[0]["bulkId"], results[0]["version"]) == ("a", ann["meta"]["version"])
    assert results[0]["location"] == ann["meta"]["location"]
    assert results[2]["version"] == bob["meta"]["version"]
    assert results[3]["location"] == cat["meta"]["location"]
    assert (bob["title"], bob["nickName"]) == ("Dr", "B")
    assert await scim.names('userName eq "cat"') == []
    assert (await synapse.login("ann", "correct horse")).status == 200


async def test_new_users_can_refer_to_each_other(scim: Scim) -> None:
    """`bulkId:` stands for the id of a User of the same request, made before or after (RFC 7644 §3.7.2)."""
    results = await run(
        scim,
        create("worker", "ann", **{ENTERPRISE: {"manager": {"value": "bulkId:boss"}}}),
        create("boss", "boss", **{ENTERPRISE: {"manager": {"value": "bulkId:top"}}}),
        create("top", "top/1"),
        {
            "method": "PATCH",
            "path": "/Users/bulkId:top",
            "data": patch_of({"op": "add", "path": "title", "value": "CEO"}),
        },
        {
            "method": "PATCH",
            "path": "/Users/bulkId:boss",
            "data": patch_of({"op": "add", "path": f"{ENTERPRISE}:department", "value": "X"}),
        },
    )

    assert statuses(results) == [("201", None)] * 3 + [("200", None)] * 2
    assert (await scim.read("@ann:example.org"))[ENTERPRISE]["manager"] == {
        "value": "@boss:example.org",
        "$ref": f"{SERVER}{STABLE}/Users/@boss:example.org",
    }
    boss = (await scim.read("@boss:example.org"))[ENTERPRISE]
    assert (boss["manager"]["value"], boss["department"]) == ("@top=2f1:example.org", "X")
    assert (await scim.read("@top=2f1:example.org"))["title"] == "CEO"


async def test_references_that_cannot_be_resolved(scim: Scim) -> None:
    """A bulkId that nobody has, of a failed operation, or in a circle is 409, and that operation leaves nothing.

    RFC 7644 §3.7.1 lets a server stop there.
    """
    results = await run(
        scim,
        create("a", "ann", **{ENTERPRISE: {"manager": {"value": "bulkId:b"}}}),
        create("b", "bob", **{ENTERPRISE: {"manager": {"value": "bulkId:a"}}}),
        create("c", "cat", **{ENTERPRISE: {"manager": {"value": "bulkId:c"}}}),
        create("d", "dan", **{ENTERPRISE: {"manager": {"value": "bulkId:nobody"}}}),
        create("e", " "),
        create("f", "fay", **{ENTERPRISE: {"manager": {"value": "bulkId:e"}}}),
        create("g", "gus"),
        create("g", "gil"),
    )

    found = [result["status"] for result in results]
    assert found[2:7] == ["409", "409", "400", "409", "201"]
    assert set(found[:2]) == {"409"}
    assert found[7].startswith("4")
    assert sorted(await scim.names()) == ["admin", "gus"]


async def test_one_failure_is_its_own(scim: Scim) -> None:
    """Operations fail alone, each as its request would, and the others go on (RFC 7644 §3.7.3)."""
    await scim.create("bob", externalId="8")
    title = patch_of({"op": "add", "path": "title", "value": "x"})
    operations: list[tuple[Any, tuple[str, str | None]]] = [
        (create("1", "BOB"), ("409", "uniqueness")),
        (create("2", "ann", externalId="8"), ("409", "uniqueness")),
        (create("3", ""), ("400", "invalidValue")),
        (create("5", "ann", active="perhaps"), ("400", "invalidValue")),
        ({"method": "PATCH", "path": "/Users/@nobody:example.org", "data": title}, ("404", None)),
        ({"method": "DELETE", "path": "/Users/@nobody:example.org"}, ("404", None)),
        ({"method": "PATCH", "path": "/Users/@admin:example.org", "data": title}, ("403", None)),
        ({"method": "DELETE", "path": "/Users/@bob:example.org", "version": 'W/"old"'}, ("412", None)),
        ({"method": "POST", "path": "/Groups", "bulkId": "6", "data": {"displayName": "x"}}, ("404", None)),
        (create("7", "cat"), ("201", None)),
    ]

    results = await run(scim, *(operation for operation, _ in operations))

    assert statuses(results) == [expected for _, expected in operations]
    assert all("location" in result for result in results if result["method"] != "POST" or result["status"] == "201")
    assert sorted(await scim.names()) == ["admin", "bob", "cat"]


async def test_text_that_cannot_be_stored_fails_alone(scim: Scim) -> None:
    """One person's NUL does not keep a thousand others out (RFC 7644 §3.7.3)."""
    results = await run(
        scim, create("1", "ann", title="a\x00b"), create("2", "bob"), create("3", "cat", title="\ud800")
    )

    assert statuses(results) == [("400", "invalidValue"), ("201", None), ("400", "invalidValue")]
    assert "title" in results[0]["response"]["detail"]


async def test_operations_that_are_none(scim: Scim) -> None:
    """An operation without method, path, bulkId or data, or with a wrong one, is 400 or 404 alone (RFC 7644 §3.7)."""
    user = new_user("ann")
    wrong: list[Any] = [
        {"path": "/Users", "bulkId": "1", "data": user},
        {"method": "POST", "bulkId": "2", "data": user},
        {"method": "POST", "path": "/Users", "data": user},
        {"method": "POST", "path": "/Users", "bulkId": "3"},
        {"method": "POST", "path": "/Users", "bulkId": "4", "data": []},
        {"method": "POST", "path": "/Users", "bulkId": 5, "data": user},
        {"method": "GET", "path": "/Users/@admin:example.org"},
        {"method": "FETCH", "path": "/Users", "bulkId": "6", "data": user},
        {"method": "POST", "path": "/Users/.search", "bulkId": "7", "data": {}},
        {"method": "POST", "path": "/Bulk", "bulkId": "8", "data": {}},
        {"method": "POST", "path": "/Me", "bulkId": "9", "data": user},
        {"method": "DELETE", "path": "/Me"},
        {"method": "DELETE", "path": "/Users"},
        {"method": "PUT", "path": "/Users", "data": user},
        {"method": "POST", "path": "", "bulkId": "10", "data": user},
        {"method": "POST", "path": 5, "bulkId": "11", "data": user},
        {"method": "PATCH", "path": "/Users/%00", "data": patch_of({"op": "add", "path": "title", "value": "x"})},
        {"method": "DELETE", "path": "/Users/%FF"},
        {"method": "DELETE", "path": "/Users/@x:example.org/y"},
        {},
        "x",
        None,
        [],
        5,
    ]

    found: list[Any] = []
    for operation in wrong:
        response = await scim.post("/Bulk", bulk_of(operation))
        results = response.json.get("Operations", [])
        if response.status != 400 and [result["status"] for result in results] not in (["400"], ["404"], ["405"]):
            found.append((operation, response.json))
    assert found == []
    assert await scim.names() == ["admin"]


async def test_fail_on_errors(scim: Scim) -> None:
    """After as many errors as the client accepts no further operation is begun (RFC 7644 §3.7.3)."""
    bad = [create(f"bad{number}", "") for number in range(3)]
    good = [create(f"good{number}", f"u{number}") for number in range(3)]
    mixed = [bad[0], good[0], bad[1], good[1], bad[2], good[2]]

    assert [r["status"] for r in await run(scim, *mixed, failOnErrors=1)] == ["400"]
    assert [r["status"] for r in await run(scim, *mixed, failOnErrors=2)] == ["400", "201", "400"]
    assert [r["status"] for r in await run(scim, *mixed)] == ["400", "409", "400", "201", "400", "201"]
    not_numbers: list[Any] = ["x", {}, [1]]
    for wrong in not_numbers:
        assert_error(
            await scim.post("/Bulk", bulk_of(good[0], failOnErrors=wrong)), 400, "invalidValue", "failOnErrors"
        )


async def test_paths_are_read_as_urls(admin: Admin) -> None:
    """A path's id is found raw and percent-encoded, one with `/` too (the documentation)."""
    scim = admin.scim
    for localpart in ("a/b", "a=2fb%2f"):
        await admin.homeserver.register_legacy(localpart)
    await scim.create("ann")
    paths = {
        "/Users/@ann:example.org": "@ann:example.org",
        "/Users/%40ann%3Aexample.org": "@ann:example.org",
        "Users/@ann:example.org": "@ann:example.org",
        "/Users/@a/b:example.org": "@a/b:example.org",
        "/Users/%40a%2Fb%3Aexample.org": "@a/b:example.org",
        "/Users/@a=2fb%252f:example.org": "@a=2fb%2f:example.org",
    }
    for number, (path, user_id) in enumerate(paths.items()):
        change = patch_of({"op": "add", "path": "title", "value": str(number)})
        client = Scim(admin.homeserver.url, admin.token, UNSTABLE)
        (result,) = await run(client, {"method": "PATCH", "path": path, "data": change})
        user = await client.read(user_id)
        assert (result["status"], result["location"]) == ("200", user["meta"]["location"]), path
        assert user["title"] == str(number)
        assert user["meta"]["location"].startswith(f"{SERVER}{UNSTABLE}/Users/")


@pytest.mark.homeserver(module_config={"limits": {"bulk_operations": 3, "bulk_body_size": 3000}})
async def test_limits(scim: Scim) -> None:
    """More operations or bytes than announced are 413, and nothing happens (RFC 7644 §3.7.4)."""
    operations = [create(str(number), f"u{number}") for number in range(4)]

    assert_error(await scim.post("/Bulk", bulk_of(*operations)), 413, naming="3")
    big = create("0", "u0", title="x" * 3000)
    assert_error(await scim.post("/Bulk", bulk_of(big)), 413, naming="3000")

    assert await scim.names() == ["admin"]
    assert [r["status"] for r in await run(scim, *operations[:3])] == ["201"] * 3


async def test_requests_that_are_none(scim: Scim) -> None:
    """A bulk request without a list of operations is 400 (RFC 7644 §3.7)."""
    bodies: list[Any] = [{}, {"Operations": {}}, {"Operations": "x"}, {"Operations": None}, [], "x", 5]
    for body in bodies:
        response = await scim.post("/Bulk", body)
        assert_error(response, 400, response.json.get("scimType"))
        assert response.json["scimType"] in {"invalidSyntax", "invalidValue"}


async def break_tables(homeserver: LocalHomeserver) -> None:
    """Take a table away, so that every write fails as no program expects."""
    pool = homeserver.hs.get_datastores().main.db_pool
    with homeserver._context():
        await pool.runInteraction("break", lambda txn: txn.execute("ALTER TABLE synapse_scim_values RENAME TO gone"))


@pytest.mark.expected_errors("synapse_scim_values")
async def test_unexpected_failures_leave_a_trace(homeserver: LocalHomeserver, scim: Scim) -> None:
    """What should not happen is a 500 of fixed text, in bulk too, and the log says why (the documentation)."""
    await break_tables(homeserver)

    (result,) = await run(scim, create("a", "ann", title="secret title"))
    alone = await scim.post("/Users", new_user("bob", title="secret title"))

    assert statuses([result]) == [("500", None)]
    assert_error(alone, 500)
    for told in (str(result), alone.body.decode()):
        assert "synapse_scim" not in told
        assert "SELECT" not in told.upper()
    logged = [r for r in homeserver.log_records if r.name.startswith("synapse_scim") and r.levelname == "ERROR"]
    assert len(logged) == 2
    assert all(record.exc_info is not None for record in logged)
    assert not any("secret title" in record.getMessage() for record in homeserver.log_records)
