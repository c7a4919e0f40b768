"""Order, pages by index and pages by cursor."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.homeserver import LocalHomeserver
from tests.web.clients import ENTERPRISE, MATRIX, Admin, Scim, assert_error, assert_scim, until

PEOPLE: dict[str, dict[str, Any]] = {
    "eva": {"title": "b", "name": {"familyName": "\u00c4rmel"}, "emails": [{"value": "z@x.example"}]},
    "Ann": {"title": "B", "name": {"familyName": "Zorn"}},
    "dan": {
        "name": {"familyName": "aber"},
        "emails": [{"value": "q@x.example"}, {"value": "a@x.example", "primary": True}],
    },
    "bob": {"title": "\u00e4", ENTERPRISE: {"department": "IT"}},
    "Cat": {"title": "a", "active": False, ENTERPRISE: {"department": "Art"}},
}


async def population(scim: Scim) -> None:
    """Make the people who are put in order."""
    for user_name, attributes in PEOPLE.items():
        await scim.create(user_name, **attributes)


async def pages(scim: Scim, **query: Any) -> list[dict[str, Any]]:
    """Follow the cursors of a search to its end, and return its pages."""
    found: list[dict[str, Any]] = [assert_scim(await scim.get("/Users", params={"cursor": "", **query}), 200)]
    while cursor := found[-1].get("nextCursor"):
        found.append(assert_scim(await scim.get("/Users", params={"cursor": cursor, **query}), 200))
    return found


def names(*found: dict[str, Any]) -> list[str]:
    """Return the userNames on some pages."""
    return [user["userName"] for page in found for user in page["Resources"]]


@pytest.mark.usefixtures("engine")
async def test_order(scim: Scim) -> None:
    """Values are ordered, without case where the attribute has none, and who has none is last (RFC 7644 §3.4.2.3).

    Descending turns all of it round, and is not the default.
    """
    await population(scim)
    managed = {"filter": f"{MATRIX}:managed eq true"}
    without_department = {"eva", "Ann", "dan"}

    assert await scim.names(**managed, sortBy="userName") == ["Ann", "bob", "Cat", "dan", "eva"]
    assert await scim.names(**managed, sortBy="USERNAME", sortOrder="ascending") == ["Ann", "bob", "Cat", "dan", "eva"]
    assert await scim.names(**managed, sortBy="userName", sortOrder="descending") == ["eva", "dan", "Cat", "bob", "Ann"]
    by_title = await scim.names(**managed, sortBy="title")
    assert (by_title[0], set(by_title[1:3]), by_title[3:]) == ("Cat", {"Ann", "eva"}, ["bob", "dan"])
    by_department = await scim.names(**managed, sortBy=f"{ENTERPRISE}:department")
    assert (by_department[:2], set(by_department[2:])) == (["Cat", "bob"], without_department)
    downwards = await scim.names(**managed, sortBy=f"{ENTERPRISE}:department", sortOrder="descending")
    assert (set(downwards[:3]), downwards[3:]) == (without_department, ["bob", "Cat"])
    assert (await scim.names(**managed, sortBy="name.familyName"))[:3] == ["dan", "Ann", "eva"]
    assert (await scim.names(**managed, sortBy="emails"))[:2] == ["dan", "eva"]
    assert (await scim.names(**managed, sortBy="emails.value", sortOrder="descending"))[3:] == ["eva", "dan"]
    assert await scim.names(**managed, sortBy="meta.created") == list(PEOPLE)
    assert await scim.names(**managed, sortBy="meta.created", sortOrder="descending") == [*reversed(PEOPLE)]
    assert await scim.names(**managed, sortBy="id") == ["Ann", "bob", "Cat", "dan", "eva"]
    assert (await scim.names(**managed, sortBy="active"))[0] == "Cat"
    assert await scim.names(**managed) == await scim.names(**managed)


async def test_orders_that_cannot_be(scim: Scim) -> None:
    """What cannot order the answer is 400, since nobody could tell it from the order asked for (RFC 7644 §3.4.2.3)."""
    for sort_by in (
        "shoeSize",
        "name",
        "x509Certificates",
        'emails[type eq "work"]',
        "userName;",
        "",
        "urn:x:y",
        "a b",
    ):
        response = await scim.get("/Users", params={"sortBy": sort_by})
        assert_error(response, 400, "invalidPath")
    assert_error(
        await scim.get("/Users", params={"sortBy": "userName", "sortOrder": "sideways"}),
        400,
        "invalidValue",
        "sortOrder",
    )


@pytest.mark.usefixtures("engine")
async def test_pages_by_index(scim: Scim) -> None:
    """A startIndex below 1 is 1, a count below 0 is 0, and the total is that of all pages (RFC 7644 §3.4.2.4)."""
    await population(scim)
    everybody = await scim.names()
    assert len(everybody) == 6
    for start, count, expected in (
        (1, 2, everybody[:2]),
        (3, 2, everybody[2:4]),
        (5, 100, everybody[4:]),
        (0, 2, everybody[:2]),
        (-5, 2, everybody[:2]),
        (6, 1, everybody[5:]),
        (7, 2, []),
        (10**9, 2, []),
        (10**18, 2, []),
        (1, 0, []),
        (3, 0, []),
        (1, -1, []),
        (1, 10**9, everybody),
    ):
        for response in (
            await scim.get("/Users", params={"startIndex": start, "count": count}),
            await scim.post("/.search", {"startIndex": start, "count": count}),
        ):
            page = assert_scim(response, 200)
            assert names(page) == expected, (start, count)
            assert (page["totalResults"], page["itemsPerPage"]) == (6, len(expected))
            assert page["startIndex"] == max(start, 1)
    one = assert_scim(await scim.get("/Users", params={"filter": 'title eq "B"', "count": 1, "startIndex": 2}), 200)
    assert (one["totalResults"], one["itemsPerPage"]) == (2, 1)
    assert (await scim.delete(f"@{everybody[-1]}:example.org")).status == 204
    left = assert_scim(await scim.get("/Users", params={"count": 2}), 200)
    assert (left["totalResults"], names(left)) == (5, everybody[:2])


async def test_numbers_that_are_none(scim: Scim) -> None:
    """A startIndex or count that is no whole number is 400, and the detail names it (RFC 7644 §3.12)."""
    for name in ("startIndex", "count"):
        for wrong in ("abc", "1.5", "", "1e3", "\u0661x", "0x10", "true", "9" * 5000, "-" + "9" * 400):
            response = await scim.get("/Users", params={name: wrong})
            if wrong.strip("-9"):
                assert_error(response, 400, "invalidValue", name)
            else:
                assert response.status in {200, 400}


@pytest.mark.homeserver(module_config={"limits": {"page_size": 2}})
async def test_pages_are_bounded(scim: Scim) -> None:
    """No page is longer than `limits.page_size`, whatever count says (the documentation)."""
    await population(scim)
    for params in ({}, {"count": 10**9}, {"startIndex": 2}):
        page = assert_scim(await scim.get("/Users", params=params), 200)
        assert (page["totalResults"], page["itemsPerPage"]) == (6, 2)


@pytest.mark.usefixtures("engine")
async def test_pages_by_cursor(scim: Scim) -> None:
    """Cursors lead to the end and back, each User once, in whatever order (RFC 9865 §2)."""
    await population(scim)
    for order in (
        {},
        {"sortBy": "userName"},
        {"sortBy": "userName", "sortOrder": "descending"},
        {"sortBy": "title"},
        {"sortBy": "title", "sortOrder": "descending"},
        {"sortBy": "emails", "sortOrder": "descending"},
        {"sortBy": "meta.lastModified"},
        {"sortBy": "active"},
        {"filter": "title pr", "sortBy": f"{ENTERPRISE}:department"},
    ):
        expected = await scim.names(**order)
        for count in (2, 100):
            found = await pages(scim, count=count, **order)
            assert names(*found) == expected, (order, count)
            assert all(page["itemsPerPage"] == len(page["Resources"]) <= count for page in found)
            assert all("startIndex" not in page for page in found)
            assert "previousCursor" not in found[0]
            assert "nextCursor" not in found[-1]
            page = found[-1]
            for former in reversed(found[:-1]):
                page = (
                    await scim.get("/Users", params={"cursor": page["previousCursor"], "count": count, **order})
                ).json
                assert names(page) == names(former), (order, count)
            assert "previousCursor" not in page


async def test_pages_hold_while_people_come_and_go(scim: Scim) -> None:
    """Nobody is shown twice or passed over because others came or went meanwhile (RFC 9865 §1)."""
    await population(scim)
    first = assert_scim(await scim.get("/Users", params={"cursor": "", "count": 2, "sortBy": "userName"}), 200)
    assert names(first) == ["admin", "Ann"]
    await scim.create("aaron")
    await scim.delete("@ann:example.org")

    second = await scim.get("/Users", params={"cursor": first["nextCursor"], "count": 2, "sortBy": "userName"})

    assert names(second.json) == ["bob", "Cat"]


async def test_cursors_that_cannot_be_used(scim: Scim) -> None:
    """A cursor serves the query that it was issued for, and is refused when damaged (RFC 9865 §2.1)."""
    await population(scim)
    query = {"count": 2, "sortBy": "userName"}
    cursor = (await scim.get("/Users", params={"cursor": "", **query})).json["nextCursor"]
    assert_scim(await scim.get("/Users", params={"cursor": cursor, **query}), 200)

    for damaged in (
        cursor[:-1],
        cursor[1:],
        cursor[:20],
        cursor + "A",
        cursor[::-1],
        "x",
        "AQ",
        "\u00e9",
        "a b",
        "\x00",
        "=" * 9,
        "x" * 3000,
    ):
        response = await scim.get("/Users", params={"cursor": damaged, **query})
        assert response.status == 400, damaged
        assert response.json["scimType"] in (
            {"invalidCursor"} if damaged != "\x00" else {"invalidCursor", "invalidValue"}
        ), damaged
    for other in (
        {**query, "filter": "title pr"},
        {**query, "sortBy": "title"},
        {"count": 2},
        {**query, "sortOrder": "descending"},
    ):
        assert_error(await scim.get("/Users", params={"cursor": cursor, **other}), 400, "invalidCursor")
    assert_error(await scim.get("/Users", params={"cursor": cursor, **query, "count": 3}), 400, "invalidCount")
    for start in (1, 0, 5):
        both = await scim.get("/Users", params={"cursor": cursor, **query, "startIndex": start})
        assert_error(both, 400, "invalidValue")


async def test_cursors_outlive_a_restart(homeserver: LocalHomeserver) -> None:
    """A cursor is good in every process of the server, and after a restart (the documentation)."""
    admin = await Admin.of(homeserver)
    await population(admin.scim)
    first = (await admin.scim.get("/Users", params={"cursor": "", "count": 4})).json

    await homeserver.restart()

    scim = Scim(homeserver.url, admin.token, "/_scim")

    async def answers() -> bool:
        return (await scim.get("/Me")).status == 200

    await until(answers)
    second = await scim.get("/Users", params={"cursor": first["nextCursor"], "count": 4})
    assert len({*names(first), *names(assert_scim(second, 200))}) == 6


@pytest.mark.usefixtures("engine")
async def test_look_ups_of_many_find_them_all(scim: Scim) -> None:
    """A filter that indexes answer leaves nobody out, however many alternatives it has and whatever each finds."""
    roles = [{"value": f"role {number}", "type": "duty"} for number in range(25)]
    await scim.create("a", roles=roles)
    people = [f"p{number:02}" for number in range(15)]
    for name in people:
        await scim.create(name, emails=[{"value": f"{name}@x.example"}], roles=roles[:1])

    assert await scim.names(" or ".join(f'userName eq "{name}"' for name in people)) == people
    assert await scim.names(" or ".join(f'emails.value eq "{name}@x.example"' for name in people)) == people
    assert await scim.names('roles.type eq "duty"') == ["a", *people]
