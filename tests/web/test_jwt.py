"""Tokens that a trusted issuer signed: what they open, and which are refused."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tests.support.homeserver import StartHomeserver
from tests.support.issuer import AUDIENCE, KEYS, SCIM_CLIENT, TokenIssuer, new_key, signed_by_hand
from tests.web.clients import STABLE, UNSTABLE, Synapse, assert_error, assert_scim, new_user
from tests.web.tokens import assert_opens, assert_unauthenticated, assert_unknown, logged, scim_of, trusting


async def test_a_token_opens_scim_and_nothing_else(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """It is good for what its scopes name, below both prefixes; Synapse's own endpoints do not know it."""
    homeserver = (await trusting(start_homeserver, issuer.trusted())).homeserver
    token = issuer.token()
    for prefix in (STABLE, UNSTABLE):
        assert_scim(await scim_of(homeserver, token, prefix).get("/Users"), 200)
    ann = await scim_of(homeserver, token).create("ann")
    # Synapse, which would complain, was not asked about it.
    assert "Invalid access token" not in logged(homeserver)

    stranger = Synapse(homeserver.url, token, "")
    for path in ("/_matrix/client/v3/account/whoami", "/_synapse/admin/v2/users", "/_matrix/client/v3/sync"):
        assert (await stranger.request("GET", path)).status == 401
    assert_error(await scim_of(homeserver, token).get("/Me"), 404, naming="no user")

    assert await scim_of(homeserver, token).read(ann["id"]) == ann
    assert issuer.requested == [KEYS]
    place = issuer.issuer.removeprefix("http://")
    assert f"{{scim:{SCIM_CLIENT}@{place}}} Processed request" in logged(homeserver)
    assert token not in logged(homeserver)


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        *((f"{kind}{size}", RSAKey.generate_key(2048, auto_kid=True)) for kind in ("RS", "PS") for size in (256, 512)),
        ("ES384", ECKey.generate_key("P-384", auto_kid=True)),
        ("ES512", ECKey.generate_key("P-521", auto_kid=True)),
        ("Ed25519", OKPKey.generate_key("Ed25519", auto_kid=True)),
    ],
)
async def test_every_algorithm_verifies(
    start_homeserver: StartHomeserver, issuer: TokenIssuer, algorithm: str, key: Any, tmp_path: Path
) -> None:
    """Each algorithm that the documentation names works, with a key set in a file; only the configured one does."""
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [new_key().as_dict(private=False), key.as_dict(private=False)]}))
    entry = issuer.trusted(jwks_uri=None, jwks_path=str(path), algorithms=[algorithm])
    homeserver = (await trusting(start_homeserver, entry)).homeserver

    await assert_opens(homeserver, issuer.token(key=key, algorithm=algorithm))
    await assert_unknown(homeserver, issuer.token(), "signed in a way that is not accepted")
    assert issuer.requested == []


# What is wrong with a token, how it is made, and what the answer says.
WRONG: dict[str, tuple[Callable[[TokenIssuer], str], str]] = {
    "another audience": (lambda i: i.token(aud="https://other.example"), "another audience"),
    "other audiences": (lambda i: i.token(aud=["https://other.example", AUDIENCE + "/"]), "another audience"),
    "no audience": (lambda i: i.token(aud=None), "another audience"),
    "expired": (lambda i: i.token(exp=time.time() - 40), "expired"),
    "never expires": (lambda i: i.token(exp=None), "does not expire"),
    "expires some day": (lambda i: i.token(exp="2099-01-01T00:00:00Z"), "malformed"),
    "not yet": (lambda i: i.token(nbf=time.time() + 60), "not valid yet"),
    "from the future": (lambda i: i.token(iat=time.time() + 60), "not valid yet"),
    "another key": (lambda i: i.token(key=ECKey.generate_key("P-256", {"kid": i.keys[0].kid or ""})), "signature"),
    "an unknown key": (lambda i: i.token(key=new_key()), "a key that its issuer does not have"),
    "a key like a path": (lambda i: i.token(header={"kid": "../../../../dev/null"}), "key that its issuer does not"),
    "a key like a query": (lambda i: i.token(header={"kid": "' OR 1=1 --"}), "key that its issuer does not"),
    "a changed claim": (lambda i: spliced(i.token(aud="x"), i.token()), "signature"),
    "no signature": (lambda i: i.token().rpartition(".")[0] + ".", "signature"),
    "none": (lambda i: signed_by_hand({"alg": "none"}, i.claims(), lambda _: b""), "not accepted"),
    "None": (lambda i: signed_by_hand({"alg": "None"}, i.claims(), lambda _: b""), "not accepted"),
    "no algorithm": (lambda i: signed_by_hand({"typ": "JWT"}, i.claims(), lambda _: b""), "not accepted"),
    "an algorithm of another kind": (lambda i: signed_by_hand({"alg": ["ES256"]}, i.claims(), bytes), "not accepted"),
    "the public key as a secret": (lambda i: confused(i, i.keys[0].as_pem()), "not accepted"),
    "the public key as a secret, in JSON": (
        lambda i: confused(i, json.dumps(i.keys[0].as_dict(private=False)).encode()),
        "not accepted",
    ),
    "critical headers": (lambda i: with_header(i, crit=["exp"]), "critical"),
    "a payload that is not encoded": (lambda i: with_header(i, b64=False), "critical"),
    "its own key": (
        lambda i: with_own_key(i, lambda key: {"jwk": key.as_dict(private=False)}),
        "a key that its issuer does not have",
    ),
    "keys of its own": (
        lambda i: with_own_key(i, lambda _: {"jku": f"{i.issuer}/evil", "x5u": f"{i.issuer}/evil"}),
        "a key that its issuer does not have",
    ),
    "an ID token by its header": (lambda i: i.token(header={"typ": "id_token+jwt"}), "no access token"),
    "a logout token": (lambda i: i.token(header={"typ": "logout+jwt"}), "no access token"),
    "Keycloak's ID token": (lambda i: i.token(typ="ID"), "no access token"),
    "Keycloak's refresh token": (lambda i: i.token(typ="Refresh"), "no access token"),
    "an ID token with a nonce": (lambda i: i.token(nonce="n-0S6"), "no access token"),
    "an ID token with at_hash": (lambda i: i.token(at_hash="MTIz"), "no access token"),
    "another issuer": (lambda i: i.token(iss="https://other.example"), "not known"),
    "almost the issuer": (lambda i: i.token(iss=f"{i.issuer}/"), "not known"),
    "no issuer": (lambda i: i.token(iss=None), "not known"),
    "an issuer of another kind": (lambda i: i.token(iss=[i.issuer]), "not known"),
    "no JSON": (lambda i: "eyJh." + i.token().partition(".")[2], "not known"),
    "deep JSON": (lambda _: f"eyJh.{'W1tb' * 1500}.x", "not known"),
    "a list": (lambda i: signed_by_hand({"alg": "ES256"}, [i.claims()], bytes), "not known"),
    "a long token": (lambda i: i.token(groups=["g" * 100] * 80), "more than 8192 characters"),
    "a very long token": (lambda _: "a" * 12000, "more than 8192 characters"),
}


def spliced(first: str, second: str) -> str:
    """Return a token with the claims of another one."""
    header, _, signature = first.split(".")
    return f"{header}.{second.split('.')[1]}.{signature}"


def confused(issuer: TokenIssuer, public: bytes) -> str:
    """Return a token signed with what everybody knows (RFC 8725 §2.1)."""
    header = {"alg": "HS256", "kid": issuer.keys[0].kid}
    return signed_by_hand(header, issuer.claims(), lambda text: hmac.digest(public, text, sha256))


def with_header(issuer: TokenIssuer, **header: Any) -> str:
    """Return a token with a header that no library would sign."""
    return signed_by_hand({"alg": "ES256", "kid": issuer.keys[0].kid, **header}, issuer.claims(), bytes)


def with_own_key(issuer: TokenIssuer, header: Callable[[ECKey], dict[str, Any]]) -> str:
    """Return a token that brings the key along with which it is signed (RFC 8725 §3.10)."""
    key = new_key()
    return issuer.token(key=key, header=header(key))


async def test_wrong_tokens_are_refused(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """Each is 401, and says why where that helps; what the token wants fetched is not, and nothing of it is logged."""
    homeserver = (await trusting(start_homeserver, issuer.trusted())).homeserver
    await assert_opens(homeserver, issuer.token())

    for what, (make, naming) in WRONG.items():
        token = make(issuer)
        answer = await scim_of(homeserver, token).get("/Users")
        assert answer.status == 401, (what, answer.body)
        assert_unauthenticated(answer, naming)
        assert token not in logged(homeserver)

    await assert_opens(homeserver, issuer.token())
    assert set(issuer.requested) == {KEYS}


async def test_what_is_a_little_different_is_fine(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """Clocks may be half a minute apart, and `aud` may be a list; the only key need not be named.

    Headers and claims that nobody knows do no harm.
    """
    homeserver = (await trusting(start_homeserver, issuer.trusted())).homeserver
    now = time.time()

    for token in (
        issuer.token(exp=now - 20),
        issuer.token(nbf=now + 20, iat=now + 20.5),
        issuer.token(iat=None, exp=10**400),
        issuer.token(aud=["account", AUDIENCE]),
        issuer.token(header={"kid": None}),
        issuer.token(header={"typ": None, "org.example": "x"}, sub=None, realm_access={"roles": ["x"]}),
        issuer.token(header={"typ": "JWT", "x5t": "x", "jku": "https://evil.example"}, typ="Bearer"),
    ):
        await assert_opens(homeserver, token)


async def test_scopes_are_rights(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """A token does what its scopes name, and no more: one that names none does nothing (the documentation)."""
    homeserver = (await trusting(start_homeserver, issuer.trusted())).homeserver

    for scope, reads, writes in (
        ("openid users:read", 200, 403),
        ("users:write", 403, 201),
        (["users:read", "users:write"], 200, 201),
        (["users:read users:write"], 403, 403),
        ("users:readx Users:Write users", 403, 403),
        ("", 403, 403),
        ({"users:read": True}, 403, 403),
        (None, 403, 403),
    ):
        scim = scim_of(homeserver, issuer.token(scope=scope))
        assert (await scim.get("/Users")).status == reads, scope
        assert (await scim.post("/Users", new_user(f"ann{time.time()}"))).status == writes, scope


async def test_a_client_must_be_allowed(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """A valid token of a client that `allowed_clients` lacks, or of none, is 403; the claims may have other names."""
    entry = issuer.trusted(client_claim="appid", scope_claim="roles", allowed_clients=["a", SCIM_CLIENT])
    homeserver = (await trusting(start_homeserver, entry)).homeserver

    for client in ("b", "", "A", ["a"], {"a": 1}, 5, None):
        scim = scim_of(homeserver, issuer.token(appid=client, roles=["users:read"]))
        assert_error(await scim.get("/Users"), 403, naming="may not use SCIM")
    await assert_opens(homeserver, issuer.token(appid="a", azp="b", roles=["users:read"], scope=None))


async def test_an_issuers_clients_have_its_domain(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """`domain`, `visibility` and `adopt` are those of the issuer; what it lacks is what the settings for all say."""
    entry = issuer.trusted(domain="hr", visibility="own")
    admin = await trusting(start_homeserver, entry, adopt="never", visibility="managed")
    await admin.scim.create("bob", externalId="1")
    await admin.homeserver.register("old")
    scim = scim_of(admin.homeserver, issuer.token())

    ann = await scim.create("ann", externalId="1")

    assert await scim.names() == ["ann"]
    assert_error(await scim.post("/Users", new_user("old")), 409, "uniqueness")
    assert await scim.read(ann["id"]) == ann
