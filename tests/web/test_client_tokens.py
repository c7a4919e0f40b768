"""The tokens of clients: where they are valid, for how long, and what they open."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
import treq
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers

from tests.support.configuration import http_listener, scim_module
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.web.clients import (
    STABLE,
    UNSTABLE,
    Admin,
    Scim,
    Synapse,
    assert_error,
    assert_scim,
    new_user,
    until,
)
from tests.web.tokens import BOTH, assert_unauthenticated, basic, client, logged, scim_of, started, token_of


def callers(homeserver: LocalHomeserver) -> list[str]:
    """Return who asked for Users, as Synapse's access log has it."""
    return re.findall(r"\{(.*)\} Processed request.*/_scim/Users", logged(homeserver))


ELSEWHERE = (
    ("GET", "/_matrix/client/v3/account/whoami"),
    ("GET", "/_matrix/client/v3/sync"),
    ("GET", "/_matrix/client/v3/devices"),
    ("POST", "/_matrix/client/v3/createRoom"),
    ("POST", "/_matrix/client/v3/logout/all"),
    ("POST", "/_matrix/client/v3/user_directory/search"),
    ("PUT", "/_matrix/client/v3/profile/@admin:example.org/displayname"),
    ("GET", "/_matrix/client/v1/media/config"),
    ("POST", "/_matrix/media/v3/upload"),
    ("GET", "/_synapse/admin/v2/users"),
    ("GET", "/_synapse/admin/v2/users/@admin:example.org"),
    ("PUT", "/_synapse/admin/v2/users/@new:example.org"),
    ("POST", "/_synapse/admin/v1/deactivate/@admin:example.org"),
    ("GET", "/_synapse/admin/v1/rooms"),
)


@pytest.mark.homeserver(module_config={"clients": [client("okta", basic=True)]})
async def test_a_client_token_opens_scim_and_nothing_else(admin: Admin) -> None:
    """It is good for SCIM below both prefixes; every other endpoint takes it for nobody's (documentation)."""
    homeserver, token = admin.homeserver, token_of("okta")
    for prefix in (STABLE, UNSTABLE):
        assert_scim(await scim_of(homeserver, token, prefix).get("/Users"), 200)
    ann = await scim_of(homeserver, token).create("ann")

    stranger = Synapse(homeserver.url, None, "")
    for method, path in ELSEWHERE:
        for headers, query in (
            ({"Authorization": f"Bearer {token}"}, ""),
            (basic("okta", token), ""),
            ({}, f"?access_token={token}"),
        ):
            answer = await stranger.request(method, path + query, {} if method != "GET" else None, headers=headers)
            assert (answer.status, answer.json["errcode"][:2]) == (401, "M_"), (method, path, answer.body)

    assert await scim_of(homeserver, token).read(ann["id"]) == ann
    assert (await stranger.whoami(admin.token)).status == 200


async def test_the_access_log_names_the_client(start_homeserver: StartHomeserver) -> None:
    """Synapse's own log says which client made a request, where it names users; no token is logged (documentation)."""
    admin = await started(start_homeserver, client("okta"), client("hr", basic=True))
    assert_scim(await scim_of(admin.homeserver, token_of("okta")).get("/Users"), 200)
    assert_scim(await admin.scim.get("/Users", headers=basic("hr", token_of("hr"))), 200)
    assert_scim(await admin.scim.get("/Users"), 200)

    async def is_logged() -> bool:
        return len(callers(admin.homeserver)) == 3

    # Synapse writes it when the client has the answer.
    await until(is_logged)
    assert callers(admin.homeserver) == ["scim:okta", "scim:hr", "@admin:example.org"]
    text = logged(admin.homeserver)
    sent = (token_of("okta"), token_of("hr"), basic("hr", token_of("hr"))["Authorization"][-20:], admin.token)
    assert [token for token in sent if token in text] == []


@pytest.mark.homeserver(module_config={"clients": [client("okta"), client("hr")], "admin_tokens": False})
async def test_other_tokens_are_nobodys(admin: Admin) -> None:
    """What is not wholly the token is not the token (documentation)."""
    token = token_of("okta")
    digest = client("okta")["token_sha256"][0]

    for wrong in (token[:-1], f"{token}x", token.upper(), digest, "okta", admin.token):
        assert_unauthenticated(await scim_of(admin.homeserver, wrong).get("/Users"), "not known")


@pytest.mark.homeserver(module_config={"clients": [client("okta", expires="2001-01-01T00:00:00Z"), client("hr")]})
async def test_expired_tokens_are_refused(admin: Admin) -> None:
    """Whoever has such a token is told, and the administrator too (documentation)."""
    assert_unauthenticated(await scim_of(admin.homeserver, token_of("okta")).get("/Users"), "expired")
    assert_scim(await scim_of(admin.homeserver, token_of("hr")).get("/Users"), 200)

    assert "The tokens of the SCIM client okta have expired" in logged(admin.homeserver, logging.WARNING)


NETWORKS = {
    "clients": [client("far", networks=["192.0.2.0/24", "2001:db8::/32"]), client("near", networks=["127.0.0.0/8"])]
}


@pytest.mark.homeserver(module_config=NETWORKS)
async def test_networks_bound_where_a_token_is_used(admin: Admin) -> None:
    """Without a proxy the connection tells the address, and no header does (documentation)."""
    near, far = (scim_of(admin.homeserver, token_of(name)) for name in ("near", "far"))

    for headers in ({}, {"X-Forwarded-For": "192.0.2.7"}):
        assert_scim(await near.get("/Users", headers=headers), 200)
        refused = await far.get("/Users", headers=headers)
        assert_error(refused, 403, naming="may not call from 127.0.0.1 ('networks')")
        assert_error(await far.post("/Users", new_user("ann"), headers=headers), 403)
    assert "SCIM client far is used from 127.0.0.1, outside of its networks" in logged(
        admin.homeserver, logging.WARNING
    )
    assert await near.names('userName eq "ann"') == []


@pytest.mark.homeserver(module_config=NETWORKS, listeners=[http_listener("client", x_forwarded=True)])
async def test_a_proxy_tells_the_address(admin: Admin) -> None:
    """The last entry is what the proxy wrote; whatever stands before it, the caller wrote (documentation)."""
    near, far = (scim_of(admin.homeserver, token_of(name)) for name in ("near", "far"))

    for entry in (
        "192.0.2.7",
        "127.0.0.1, 192.0.2.7",
        "192.0.2.7:8443",
        "2001:db8::1",
        "[2001:db8::1]:443",
        "[2001:db8::1]",
    ):
        assert_scim(await far.get("/Users", headers={"X-Forwarded-For": entry}), 200)
        assert_error(await near.get("/Users", headers={"X-Forwarded-For": entry}), 403)
    for entry in ("192.0.2.7, 203.0.113.9", "192.0.2.7,", "192.0.2.7, unknown", "", "192.0.2.7 192.0.2.7"):
        assert_error(await far.get("/Users", headers={"X-Forwarded-For": entry}), 403, naming="may not call from")
    # No proxy wrote anything: the connection is all there is.
    assert_scim(await near.get("/Users"), 200)


@pytest.mark.homeserver(module_config=NETWORKS, listeners=[http_listener("client", x_forwarded=True)])
async def test_the_last_of_several_headers_counts(admin: Admin) -> None:
    """A proxy may add a header of its own behind the caller's (RFC 9110 §5.3)."""
    agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
    for entries, status in ((["127.0.0.1", "192.0.2.7"], 200), (["192.0.2.7", "127.0.0.1"], 403)):
        headers = Headers({"Authorization": [f"Bearer {token_of('far')}"], "X-Forwarded-For": entries})
        answer = await agent.request(b"GET", f"{admin.homeserver.url}{STABLE}/Users".encode(), headers)
        await treq.content(answer)
        assert answer.code == status


@pytest.mark.homeserver(module_config={"clients": [client("okta", basic=True), client("hr")]})
async def test_basic_is_name_and_token(admin: Admin) -> None:
    """HTTP Basic opens what the token opens, for clients that may use it (RFC 7617, documentation)."""
    stranger = Scim(admin.homeserver.url, None, STABLE)
    ann = await scim_of(admin.homeserver, token_of("okta")).create("ann")

    for scheme in ("Basic", "basic", "BASIC"):
        encoded = basic("okta", token_of("okta"))["Authorization"].partition(" ")[2]
        headers = {"Authorization": f"{scheme} {encoded}"}
        assert assert_scim(await stranger.get("/Users/@ann:example.org", headers=headers), 200) == ann
    # The same client may send the token by itself.
    assert await scim_of(admin.homeserver, token_of("okta")).names() == ["admin", "ann"]

    for name, token in (
        ("okta", token_of("hr")),
        ("hr", token_of("okta")),
        ("Okta", token_of("okta")),
        ("", token_of("okta")),
        ("nobody", token_of("nobody")),
        ("admin", admin.token),
        ("@admin:example.org", admin.token),
        ("okta", f"{token_of('okta')}:"),
    ):
        refused = await stranger.get("/Users", headers=basic(name, token))
        assert_unauthenticated(refused, "no client with this name and token", BOTH)
    refused = await stranger.get("/Users", headers=basic("hr", token_of("hr")))
    assert_unauthenticated(refused, "This client may not use HTTP Basic ('basic'); send the token as", BOTH)
    # Whoever only knows the name is not told whether it may use it.
    refused = await stranger.get("/Users", headers=basic("hr", "wrong"))
    assert_unauthenticated(refused, "no client with this name and token", BOTH)


@pytest.mark.homeserver(module_config={"clients": [client("okta", basic=True)]})
async def test_malformed_basic_is_refused(admin: Admin) -> None:
    """It is base64 of UTF-8 with a colon (RFC 7617 §2)."""
    for sent in ("b2t0YQ==", "b2t0YTo=", "====", "b2t0YTp4!", "/////w==", "b2t0YTp4 b2t0YTp4", ""):
        refused = await admin.scim.get("/Users", headers={"Authorization": f"Basic {sent}"})
        assert_unauthenticated(refused, challenge=BOTH)


@pytest.mark.parametrize(
    ("config", "schemes"),
    [
        ({}, [("oauthbearertoken", "Access token")]),
        ({"admin_tokens": False, "clients": [client("okta")]}, [("oauthbearertoken", "Client token")]),
        (
            {"clients": [client("okta"), client("hr", basic=True)]},
            [("oauthbearertoken", "Client token"), ("oauthbearertoken", "Access token"), ("httpbasic", "HTTP Basic")],
        ),
    ],
)
async def test_what_is_configured_is_announced(
    config: dict[str, Any], schemes: list[tuple[str, str]], start_homeserver: StartHomeserver
) -> None:
    """`authenticationSchemes` lists what is accepted and nothing else, as authentik can read it (RFC 7643 §5)."""
    homeserver = await start_homeserver(module=scim_module(config))

    announced = assert_scim(await Scim(homeserver.url, None, STABLE).get("/ServiceProviderConfig"), 200)

    found = announced["authenticationSchemes"]
    assert [(scheme["type"], scheme["name"]) for scheme in found] == schemes
    assert [scheme.get("primary", False) for scheme in found] == [True] + [False] * (len(found) - 1)
    for scheme in found:
        assert scheme["description"]
        assert scheme["specUri"].startswith("https://")
        assert scheme["documentationUri"].startswith("https://")
