"""The keys of trusted issuers: where they come from, how they change, and what happens where there are none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey
from synapse.module_api.errors import ConfigError
from twisted.internet.defer import Deferred, gatherResults

from tests.support.configuration import scim_module
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.support.https import Answer, CertificateAuthority, answer, redirect
from tests.support.issuer import KEYS, METADATA, TokenIssuer, new_key
from tests.support.runner import BlockingRunner
from tests.web.clients import assert_error, assert_scim, until
from tests.web.tokens import assert_opens, assert_unknown, logged, scim_of, trusting

SECRET = "a secret that is long enough for HS256"
OAUTH_METADATA = "/.well-known/oauth-authorization-server"


def as_json(value: Any) -> Answer:
    """Return what answers with JSON."""
    return answer(json.dumps(value).encode(), "application/json")


def key_set(*keys: ECKey) -> str:
    """Return keys as they are published."""
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]})


async def assert_unavailable(homeserver: LocalHomeserver, token: str, naming: str) -> None:
    """Check that nobody can tell now whether a token is valid."""
    refused = await scim_of(homeserver, token).get("/Users")
    assert_error(refused, 503, naming=naming)
    assert int(refused.headers["retry-after"]) > 0
    assert token not in logged(homeserver)


async def test_an_issuer_may_tell_where_its_keys_are(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """With `discovery` its metadata does (OpenID Connect Discovery 1.0 §4); nothing is asked before it is needed."""
    homeserver = (await trusting(start_homeserver, issuer.trusted(discovery=True, jwks_uri=None))).homeserver
    assert issuer.requested == []

    await assert_opens(homeserver, issuer.token())

    assert issuer.requested == [METADATA, KEYS]


async def test_metadata_is_sought_elsewhere_only_where_there_is_none(
    start_homeserver: StartHomeserver, issuer: TokenIssuer
) -> None:
    """An issuer that is in trouble is not asked a second time at once."""
    issuer.answers = {METADATA: answer(b"", status=500), OAUTH_METADATA: as_json(issuer.metadata())}
    homeserver = (await trusting(start_homeserver, issuer.trusted(discovery=True, jwks_uri=None))).homeserver

    await assert_unavailable(homeserver, issuer.token(), "cannot be fetched")

    assert issuer.requested == [METADATA]


async def test_an_issuer_need_not_be_an_openid_provider(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """Where there is no metadata of OpenID Connect, that of OAuth 2.0 does (RFC 8414 §3); paths go behind."""
    issuer.issuer += "/realms/corp/"
    issuer.answers = {
        f"/realms/corp{METADATA}": answer(b"no", status=404),
        f"{OAUTH_METADATA}/realms/corp": as_json(issuer.metadata() | {"jwks_uri": issuer.url(KEYS)}),
    }
    homeserver = (await trusting(start_homeserver, issuer.trusted(discovery=True, jwks_uri=None))).homeserver

    await assert_opens(homeserver, issuer.token())

    assert issuer.requested == [f"/realms/corp{METADATA}", f"{OAUTH_METADATA}/realms/corp", KEYS]


@pytest.mark.parametrize(
    ("changes", "naming"),
    [
        ({"issuer": "https://other.example"}, "its metadata is another issuer's"),
        ({"issuer": None}, "its metadata is another issuer's"),
        ({"jwks_uri": None}, "its metadata names no 'jwks_uri' that is an https: URL"),
        ({"jwks_uri": ["https://other.example"]}, "its metadata names no 'jwks_uri'"),
        ({"jwks_uri": "http://other.example/jwks"}, "its metadata names no 'jwks_uri'"),
        ({"jwks_uri": "file:///etc/passwd"}, "its metadata names no 'jwks_uri'"),
    ],
)
async def test_lying_metadata_is_not_believed(
    start_homeserver: StartHomeserver, issuer: TokenIssuer, changes: dict[str, Any], naming: str
) -> None:
    """Metadata must call the issuer as the configuration does, and keys do not come over an open line."""
    issuer.metadata_changes = changes
    homeserver = (await trusting(start_homeserver, issuer.trusted(discovery=True, jwks_uri=None))).homeserver

    await assert_unavailable(homeserver, issuer.token(), "cannot be fetched")

    assert naming in logged(homeserver)
    assert issuer.requested == [METADATA]


@pytest.mark.parametrize(
    ("wrong", "naming"),
    [
        (answer(b"<html>", "text/html"), "it is no JWK Set"),
        (answer(b"[" * 100_000, "application/json"), "it is no JWK Set"),
        (as_json([1]), "it is no JWK Set"),
        (as_json({"keys": {}}), "it is no JWK Set"),
        (as_json({"keys": [{"kty": "EC"}]}), "it has no key for the algorithms that are configured"),
        (as_json({"keys": [{}] * 51}), "it has more than 50 keys"),
        (answer(b" " * 300_000, "application/json"), "it answers with more than 262144 bytes"),
        (answer(b"", status=500), "it answers 500"),
        (answer(b"", status=404), "it answers 404"),
        (redirect("/elsewhere"), "it answers 302"),
        (lambda request: request.loseConnection(), "it does not answer: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_no_key_set_is_not_used(
    start_homeserver: StartHomeserver, issuer: TokenIssuer, wrong: Answer, naming: str
) -> None:
    """Then nobody can tell whether a token is valid: 503, and the log says why."""
    issuer.answers[KEYS] = wrong
    homeserver = (await trusting(start_homeserver, issuer.trusted())).homeserver

    await assert_unavailable(homeserver, issuer.token(), f"The key set of {issuer.issuer} cannot be fetched")

    assert f"The key set of {issuer.issuer} cannot be fetched: {naming}" in logged(homeserver)
    assert issuer.requested == [KEYS]


async def test_keys_rotate_without_a_restart(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """A token with a key that is not known yet has the keys looked at again, once for all that wait for them."""
    homeserver = (await trusting(start_homeserver, issuer.trusted())).homeserver
    old = issuer.token()
    await assert_opens(homeserver, old)

    issuer.rotate()
    new = issuer.token()
    await gatherResults([Deferred.fromCoroutine(assert_opens(homeserver, new)) for _ in range(5)])

    assert issuer.requested == [KEYS, KEYS]
    await assert_unknown(homeserver, old, "a key that its issuer does not have")


async def test_unknown_keys_make_no_flood(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """Anybody can name keys that do not exist: the issuer is asked once for many of them."""
    homeserver = (await trusting(start_homeserver, issuer.trusted())).homeserver
    await assert_opens(homeserver, issuer.token())

    for _ in range(20):
        await assert_unknown(homeserver, issuer.token(key=new_key()), "a key that its issuer does not have")

    await assert_opens(homeserver, issuer.token())
    assert issuer.requested == [KEYS, KEYS]


async def test_an_issuer_need_not_be_up(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """The homeserver starts without it, and answers 503 until it is there; what needs no keys is refused at once."""
    await issuer.stop()
    homeserver = (await trusting(start_homeserver, issuer.trusted())).homeserver
    for _ in range(3):
        await assert_unavailable(homeserver, issuer.token(), f"The key set of {issuer.issuer} cannot be fetched")
    assert len(re.findall("cannot be fetched: it does not answer", logged(homeserver))) == 1
    await assert_unknown(homeserver, issuer.token(iss="https://other.example"))
    await assert_unknown(homeserver, issuer.token(header={"typ": "ID"}))

    issuer.start_again()

    async def opens() -> bool:
        return (await scim_of(homeserver, issuer.token()).get("/Users")).status == 200

    await until(opens)


async def test_known_keys_outlive_their_issuer(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """Whoever has a key that is known comes in while the issuer is down; of an unknown one nobody can tell."""
    homeserver = (await trusting(start_homeserver, issuer.trusted())).homeserver
    await assert_opens(homeserver, issuer.token())
    await issuer.stop()

    for _ in range(2):
        await assert_unavailable(homeserver, issuer.token(key=new_key()), "cannot be fetched")
        await assert_opens(homeserver, issuer.token())


@pytest.mark.expected_errors("The file .* (will not do|cannot be read)")
async def test_files_count_as_they_are(start_homeserver: StartHomeserver, issuer: TokenIssuer, tmp_path: Path) -> None:
    """A key set or a secret in a file that changes counts from the next request on; one that breaks lets nobody in."""
    keys, secret = tmp_path / "keys.json", tmp_path / "issuer.secret"
    keys.write_text(key_set(issuer.keys[0]))
    secret.write_text(f"{SECRET}\n")
    entries = (
        issuer.trusted(jwks_uri=None, jwks_path=str(keys)),
        issuer.trusted(jwks_uri=None, issuer="our-iam", secret_path=str(secret), algorithms=["HS256"]),
    )
    homeserver = (await trusting(start_homeserver, *entries)).homeserver

    def shared(text: str, **header: str) -> str:
        return issuer.token(key=OctKey.import_key(text), algorithm="HS256", iss="our-iam", header=header)

    first = issuer.token()
    for token in (first, shared(SECRET), shared(SECRET, kid="any")):
        await assert_opens(homeserver, token)

    issuer.rotate()
    keys.write_text(key_set(issuer.keys[0]))
    secret.write_text(SECRET[::-1] + "!")

    await assert_unknown(homeserver, first, "a key that its issuer does not have")
    await assert_unknown(homeserver, shared(SECRET), "signature")
    for token in (issuer.token(), shared(SECRET[::-1] + "!")):
        await assert_opens(homeserver, token)

    keys.write_text("{}")
    secret.unlink()

    for token in (issuer.token(), issuer.token(), shared(SECRET)):
        await assert_unavailable(homeserver, token, "file")
    assert logged(homeserver).count(f"The file {keys} will not do: it is no JWK Set") == 1
    assert logged(homeserver).count(f"The file {secret} cannot be read: No such file or directory") == 1


@pytest.mark.parametrize(
    ("settings", "content", "key", "problem"),
    [
        ({"jwks_path": "file"}, None, "jwks_path", "cannot be read: No such file or directory"),
        ({"jwks_path": "."}, None, "jwks_path", "is no regular file"),
        ({"jwks_path": "file"}, "hunter2", "jwks_path", "will not do: it is no JWK Set"),
        ({"jwks_path": "file"}, " " * 300_000, "jwks_path", "is too large"),
        ({"jwks_path": "file"}, key_set(), "jwks_path", "will not do: it has no key for the algorithms"),
        ({"secret_path": "file"}, "\n", "secret_path", "is empty"),
        ({"secret_path": "file"}, "hunter2", "secret_path", "holds a secret of less than 64 bytes"),
        ({"secret_path": "file"}, f"\n{new_key().as_pem().decode()}", "secret_path", "holds a key or a certificate"),
    ],
)
async def test_files_that_will_not_do_stop_the_start(
    start_homeserver: StartHomeserver,
    issuer: TokenIssuer,
    tmp_path: Path,
    settings: dict[str, str],
    content: str | None,
    key: str,
    problem: str,
) -> None:
    """The refusal names the setting and what is wrong with the file, and shows nothing of it."""
    if content is not None:
        (tmp_path / "file").write_text(content)
    algorithms = ["HS256", "HS512"] if key == "secret_path" else ["ES256"]
    entry = issuer.trusted(jwks_uri=None, algorithms=algorithms, **{k: str(tmp_path / v) for k, v in settings.items()})

    with pytest.raises(ConfigError) as refused:
        await start_homeserver(module=scim_module({"jwt": [issuer.trusted(issuer="first"), entry]}))

    assert refused.value.msg.startswith(f"'jwt.<item 1>.{key}' names a file that {problem}")
    assert "hunter2" not in refused.value.msg


@pytest.fixture
def https_issuer(authority: CertificateAuthority, runner: BlockingRunner) -> Iterator[TokenIssuer]:
    """An authorization server with a certificate that homeservers trust."""
    issuer = TokenIssuer(authority)
    yield issuer
    runner.run(issuer.stop())


async def test_certificates_are_checked(
    start_homeserver: StartHomeserver, https_issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys come over HTTPS, from whoever has a certificate that Synapse trusts."""
    entry = https_issuer.trusted(discovery=True, jwks_uri=None)
    trusts = (await trusting(start_homeserver, entry)).homeserver
    await assert_opens(trusts, https_issuer.token())

    monkeypatch.delenv("SSL_CERT_FILE")
    trusts_not = (await trusting(start_homeserver, entry)).homeserver

    await assert_unavailable(trusts_not, https_issuer.token(), "cannot be fetched")
    assert https_issuer.requested == [METADATA, KEYS]


async def test_keys_do_not_come_over_http(
    start_homeserver: StartHomeserver, https_issuer: TokenIssuer, issuer: TokenIssuer
) -> None:
    """An issuer elsewhere cannot send the homeserver to its own loopback interface."""
    https_issuer.metadata_changes = {"jwks_uri": issuer.url(KEYS)}
    homeserver = (await trusting(start_homeserver, https_issuer.trusted(discovery=True, jwks_uri=None))).homeserver

    await assert_unavailable(homeserver, https_issuer.token(), "cannot be fetched")

    assert https_issuer.requested == [METADATA]
    assert issuer.requested == []


async def test_keys_come_through_the_proxy(
    start_homeserver: StartHomeserver, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Synapse asks others through a proxy, so does SCIM."""
    monkeypatch.setenv("http_proxy", issuer.issuer)
    monkeypatch.setenv("no_proxy", "")
    # Nobody listens there.
    entry = issuer.trusted(jwks_uri=f"http://localhost:1{KEYS}")

    await assert_opens((await trusting(start_homeserver, entry)).homeserver, issuer.token())

    assert issuer.requested == [KEYS]


async def test_discovery_announces_oauth(start_homeserver: StartHomeserver, issuer: TokenIssuer) -> None:
    """`/ServiceProviderConfig` has a scheme for tokens of trusted issuers, where there is one (RFC 7643 §5)."""
    admin = await trusting(start_homeserver, issuer.trusted(), admin_tokens=False)

    announced = assert_scim(await admin.scim.get("/ServiceProviderConfig"), 200)["authenticationSchemes"]

    assert [(scheme["type"], scheme["primary"]) for scheme in announced] == [("oauth2", True)]
