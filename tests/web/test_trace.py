"""The trace of what one client does, which `trace` names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from synapse_scim.resources.trace import MAX_BODY, MAX_SHOWN
from tests.docs.markdown import blocks
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.support.issuer import SCIM_CLIENT, TokenIssuer
from tests.web.clients import PATCH, USER, Admin, Scim, assert_error, assert_scim, bulk_of, new_user, url_of
from tests.web.life import ANN, PERSON
from tests.web.tokens import basic, client, scim_of, token_of, trusting

ADMIN = "@admin:example.org"
JSON = {"Content-Type": "application/scim+json"}
NO_USER_AGENT = {"User-Agent": None}
TRACED = {
    "trace": "okta",
    "clients": [client("okta", basic=True, rate={"per_second": 1000, "burst_count": 1000}), client("entra")],
}
LEFT_OUT = ("requestId", "milliseconds")

pytestmark = pytest.mark.homeserver(module_config=TRACED)


@pytest.fixture
def okta(admin: Admin) -> Scim:
    """The requests of the client that is traced."""
    return scim_of(admin.homeserver, token_of("okta"))


def traces(homeserver: LocalHomeserver) -> list[dict[str, Any]]:
    """Return what was traced, from the first request on."""
    return [json.loads(r.getMessage()) for r in homeserver.log_records if r.name == "synapse_scim.trace"]


def last(homeserver: LocalHomeserver) -> dict[str, Any]:
    """Return what was traced of the last request."""
    return traces(homeserver)[-1]


def lasting(trace: dict[str, Any]) -> dict[str, Any]:
    """Return a trace without what differs each time."""
    return {name: value for name, value in trace.items() if name not in LEFT_OUT}


async def test_page_shows_a_trace(homeserver: LocalHomeserver, okta: Scim) -> None:
    """The example of the documentation is what the log says, but for the request's id and how long it took."""
    await okta.create("ann", **PERSON)
    answer = await okta.request(
        "PATCH",
        "/v2" + url_of(ANN),
        {
            "schemas": [PATCH],
            "Operations": [
                {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "lee@corp.example"},
                {"op": "Replace", "path": "active", "value": "False"},
            ],
        },
        params={"attributes": "active,emails"},
        headers={"User-Agent": "Okta SCIM Client 1.0.0"},
    )
    assert_scim(answer, 200)
    (example,) = [json.loads(block) for block in blocks("docs/troubleshooting.md", "json")]
    shown = last(homeserver)

    assert shown.keys() == example.keys()
    assert lasting(shown) == lasting(example)
    assert shown["requestId"].startswith("PATCH-")
    assert 0 <= shown["milliseconds"] < 60_000


async def test_other_clients_are_not_traced(homeserver: LocalHomeserver, admin: Admin, okta: Scim) -> None:
    """Nothing is said of anybody else, nor of requests whose credential is nobody's, or is not asked for."""
    await admin.scim.create("ann", **PERSON)
    assert_scim(await scim_of(homeserver, token_of("entra")).get("/Users"), 200)
    assert_error(await scim_of(homeserver, "nobody's").get("/Users"), 401)
    assert_scim(await okta.get("/Schemas"), 200)
    assert traces(homeserver) == []
    assert_scim(await okta.get("/Users"), 200)
    assert [trace["path"] for trace in traces(homeserver)] == ["/_scim/Users"]


@pytest.mark.homeserver(module_config={"clients": TRACED["clients"]})
async def test_without_the_setting_nobody_is_traced(homeserver: LocalHomeserver, okta: Scim) -> None:
    """By default nothing is logged of what clients say."""
    assert_scim(await okta.get("/Users"), 200)
    assert traces(homeserver) == []


async def test_a_search_is_shown(homeserver: LocalHomeserver, okta: Scim) -> None:
    """The filter keeps its form, and Users theirs."""
    await okta.create("ann", displayName="Ann Lee")
    headers = {**basic("okta", token_of("okta")), "User-Agent": "idp/1.0 (it@corp.example)"}
    params = {"filter": 'displayName eq "Ann Lee"', "count": 10, "attributes": "displayName"}
    assert_scim(await okta.get("/Users", params=params, headers=headers), 200)

    assert lasting(last(homeserver)) == {
        "client": "okta",
        "credential": "basic",
        "method": "GET",
        "path": "/_scim/Users",
        "query": {"filter": 'displayName eq "<text of 7>"', "count": "10", "attributes": "displayName"},
        "headers": {"User-Agent": "idp/1.0 (<e-mail of 15>)"},
        "status": 200,
        "answer": {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": 1,
            "startIndex": 1,
            "itemsPerPage": 1,
            "Resources": [{"schemas": [USER], "id": ANN, "displayName": "<text of 7>"}],
        },
    }


async def test_what_has_no_body_is_shown_without(homeserver: LocalHomeserver, okta: Scim) -> None:
    """A deletion has none, and neither has its answer."""
    await okta.create("ann")
    assert (await okta.delete(ANN, headers=NO_USER_AGENT)).status == 204

    assert lasting(last(homeserver)) == {
        "client": "okta",
        "credential": "client token",
        "method": "DELETE",
        "path": f"/_scim/Users/{ANN}",
        "status": 204,
    }


async def test_errors_are_shown_without_what_they_quote(homeserver: LocalHomeserver, okta: Scim) -> None:
    """Whatever is refused, its trace says why, and not of whom."""
    await okta.create("ann", **PERSON, userType="Zamboni")
    refused = [
        await okta.post("/Users", new_user("ann", displayName="Zamboni")),
        await okta.post("/Users", new_user("zed", emails=PERSON["emails"])),
        await okta.post("/Users", new_user("zed", active="Zamboni", emails="Zamboni", name="Zamboni")),
        await okta.get("/Users/Zamboni"),
        await okta.get("/Zamboni"),
        await okta.get("/Users", params={"filter": 'userName eq "Zamboni" Zamboni'}),
        await okta.get("/Users", params={"filter": "Zamboni"}),
        await okta.get("/Users", params={"sortBy": "Zam boni", "cursor": "Zamboni"}),
        await okta.patch(ANN, {"op": "Zamboni", "path": "title", "value": "x"}),
        await okta.patch(ANN, {"op": "replace", "path": 'emails[value eq "Zamboni"].value', "value": "x"}),
        await okta.patch(ANN, {"op": "replace", "path": "Zam boni", "value": "x"}),
        await okta.patch(ANN, {"op": "replace", "path": "active", "value": "Zamboni"}),
        await okta.put(ANN, new_user("Zamboni\x00")),
        await okta.post("/Bulk", bulk_of({"method": "Zamboni", "path": "/Users", "data": {"userName": "Zamboni"}})),
    ]
    assert {answer.status for answer in refused} == {200, 400, 404, 409}

    shown = traces(homeserver)[1:]
    assert [trace["status"] for trace in shown] == [answer.status for answer in refused]
    assert all('"detail": "' in json.dumps(trace["answer"]) for trace in shown)
    assert "amboni" not in json.dumps(shown).lower()
    assert "'userName'" in shown[0]["answer"]["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"userName": "ann', "<17 bytes: The request body is not JSON: Unterminated string starting at at line 1,"),
        (b'{"userName": "a", "username": "ann"}', "<36 bytes: The request body names a member of an object twice>"),
    ],
)
async def test_of_broken_json_its_length_is_shown(
    homeserver: LocalHomeserver, okta: Scim, body: bytes, said: str
) -> None:
    """And where it breaks, which the answer says too."""
    detail = assert_error(await okta.request("POST", "/Users", body=body, headers=JSON), 400, "invalidSyntax")["detail"]

    assert last(homeserver)["body"].startswith(said)
    assert last(homeserver)["answer"]["detail"] == detail


async def test_a_large_body_is_not_looked_at(homeserver: LocalHomeserver, okta: Scim) -> None:
    """What an error says of it is hidden too."""
    body = json.dumps(new_user("ann", displayName="Zamboni" * 40_000)).encode()
    assert_error(await okta.request("POST", "/Users", body=body, headers=JSON), 400, "invalidValue")

    assert len(body) > MAX_BODY
    assert last(homeserver)["body"] == f"<{len(body)} bytes or more>"
    assert last(homeserver)["answer"]["detail"].startswith("<text of ")


@pytest.mark.homeserver(module_config=TRACED | {"limits": {"body_size": 10}})
async def test_a_body_beyond_the_limit_is_not_looked_at(homeserver: LocalHomeserver, okta: Scim) -> None:
    """It was not read to its end."""
    assert_error(await okta.post("/Users", new_user("ann")), 413)

    assert last(homeserver)["body"] == "<11 bytes or more>"


@pytest.mark.homeserver(
    module_config={"trace": "entra", "clients": [client("entra", rate={"per_second": 0.01, "burst_count": 1})]}
)
async def test_refusals_beyond_the_rate_are_shown(admin: Admin) -> None:
    """An identity provider that asks too often is one to look at."""
    homeserver = admin.homeserver
    entra = scim_of(homeserver, token_of("entra"))
    assert_scim(await entra.get("/Users"), 200)
    assert_error(await entra.post("/Users", new_user("ann")), 429)

    assert [trace["status"] for trace in traces(homeserver)] == [200, 429]
    assert "body" not in last(homeserver)


async def test_long_answers_are_cut(homeserver: LocalHomeserver, okta: Scim) -> None:
    """A record has a largest size, whatever the client asks for."""
    users = [
        {
            "method": "POST",
            "path": "/Users",
            "bulkId": f"{n}",
            "data": new_user(f"p{n}", **PERSON | {"externalId": f"{n}", "emails": [], "phoneNumbers": []}),
        }
        for n in range(60)
    ]
    assert_scim(await okta.post("/Bulk", bulk_of(*users)), 200)
    bulk = last(homeserver)
    assert_scim(await okta.get("/Users"), 200)
    page = last(homeserver)
    assert_scim(await okta.get("/Users", params={"attributes": "id"}), 200)

    assert last(homeserver)["answer"]["Resources"][50:] == ["<11 more>"]
    assert bulk["body"]["Operations"][50:] == ["<10 more>"]
    assert isinstance(page["answer"], str)
    assert MAX_SHOWN < len(page["answer"]) < MAX_SHOWN + 50
    assert page["answer"].endswith(" more characters>")


@pytest.mark.homeserver(module_config={"trace": ADMIN})
async def test_a_server_administrator_is_named_by_user_id(admin: Admin) -> None:
    """Their access tokens have no name of their own; the audit names them the same way."""
    await admin.scim.create("ann")
    shown = last(admin.homeserver)
    assert (shown["client"], shown["credential"], shown["method"]) == (ADMIN, "access token", "POST")


async def test_a_client_of_an_issuer_is_named_with_it(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """`CLIENT@ISSUER`, as the log and the audit name it."""
    name = f"{SCIM_CLIENT}@{issuer.issuer.partition('://')[2]}"
    homeserver = (await trusting(start_homeserver, issuer.trusted(), trace=name)).homeserver
    assert_scim(await scim_of(homeserver, issuer.token()).get("/Users"), 200)
    assert [(trace["client"], trace["credential"]) for trace in traces(homeserver)] == [(name, "jwt")]
