"""Which credential opens which endpoint: a table (documentation, SECURITY.md)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from tests.support.client import Response
from tests.support.configuration import scim_module
from tests.support.homeserver import StartHomeserver
from tests.support.issuer import AUDIENCE, INTROSPECTION_ID, INTROSPECTION_SECRET, TokenIssuer, new_key
from tests.support.runner import BlockingRunner
from tests.web.clients import STABLE, USER, Admin, Scim, assert_error, assert_scim, bulk_of, new_user, patch_of, url_of
from tests.web.tokens import basic, client, token_of, write

ANN = "@ann:example.org"
"""Whom SCIM made, for the domain `default`."""

LOCAL = "@local:example.org"
"""Whom SCIM did not make."""

CAT = new_user("cat")
TITLE = patch_of({"op": "replace", "path": "title", "value": "Dr"})


@attrs.frozen
class Endpoint:
    """A request, and the status of its success."""

    method: str
    path: str
    body: Any = None
    success: int = 200


ENDPOINTS: Mapping[str, tuple[Endpoint, ...]] = {
    "discovery": (
        Endpoint("GET", "/ServiceProviderConfig"),
        Endpoint("GET", "/ResourceTypes"),
        Endpoint("GET", "/ResourceTypes/User"),
        Endpoint("GET", "/Schemas"),
        Endpoint("GET", f"/Schemas/{USER}"),
    ),
    "lists": (
        Endpoint("GET", "/"),
        Endpoint("GET", "/Users"),
        Endpoint("POST", "/Users/.search", {}),
        Endpoint("POST", "/.search", {}),
    ),
    "managed": (Endpoint("GET", url_of(ANN)),),
    "unmanaged": (Endpoint("GET", url_of(LOCAL)),),
    "create": (
        Endpoint("POST", "/Users", new_user("bob"), 201),
        Endpoint(
            "POST", "/Bulk", bulk_of({"method": "POST", "path": "/Users", "bulkId": "1", "data": new_user("cat")}), 201
        ),
    ),
    "adopt": (
        Endpoint("PUT", url_of(LOCAL), new_user("local")),
        Endpoint("PATCH", url_of(LOCAL), TITLE),
    ),
    "change": (
        Endpoint("PUT", url_of(ANN), new_user("ann")),
        Endpoint("PATCH", url_of(ANN), TITLE),
        Endpoint("POST", "/Bulk", bulk_of({"method": "PATCH", "path": url_of(ANN), "data": TITLE})),
        Endpoint("DELETE", url_of(ANN), success=204),
    ),
    "me": (Endpoint("GET", "/Me"),),
    "change me": (
        Endpoint("PUT", "/Me", new_user("admin")),
        Endpoint("PATCH", "/Me", TITLE),
        Endpoint("DELETE", "/Me", success=204),
    ),
    "audit": (Endpoint("GET", "/AuditEvents"),),
    "nothing": (Endpoint("GET", "/Groups", success=404),),
    "wrong method": (Endpoint("PUT", "/Users", {}, success=405),),
}
"""Every endpoint with every method, grouped by what opens them."""

OK = 0
"""Each endpoint answers what is its success."""


class IssuersAdmin(Admin):
    """A server admin of a homeserver that trusts an issuer."""

    issuer: TokenIssuer


Headers = Mapping[str, str | None]


@attrs.frozen
class Row:
    """A credential, and how it fares.

    Attributes:
        headers: Returns the credential.
        outcomes: The status of each group of endpoints that are not all well.
        query: What the credential adds to each URL.
    """

    headers: Callable[[IssuersAdmin], Awaitable[Headers]]
    outcomes: Mapping[str, int]
    query: Callable[[Admin], str] = lambda _: ""

    def expected(self, group: str) -> int:
        """Return the status of a group of endpoints."""
        # Discovery tells anybody the same (RFC 7644 §4).
        return OK if group == "discovery" else self.outcomes.get(group, self.outcomes.get("all", OK))


def bearer(token: str) -> Headers:
    """Return the header of a bearer token."""
    return {"Authorization": f"Bearer {token}"}


def sent(headers: Headers) -> Callable[[Admin], Awaitable[Headers]]:
    """Return a credential that is the same on each homeserver."""

    async def same(_: Admin) -> Headers:
        return headers

    return same


async def admin_token(admin: Admin) -> Headers:
    """Return the token of a server admin."""
    return bearer(admin.token)


async def guest_token(admin: Admin) -> Headers:
    """Return the token of a guest."""
    guest = await admin.synapse.request("POST", "/_matrix/client/v3/register?kind=guest", {})
    return bearer(guest.json["access_token"])


def person(*, is_admin: bool = True, **change: bool) -> Callable[[Admin], Awaitable[Headers]]:
    """Return the token of a person whom something was done to, once they had it."""

    async def token(admin: Admin) -> Headers:
        user_id = await admin.homeserver.register("person", admin=is_admin)
        token = await admin.homeserver.access_token(user_id)
        if change:
            await admin.synapse.change(user_id, **change)
        return bearer(token)

    return token


def restricted(method: str, path: str) -> Callable[[Admin], Awaitable[Headers]]:
    """Return the token of a server admin who was restricted by a request to the admin API."""

    async def token(admin: Admin) -> Headers:
        headers = await person()(admin)
        answer = await admin.synapse.request(method, path, {"suspend": True})
        assert answer.status == 200, answer.body
        return headers

    return token


async def expired_token(admin: Admin) -> Headers:
    """Return a token of a server admin that was good until now."""
    homeserver = admin.homeserver
    user_id = await homeserver.register("expired", admin=True)
    with homeserver._context():
        token = await homeserver.hs.get_auth_handler().create_access_token_for_user_id(user_id, None, valid_until_ms=1)
    return bearer(token)


def signed(make: Callable[[TokenIssuer], str]) -> Callable[[IssuersAdmin], Awaitable[Headers]]:
    """Return a token that the issuer signed."""

    async def token(admin: IssuersAdmin) -> Headers:
        return bearer(make(admin.issuer))

    return token


def opaque(**answer: Any) -> Callable[[IssuersAdmin], Awaitable[Headers]]:
    """Return a token of which the issuer says this, when it is asked."""
    return signed(lambda issuer: issuer.opaque_token(**{"aud": AUDIENCE} | answer))


UNKNOWN = {"all": 401}
FORBIDDEN = {"all": 403}
CLIENT = {"adopt": 403, "me": 404, "change me": 404, "audit": 403}
"""What a client's token does not open: accounts that SCIM did not make, an account of its own, and the audit."""

READER = CLIENT | {"create": 403, "change": 403}
WRITER = CLIENT | {"lists": 403, "managed": 403, "unmanaged": 403}

NOBODY = {
    "nothing at all": Row(sent({"Authorization": None}), UNKNOWN),
    "an unknown token": Row(sent(bearer("unknown")), UNKNOWN),
    "another scheme": Row(sent({"Authorization": "Digest username=okta"}), UNKNOWN),
}

ACCESS_TOKENS = {
    "server admin": Row(admin_token, {"change me": 403}),
    "server admin, in the query": Row(
        sent({"Authorization": None}), UNKNOWN, lambda admin: f"?access_token={admin.token}"
    ),
    "server admin, expired": Row(expired_token, UNKNOWN),
    "server admin, locked": Row(person(locked=True), UNKNOWN),
    "server admin, deactivated": Row(person(deactivated=True), UNKNOWN),
    "server admin, suspended": Row(restricted("PUT", "/_synapse/admin/v1/suspend/@person:example.org"), FORBIDDEN),
    "server admin, shadow-banned": Row(
        restricted("POST", "/_synapse/admin/v1/users/@person:example.org/shadow_ban"), FORBIDDEN
    ),
    "person": Row(person(is_admin=False), FORBIDDEN),
    "guest": Row(guest_token, FORBIDDEN),
    "application service": Row(sent(bearer("the-bridge")), FORBIDDEN),
    "application service as a server admin": Row(
        sent(bearer("the-bridge")), FORBIDDEN, lambda _: "?user_id=@admin:example.org"
    ),
}

CLIENT_TOKENS = {
    "client": Row(sent(bearer(token_of("okta"))), CLIENT),
    "client that adopts": Row(sent(bearer(token_of("any"))), CLIENT | {"adopt": OK}),
    "client that reads": Row(sent(bearer(token_of("reader"))), READER),
    "client that writes": Row(sent(bearer(token_of("writer"))), WRITER),
    "client of another domain": Row(sent(bearer(token_of("hr"))), CLIENT | {"change": 403}),
    "client that sees its own": Row(
        sent(bearer(token_of("own"))), CLIENT | {"managed": 404, "unmanaged": 404, "change": 404, "adopt": 404}
    ),
    "client that sees the managed": Row(sent(bearer(token_of("managed"))), CLIENT | {"unmanaged": 404, "adopt": 404}),
    "client, expired": Row(sent(bearer(token_of("expired"))), UNKNOWN),
    "client, in another network": Row(sent(bearer(token_of("elsewhere"))), FORBIDDEN),
    "client, not quite": Row(sent(bearer(token_of("okta")[:-1])), UNKNOWN),
    "client, in the query": Row(sent({"Authorization": None}), UNKNOWN, lambda _: f"?access_token={token_of('okta')}"),
    "basic": Row(sent(basic("any", token_of("any"))), CLIENT | {"adopt": OK}),
    "basic, another's token": Row(sent(basic("any", token_of("okta"))), UNKNOWN),
    "basic, another's name": Row(sent(basic("hr", token_of("any"))), UNKNOWN),
    "basic, where it is not enabled": Row(sent(basic("okta", token_of("okta"))), UNKNOWN),
}

SIGNED_TOKENS = {
    "JWT": Row(signed(lambda i: i.token()), CLIENT),
    "JWT that reads": Row(signed(lambda i: i.token(scope="openid users:read")), READER),
    "JWT that writes": Row(signed(lambda i: i.token(scope="users:write")), WRITER),
    "JWT without a scope of SCIM": Row(signed(lambda i: i.token(scope="openid")), READER | WRITER),
    "JWT of another client": Row(signed(lambda i: i.token(azp="grafana")), FORBIDDEN),
    "JWT for another audience": Row(signed(lambda i: i.token(aud="https://grafana.example.org")), UNKNOWN),
    "JWT, expired": Row(signed(lambda i: i.token(exp=time.time() - 60)), UNKNOWN),
    "JWT, not valid yet": Row(signed(lambda i: i.token(nbf=time.time() + 60)), UNKNOWN),
    "JWT, signed with another key": Row(signed(lambda i: i.token(key=new_key())), UNKNOWN),
    "JWT of another issuer": Row(signed(lambda i: i.token(iss="https://idp.example.org")), UNKNOWN),
    "ID token": Row(signed(lambda i: i.token(nonce="n-0S6")), UNKNOWN),
}

OPAQUE_TOKENS = {
    "opaque": Row(opaque(), CLIENT),
    "opaque that reads": Row(opaque(scope="users:read"), READER),
    "opaque that writes": Row(opaque(scope="users:write"), WRITER),
    "opaque, of a person, without a scope of SCIM": Row(opaque(scope="openid", sub="ann"), READER | WRITER),
    "opaque of another client": Row(opaque(client_id="grafana"), FORBIDDEN),
    "opaque for another audience": Row(opaque(aud="https://grafana.example.org"), UNKNOWN),
    "opaque, inactive": Row(opaque(active=False), UNKNOWN),
    "opaque, expired": Row(opaque(exp=time.time() - 60), UNKNOWN),
}

CONFIG = {
    "clients": [
        client("okta"),
        client("any", adopt="any", basic=True),
        client("reader", scopes=["users:read"]),
        client("writer", scopes=["users:write"]),
        client("hr", domain="hr"),
        client("own", domain="hr", visibility="own"),
        client("managed", visibility="managed"),
        client("expired", expires="2001-01-01T00:00:00Z"),
        client("elsewhere", networks=["192.0.2.0/24"]),
    ]
}

# The table. Credentials of another kind are a group of rows more; what they need is configured here or at the start.
ROWS = NOBODY | ACCESS_TOKENS | CLIENT_TOKENS | SIGNED_TOKENS | OPAQUE_TOKENS


@pytest.fixture
def admin(
    start_homeserver: StartHomeserver, issuer: TokenIssuer, tmp_path: Path, runner: BlockingRunner
) -> IssuersAdmin:
    """A server admin of a homeserver that knows every credential of the table."""
    bridge = {
        "id": "bridge",
        "url": None,
        "as_token": "the-bridge",
        "hs_token": "the-server",
        "sender_localpart": "bridge",
        "namespaces": {"users": [{"regex": "@admin:.*", "exclusive": False}]},
    }
    (tmp_path / "bridge.yaml").write_text(yaml.safe_dump(bridge))
    synapse = {"allow_guest_access": True, "app_service_config_files": [str(tmp_path / "bridge.yaml")]}

    asked = {
        "issuer": issuer.issuer,
        "audience": AUDIENCE,
        "client_id": INTROSPECTION_ID,
        "client_secret_path": str(write(tmp_path / "introspection.secret", INTROSPECTION_SECRET)),
    }
    module = scim_module(CONFIG | {"jwt": [issuer.trusted()], "introspection": [asked]})

    async def start() -> IssuersAdmin:
        admin = await IssuersAdmin.of(await start_homeserver(module=module, config=synapse))
        admin.issuer = issuer
        await admin.homeserver.register("local")
        await admin.scim.create("ann")
        return admin

    return runner.run(start())


@pytest.mark.parametrize("name", ROWS)
async def test_a_credential_opens_what_the_table_says(admin: IssuersAdmin, name: str) -> None:
    """Each endpoint answers each credential as the table says, in SCIM; what is refused has changed nothing."""
    row = ROWS[name]
    headers, query = await row.headers(admin), row.query(admin)
    caller = Scim(admin.homeserver.url, None, STABLE)
    before = await admin.scim.users()

    found: dict[str, list[int]] = {}
    for group, endpoints in ENDPOINTS.items():
        for endpoint in endpoints:
            path = endpoint.path + query
            found.setdefault(group, []).append(
                outcome(await caller.request(endpoint.method, path, endpoint.body, headers=headers))
            )

    assert found == {
        group: [row.expected(group) or endpoint.success for endpoint in endpoints]
        for group, endpoints in ENDPOINTS.items()
    }
    if all(row.expected(group) >= 400 for group in ("create", "adopt", "change", "change me")):
        assert await admin.scim.users() == before


def outcome(response: Response) -> int:
    """Return the status of an answer, or of the one operation of a bulk request, and check that it is SCIM's."""
    status = response.status
    if status == 401:
        assert response.headers["www-authenticate"] == 'Bearer realm="SCIM", Basic realm="SCIM"'
    if status >= 400:
        assert_error(response, status)
    elif status != 204:
        answer = assert_scim(response, status)
        if "BulkResponse" in answer["schemas"][0]:
            (operation,) = answer["Operations"]
            return int(operation["status"])
    return status
