"""A full sync: everybody who stays is found once, whatever happens to others meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.clients import Admin, Scim, assert_scim

pytestmark = pytest.mark.usefixtures("engine")

PEOPLE = 20_000


async def populate(admin: Admin) -> list[str]:
    """Put that many accounts into the database, as if they had been there for years, and return their user IDs."""
    user_ids = [f"@p{number:05}:example.org" for number in range(PEOPLE)]

    def insert(txn: Any) -> None:
        txn.execute_batch(
            "INSERT INTO users (name, creation_ts, is_guest, deactivated) VALUES (?, 1700000000, 0, 0)",
            [(user_id,) for user_id in user_ids],
        )

    await admin.homeserver.hs.get_datastores().main.db_pool.runInteraction("populate", insert)
    return user_ids


async def come_and_go(scim: Scim, number: int) -> str:
    """Make somebody new, and delete somebody who was there; return who that is."""
    for place in ("a", "p1", "z"):
        await scim.create(f"{place}-new{number}")
    gone = f"@p{number * 997 % PEOPLE:05}:example.org"
    assert (await scim.delete(gone)).status == 204
    return gone


@pytest.mark.parametrize("sort", [{}, {"sortBy": "meta.created", "sortOrder": "descending"}])
async def test_walking_by_cursor(admin: Admin, sort: dict[str, str]) -> None:
    """Pages by cursor, forwards and back again, lose nobody who stays, and show nobody twice (RFC 9865)."""
    staying, scim = set(await populate(admin)), admin.scim
    seen: list[str] = []
    cursor, number = "", 0
    while True:
        params: dict[str, Any] = {"cursor": cursor, "count": 1000, "attributes": "id", **sort}
        page = assert_scim(await scim.get("/Users", params=params), 200)
        seen += [user["id"] for user in page["Resources"]]
        if "nextCursor" not in page:
            break
        cursor = page["nextCursor"]
        number += 1
        staying.discard(await come_and_go(scim, number))
    assert number >= PEOPLE // 1000 - 1
    assert len(seen) == len(set(seen))
    assert staying <= set(seen)

    back: list[str] = [user["id"] for user in page["Resources"]]
    while "previousCursor" in page:
        params = {"cursor": page["previousCursor"], "count": 1000, "attributes": "id", **sort}
        page = assert_scim(await scim.get("/Users", params=params), 200)
        back += [user["id"] for user in page["Resources"]]
    assert len(back) == len(set(back))
    assert staying <= set(back)


async def test_walking_by_index(admin: Admin) -> None:
    """Pages by index are in a stable order, and each says how many there are."""
    staying, scim = set(await populate(admin)), admin.scim
    seen: set[str] = set()
    for start in range(1, PEOPLE + 1, 1000):
        params: dict[str, Any] = {"startIndex": start, "count": 1000, "attributes": "userName"}
        page = assert_scim(await scim.get("/Users", params=params), 200)
        assert (page["totalResults"], page["startIndex"]) == (PEOPLE + 1, start)
        seen |= {user["id"] for user in page["Resources"]}
    # The administrator comes first.
    assert seen == staying - {max(staying)} | {"@admin:example.org"}
    assert assert_scim(await scim.get("/Users", params={"count": 0}), 200)["totalResults"] == PEOPLE + 1
