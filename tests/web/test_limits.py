"""Who asks too often is told to come back later, before it costs anything (documentation, "Rate limits")."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest

from synapse_scim.config import Rate
from synapse_scim.homeserver.limits import Buckets
from synapse_scim.resources import limits
from tests.support.client import Response
from tests.support.configuration import http_listener, scim_module
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.web.clients import UNSTABLE, Admin, Scim, assert_error, assert_scim, bulk_of, new_user, until
from tests.web.test_plans import statements
from tests.web.test_unavailable import execute
from tests.web.tokens import client, scim_of, token_of

SLOW = {"per_second": 0.01, "burst_count": 3}
TRIES = 20
QUICK = {"per_second": 1, "burst_count": 3}


@pytest.fixture(autouse=True)
def _slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time that passes during a test not matter: nothing is forgotten, however slow the machine."""
    for name in ("FAILURES", "ANYBODY"):
        monkeypatch.setattr(limits, name, Rate(per_second=0.01, burst_count=TRIES))


def assert_limited(response: Response, naming: str = "too often") -> int:
    """Check that an answer says to come back later, and return after how many seconds."""
    assert_error(response, 429, naming=naming)
    return int(response.headers["retry-after"])


def creations(*names: str) -> dict[str, Any]:
    """Return a bulk request that makes people."""
    return bulk_of(*({"method": "POST", "path": "/Users", "bulkId": name, "data": new_user(name)} for name in names))


async def try_in_vain(homeserver: LocalHomeserver, times: int, **headers: str) -> list[int]:
    """Try tokens that are nobody's, and return the statuses."""
    stranger = Scim(homeserver.url, None)
    return [
        (await stranger.get("/Users", headers={"Authorization": f"Bearer wrong{number}", **headers})).status
        for number in range(times)
    ]


@pytest.mark.homeserver(module_config={"clients": [client("okta", rate=SLOW), client("hr")]})
async def test_each_client_has_a_limit_of_its_own(admin: Admin) -> None:
    """Whatever it asks below whichever prefix counts; others are not held up by it, and nothing of it is done."""
    okta = scim_of(admin.homeserver, token_of("okta"))
    await okta.create("ann")
    assert_scim(await okta.get("/Users"), 200)
    assert_scim(await scim_of(admin.homeserver, token_of("okta"), UNSTABLE).get("/Me"), 404)

    for prefix in ("/_scim", UNSTABLE):
        limited = await scim_of(admin.homeserver, token_of("okta"), prefix).post("/Users", new_user("bob"))
        assert 90 < assert_limited(limited) <= 100

    assert await scim_of(admin.homeserver, token_of("hr")).names('userName eq "bob"') == []
    # What is refused so is no event: anybody could fill the table.
    assert len(assert_scim(await admin.scim.get("/AuditEvents"), 200)["Resources"]) == 1


@pytest.mark.homeserver(module_config={"clients": [client("okta", rate=QUICK)]})
async def test_a_client_goes_on_after_a_while(admin: Admin) -> None:
    """After the time that the answer names there is room again."""
    okta = scim_of(admin.homeserver, token_of("okta"))

    answers: list[Response] = []

    async def is_limited() -> bool:
        answers.append(await okta.get("/Users"))
        return answers[-1].status == HTTPStatus.TOO_MANY_REQUESTS

    async def is_let_in() -> bool:
        return not await is_limited()

    await until(is_limited)
    assert assert_limited(answers[-1]) == 1
    await until(is_let_in)


@pytest.mark.homeserver(module_config={"limits": {"admin_rate": {"per_second": 0.01, "burst_count": 5}}})
async def test_administrators_have_a_limit_too(homeserver: LocalHomeserver) -> None:
    """Each of them, with all tokens together; the audit counts like anything else."""
    root, other = [await homeserver.register(name, admin=True) for name in ("root", "other")]
    first, second = [scim_of(homeserver, await homeserver.access_token(root)) for _ in range(2)]

    statuses = [(await scim.get("/AuditEvents")).status for scim in (first, second) * 4]

    assert statuses[5:] == [429, 429, 429]
    assert 429 not in statuses[:5]
    assert (await scim_of(homeserver, await homeserver.access_token(other)).get("/Me")).status != 429


@pytest.mark.homeserver(module_config={"clients": [client("okta", rate=SLOW), client("hr", rate=SLOW)]})
async def test_the_operations_of_a_bulk_count_one_by_one(admin: Admin) -> None:
    """A bulk request is let in as a whole, and then the client has to wait as if it had sent them one after another."""
    okta = scim_of(admin.homeserver, token_of("okta"))
    created = assert_scim(await okta.post("/Bulk", creations("a", "b", "c", "d", "e")), 200)
    assert [operation["status"] for operation in created["Operations"]] == ["201"] * 5
    assert 290 < assert_limited(await okta.get("/Users")) <= 300

    hr = scim_of(admin.homeserver, token_of("hr"))
    assert_scim(await hr.post("/Bulk", creations("f")), 200)
    assert_scim(await hr.get("/Users"), 200)
    assert_scim(await hr.get("/Users"), 200)
    assert_limited(await hr.post("/Bulk", creations("g")))


async def test_bulk_requests_at_once_are_no_way_around(admin: Admin) -> None:
    """Of several that were let in before their operations were seen, those that come too late are refused whole."""
    buckets = Buckets(admin.homeserver.hs)
    rate = Rate(per_second=0.01, burst_count=3)
    assert [await buckets.take("okta", rate) for _ in range(3)] == [0, 0, 0]
    assert await buckets.add("okta", rate, 9) == 0
    assert 890 < await buckets.add("okta", rate, 9) <= 900


async def test_bad_credentials_of_an_address_are_not_even_looked_at(admin: Admin) -> None:
    """After so many nobody is asked about them any more: neither the database, nor anybody else."""
    statuses = await try_in_vain(admin.homeserver, TRIES + 20)
    assert statuses == [401] * TRIES + [429] * 20

    with statements() as names:
        limited = await Scim(admin.homeserver.url, "wrong").get("/Users")
    assert 90 < assert_limited(limited, "unknown credentials") <= 100
    assert names == []


async def test_good_credentials_are_let_in_beside_bad_ones(admin: Admin) -> None:
    """Who was let in the last time still is, from the same address; not so whose token has ended since."""
    homeserver = admin.homeserver
    ended = await homeserver.access_token(await homeserver.register("other", admin=True))
    assert_scim(await scim_of(homeserver, ended).get("/Users"), 200)
    await try_in_vain(homeserver, TRIES + 20)

    assert_scim(await admin.scim.get("/Users"), 200)
    headers = {"Authorization": f"Bearer {ended}"}
    await admin.synapse.request("POST", "/_matrix/client/v3/logout", {}, headers=headers)
    statuses = [(await scim_of(homeserver, ended).get("/Users")).status for _ in range(3)]
    assert statuses == [401, 429, 429]
    assert_scim(await admin.scim.get("/Users"), 200)


async def test_good_credentials_are_remembered_of_so_many(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: the one that was not seen for the longest time is as good as new."""
    monkeypatch.setattr(limits, "_MOST_KNOWN", 2)
    homeserver = admin.homeserver
    root = await homeserver.register("root", admin=True)
    tokens = [await homeserver.access_token(root) for _ in range(2)]
    for token in (*tokens, admin.token, tokens[0]):
        assert_scim(await scim_of(homeserver, token).get("/Users"), 200)
    await try_in_vain(homeserver, TRIES)

    statuses = [(await scim_of(homeserver, token).get("/Users")).status for token in (*tokens, admin.token)]
    assert statuses == [200, 429, 200]


@pytest.mark.expected_errors("access_tokens|gone")
async def test_an_outage_is_nobodys_failure(admin: Admin) -> None:
    """While nobody can tell whose a token is, nothing counts against whoever shows one, be it good or not."""
    homeserver = admin.homeserver
    store = homeserver.hs.get_datastores().main
    await execute(homeserver, "ALTER TABLE access_tokens RENAME TO gone")
    try:
        store.get_user_by_access_token.invalidate_all()
        for _ in range(TRIES):
            assert (await admin.scim.get("/Users")).status >= 500
        assert min(await try_in_vain(homeserver, TRIES)) >= 500
    finally:
        await execute(homeserver, "ALTER TABLE gone RENAME TO access_tokens")

    assert_scim(await admin.scim.get("/Users"), 200)
    assert await try_in_vain(homeserver, TRIES + 1) == [401] * TRIES + [429]


async def test_good_credentials_count_for_nothing(admin: Admin) -> None:
    """However many tokens an address has that are somebody's: they are no failures."""
    homeserver = admin.homeserver
    people = [await homeserver.register(f"root{number}", admin=True) for number in range(2)]
    for number in range(TRIES + 10):
        scim = scim_of(homeserver, await homeserver.access_token(people[number % 2]))
        assert_scim(await scim.get("/Users", params={"count": 0}), 200)
    assert await try_in_vain(homeserver, 1) == [401]


async def test_nothing_shown_is_nothing_tried(homeserver: LocalHomeserver) -> None:
    """A request without a credential is told to send one, however often: there is nothing to look at."""
    stranger = Scim(homeserver.url, None)
    statuses = {(await stranger.get("/Users")).status for _ in range(TRIES + 5)}
    assert statuses == {401}
    assert await try_in_vain(homeserver, 1) == [401]


async def test_addresses_are_told_apart(start_homeserver: StartHomeserver) -> None:
    """An IPv6 address counts with its /64, an IPv4 one alone however it is written; what is none counts together."""
    homeserver = await start_homeserver(module=scim_module(), listeners=[http_listener("client", x_forwarded=True)])
    for used, same, other in (
        ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("nonsense", "more nonsense", "192.0.2.3"),
    ):
        await try_in_vain(homeserver, TRIES, **{"X-Forwarded-For": f"{other}, {used}"})
        assert 429 in await try_in_vain(homeserver, 3, **{"X-Forwarded-For": same})
        assert await try_in_vain(homeserver, 1, **{"X-Forwarded-For": other}) == [401]


async def test_discovery_is_limited_by_address(admin: Admin) -> None:
    """It asks nobody who they are, and is bounded all the same; who has a credential is not held up by that."""
    stranger = Scim(admin.homeserver.url, None)
    statuses = [(await stranger.get("/ServiceProviderConfig")).status for _ in range(TRIES + 2)]
    assert statuses == [200] * TRIES + [429] * 2
    assert_limited(await stranger.get("/Schemas"), "this address")
    assert_scim(await admin.scim.get("/Users"), 200)


async def test_memory_is_bounded(admin: Admin) -> None:
    """Of so many addresses each is counted; all further ones share a count."""
    buckets = Buckets(admin.homeserver.hs, most=3)
    rate = Rate(per_second=0.01, burst_count=2)
    for number in range(3):
        assert await buckets.take(f"address {number}", rate) == 0
    assert [await buckets.take(f"address {number}", rate) > 0 for number in range(3, 7)] == [False, False, True, True]
    assert [await buckets.take(f"address {number}", rate) for number in range(3)] == [0, 0, 0]
    buckets.give_back("address 7")
    assert await buckets.take("address 8", rate) == 0
    assert len(buckets._limiter.actions) == 4
