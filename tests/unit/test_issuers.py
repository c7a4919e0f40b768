"""Trusted issuers: how they are configured, which URLs and which keys of theirs are used."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from synapse_scim.config import Config, ConfigurationError, Introspector, Issuer, Rate, Scope, is_secure_url, parse
from synapse_scim.credentials.keys import published_keys
from synapse_scim.homeserver.settings import parse_duration_ms, parse_size

SECRET = "hunter2"
SIGNED: dict[str, Any] = {
    "issuer": "https://idp.example",
    "audience": "scim",
    "algorithms": ["RS256"],
    "jwks_uri": "https://idp.example/jwks",
    "allowed_clients": ["connector"],
}
ASKED: dict[str, Any] = {"issuer": "https://iam.example", "client_id": "matrix", "client_secret_path": "iam.secret"}


def parsed(**raw: Any) -> Config:
    """Return what a configuration means."""
    return parse(raw, parse_size=parse_size, parse_duration_ms=parse_duration_ms)


def test_an_issuer_needs_a_way_to_its_keys_and_clients() -> None:
    """Everything else has a default; what its clients see and adopt is what the settings for all say."""
    assert parsed(jwt=[SIGNED]).jwt == (
        Issuer(
            issuer="https://idp.example",
            audience="scim",
            algorithms=frozenset({"RS256"}),
            jwks_uri="https://idp.example/jwks",
            allowed_clients=frozenset({"connector"}),
        ),
    )
    (issuer,) = parsed(jwt=[SIGNED]).jwt
    assert (issuer.discovery, issuer.client_claim, issuer.scope_claim) == (False, "azp", "scope")
    assert (issuer.domain, issuer.visibility, issuer.adopt, issuer.rate) == ("default", "all", "verified", Rate())

    first, second = parsed(visibility="own", adopt="any", jwt=[SIGNED, SIGNED | {"issuer": "x", "adopt": "never"}]).jwt
    assert (first.visibility, first.adopt) == ("own", "any")
    assert (second.visibility, second.adopt) == ("own", "never")


def test_every_setting_of_an_issuer_is_read() -> None:
    """Whatever is written is what counts; an issuer whose secret is shared need not be a URL."""
    (issuer,) = parsed(
        jwt=[
            {
                "issuer": "our-iam",
                "audience": "scim",
                "algorithms": ["HS256", "HS512"],
                "discovery": False,
                "secret_path": "iam.secret",
                "client_claim": "client_id",
                "allowed_clients": ["a", "b"],
                "scope_claim": "roles",
                "domain": "hr",
                "visibility": "own",
                "adopt": "never",
                "rate": {"per_second": 5, "burst_count": 6},
            }
        ]
    ).jwt

    assert issuer == Issuer(
        issuer="our-iam",
        audience="scim",
        algorithms=frozenset({"HS256", "HS512"}),
        secret_path="iam.secret",
        client_claim="client_id",
        allowed_clients=frozenset({"a", "b"}),
        scope_claim="roles",
        domain="hr",
        visibility="own",
        adopt="never",
        rate=Rate(per_second=5, burst_count=6),
    )


def test_a_server_to_ask_needs_an_address_and_a_secret() -> None:
    """Everything else has a default: only tokens of whoever asks are good, and answers are remembered for a minute."""
    assert parsed(introspection=[ASKED]).introspection == (
        Introspector(
            issuer="https://iam.example",
            client_id="matrix",
            client_secret_path="iam.secret",
            allowed_clients=frozenset({"matrix"}),
        ),
    )
    (server,) = parsed(visibility="own", adopt="any", introspection=[ASKED]).introspection
    assert (server.endpoint, server.audience, server.scopes) == (None, None, frozenset(Scope))
    assert (server.cache_for, server.domain, server.rate) == (timedelta(minutes=1), "default", Rate())
    assert (server.visibility, server.adopt) == ("own", "any")


def test_every_setting_of_a_server_to_ask_is_read() -> None:
    """Whatever is written is what counts; where the endpoint is known, the issuer is a mere name."""
    settings = {
        "issuer": "our-iam",
        "endpoint": "https://iam.example/introspect?realm=1",
        "allowed_clients": ["a", "b"],
        "audience": "scim",
        "scopes": ["users:read"],
        "cache_for": "10s",
        "domain": "hr",
        "visibility": "own",
        "adopt": "never",
        "rate": {"per_second": 5},
    }

    (server,) = parsed(introspection=[ASKED | settings]).introspection

    assert server == Introspector(
        issuer="our-iam",
        endpoint="https://iam.example/introspect?realm=1",
        client_id="matrix",
        client_secret_path="iam.secret",
        allowed_clients=frozenset({"a", "b"}),
        audience="scim",
        scopes=frozenset({Scope.users_read}),
        cache_for=timedelta(seconds=10),
        domain="hr",
        visibility="own",
        adopt="never",
        rate=Rate(per_second=5),
    )


def without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    """Return an entry without a setting."""
    return {name: value for name, value in entry.items() if name != key}


ONE_OF = "exactly one of 'jwks_uri', 'jwks_path', 'secret_path' and 'discovery: true'"
HTTPS = "must be an https: URL"

WRONG: list[tuple[str, dict[str, Any], tuple[str, ...], str]] = [
    *(
        ("jwt", without(SIGNED, key), (key,), "must be given")
        for key in ("issuer", "audience", "algorithms", "allowed_clients")
    ),
    *(("introspection", without(ASKED, key), (key,), "must be given") for key in ("client_id", "client_secret_path")),
    ("jwt", without(SIGNED, "jwks_uri"), (), ONE_OF),
    ("jwt", SIGNED | {"discovery": True}, (), ONE_OF),
    ("jwt", SIGNED | {"jwks_path": SECRET}, (), ONE_OF),
    ("jwt", SIGNED | {"secret_path": SECRET}, (), ONE_OF),
    ("jwt", without(SIGNED, "jwks_uri") | {"discovery": False}, (), ONE_OF),
    ("jwt", SIGNED | {"algorithms": ["none"]}, ("algorithms", "<item 0>"), "must be one of RS256, "),
    ("jwt", SIGNED | {"algorithms": []}, ("algorithms",), "must not be empty"),
    ("jwt", SIGNED | {"algorithms": ["RS256", "HS256"]}, ("algorithms", "<item 1>"), "does not go with 'jwks_uri'"),
    (
        "jwt",
        without(SIGNED, "jwks_uri") | {"jwks_path": SECRET, "algorithms": ["HS512"]},
        ("algorithms", "<item 0>"),
        "does not go with 'jwks_path'",
    ),
    (
        "jwt",
        without(SIGNED, "jwks_uri") | {"discovery": True, "algorithms": ["HS512"]},
        ("algorithms", "<item 0>"),
        "does not go with 'discovery'",
    ),
    (
        "jwt",
        without(SIGNED, "jwks_uri") | {"secret_path": SECRET, "algorithms": ["HS256", "ES256"]},
        ("algorithms", "<item 1>"),
        "does not go with 'secret_path': the HS algorithms need 'secret_path', and no other does",
    ),
    ("jwt", SIGNED | {"jwks_uri": "http://idp.example/hunter2"}, ("jwks_uri",), HTTPS),
    ("jwt", without(SIGNED, "jwks_uri") | {"discovery": True, "issuer": "http://hunter2.example"}, ("issuer",), HTTPS),
    ("jwt", SIGNED | {"allowed_clients": []}, ("allowed_clients",), "must not be empty"),
    ("jwt", SIGNED | {"allowed_clients": [""]}, ("allowed_clients", "<item 0>"), "must not be empty"),
    ("jwt", SIGNED | {"allowed_client": [SECRET]}, ("allowed_client",), "did you mean 'allowed_clients'?"),
    ("jwt", SIGNED | {"rate": {"per_second": float("nan")}}, ("rate", "per_second"), "must be a number"),
    ("introspection", without(ASKED, "issuer"), (), "must have an 'issuer' or an 'endpoint'"),
    ("introspection", ASKED | {"issuer": "http://hunter2.example"}, ("issuer",), HTTPS),
    ("introspection", ASKED | {"endpoint": "ftp://hunter2.example"}, ("endpoint",), HTTPS),
    ("introspection", ASKED | {"cache_for": SECRET}, ("cache_for",), "must be a duration"),
    ("introspection", ASKED | {"cache_for": -1}, ("cache_for",), "must be at least 0"),
    ("introspection", ASKED | {"scopes": []}, ("scopes",), "must not be empty"),
    ("introspection", ASKED | {"rate": {"burst_count": 0}}, ("rate", "burst_count"), "must be at least 1"),
]


@pytest.mark.parametrize(("section", "entry", "path", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_setting_is_named_and_its_value_is_not(
    section: str, entry: dict[str, Any], path: tuple[str, ...], message: str
) -> None:
    """The error has the path of the setting and what is wrong with it, and never a value: that may be a secret."""
    good = {"jwt": SIGNED | {"issuer": "x"}, "introspection": ASKED}[section]

    with pytest.raises(ConfigurationError) as refused:
        parsed(**{section: [good, entry]})

    assert refused.value.path == (section, "<item 1>", *path)
    assert message in str(refused.value)
    assert SECRET not in str(refused.value)


def test_an_issuer_stands_once() -> None:
    """Its tokens would else be of one entry or of another."""
    with pytest.raises(ConfigurationError, match="is another entry's already") as refused:
        parsed(jwt=[SIGNED, SIGNED])

    assert refused.value.path == ("jwt", "<item 1>", "issuer")


@pytest.mark.parametrize(
    ("url", "is_secure"),
    [
        ("https://idp.example", True),
        ("HTTPS://idp.example:8443/realms/x?a=b", True),
        ("https://[2001:db8::1]/jwks", True),
        ("http://127.0.0.1:8080/jwks", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8080", True),
        ("http://localhost/jwks", True),
        ("http://idp.example", False),
        ("http://localhost.example", False),
        ("http://192.0.2.1", False),
        ("http://127.0.0.1.example", False),
        ("https://user:password@idp.example", False),
        ("https://idp.example@evil.example", False),
        ("https://idp.example/#x", False),
        ("https://idp.example/\r\nHost: evil.example", False),
        ("https://idp.example/ x", False),
        ("https://ïdp.example", False),
        ("https://idp.example:port", False),
        ("https://idp.example:99999", False),
        ("https://[idp.example", False),
        ("https://", False),
        ("https:idp.example", False),
        ("idp.example", False),
        ("file:///etc/passwd", False),
        ("ftp://127.0.0.1", False),
        ("", False),
    ],
)
def test_which_urls_are_secure(url: str, is_secure: bool) -> None:  # noqa: FBT001 - a parameter
    """HTTPS, or HTTP on a loopback address, without anything that could be read in two ways (the documentation)."""
    assert is_secure_url(url) is is_secure


def key(kind: Any, *arguments: Any) -> dict[str, Any]:
    """Return a public key as it is published."""
    published: dict[str, Any] = kind.generate_key(*arguments).as_dict(private=False)
    return published


RSA, EC, ED = key(RSAKey, 2048), key(ECKey, "P-256"), key(OKPKey, "Ed25519")
PRIVATE = RSAKey.generate_key(2048).as_dict(private=True)


@pytest.mark.parametrize(
    ("published", "algorithm"),
    [
        (RSA, "RS256"),
        (RSA | {"alg": "PS512", "use": "sig", "key_ops": ["verify"], "kid": "1"}, "PS512"),
        (RSA | {"x5c": "no list", "x5u": "no URL", "x5t": 5, "oth": 1}, "RS256"),
        (PRIVATE, "RS256"),
        (EC, "ES256"),
        (key(ECKey, "P-384"), "ES384"),
        (key(ECKey, "P-521"), "ES512"),
        (ED, "Ed25519"),
    ],
)
def test_keys_that_can_verify_are_used(published: dict[str, Any], algorithm: str) -> None:
    """A key is used where type, curve and what it says of itself suit; certificates, and private parts, are ignored."""
    others = [RSA | {"use": "enc"}, {}, 5, None, {"kty": "AKP"}]

    (used,) = published_keys(json.dumps({"keys": [*others, published]}).encode(), {algorithm})

    assert not used.is_private
    assert used.kid == published.get("kid")


@pytest.mark.parametrize(
    ("published", "algorithm"),
    [
        (EC, "RS256"),
        (RSA, "ES256"),
        (EC, "ES384"),
        (key(OKPKey, "Ed448"), "Ed25519"),
        (key(OKPKey, "X25519"), "Ed25519"),
        (OctKey.generate_key(256).as_dict(), "HS256"),
        (RSA | {"alg": "RS512"}, "RS256"),
        (RSA | {"use": "enc"}, "RS256"),
        (RSA | {"use": ["sig"]}, "RS256"),
        (RSA | {"key_ops": ["sign"]}, "RS256"),
        (RSA | {"kid": 5}, "RS256"),
        (RSA | {"n": "AQAB"}, "RS256"),
        (RSA | {"n": 5}, "RS256"),
        (RSA | {"n": "+" * 400}, "RS256"),
        (RSA | {"n": "A" * 342}, "RS256"),
        (RSA | {"n": RSA["n"] * 5}, "RS256"),
        (RSA | {"e": RSA["n"]}, "RS256"),
        (RSA | {"e": "AQAA"}, "RS256"),
        (without(RSA, "n"), "RS256"),
        (EC | {"x": EC["y"]}, "ES256"),
        (EC | {"crv": "P-257"}, "ES256"),
        (EC | {"kty": ["EC"]}, "ES256"),
    ],
)
def test_keys_that_cannot_verify_are_ignored(published: dict[str, Any], algorithm: str) -> None:
    """Keys of other types, for other purposes, too short, too long or broken do no harm (RFC 7517 §5, RFC 7518)."""
    with pytest.raises(ValueError, match="it has no key for the algorithms that are configured"):
        published_keys(json.dumps({"keys": [published]}).encode(), {algorithm})


def test_a_shared_secret_is_no_published_key() -> None:
    """A symmetric key that everybody can fetch proves nothing: it is never taken from a key set."""
    key_set = json.dumps({"keys": [OctKey.generate_key(256).as_dict(), RSA]})

    (used,) = published_keys(key_set.encode(), {"RS256", "HS256"})

    assert used.key_type == "RSA"
