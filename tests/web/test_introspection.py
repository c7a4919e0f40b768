"""Opaque tokens, about which the server that issued them is asked (RFC 7662)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from synapse.module_api.errors import ConfigError
from twisted.internet.defer import Deferred, gatherResults

from tests.support.configuration import scim_module
from tests.support.homeserver import StartHomeserver
from tests.support.https import Answer, Held, answer, redirect
from tests.support.issuer import (
    INTROSPECTION,
    INTROSPECTION_ID,
    INTROSPECTION_SECRET,
    METADATA,
    SCIM_CLIENT,
    TokenIssuer,
)
from tests.support.runner import BlockingRunner
from tests.web.clients import STABLE, UNSTABLE, Admin, Synapse, assert_error, assert_scim, new_user, until
from tests.web.tokens import (
    Asking,
    assert_opens,
    assert_unauthenticated,
    assert_unknown,
    basic,
    client,
    logged,
    scim_of,
    token_of,
)


@pytest.fixture
def asking(start_homeserver: StartHomeserver, issuer: TokenIssuer, tmp_path: Path) -> Asking:
    """Start homeservers that ask `issuer`."""
    return Asking(start_homeserver, issuer, tmp_path / "introspection.secret")


@pytest.fixture
def other(runner: BlockingRunner) -> Iterator[TokenIssuer]:
    """Another authorization server."""
    issuer = TokenIssuer()
    yield issuer
    runner.run(issuer.stop())


async def test_an_active_token_opens_scim_and_nothing_else(asking: Asking, issuer: TokenIssuer) -> None:
    """A token that the server calls active is good for SCIM, below both prefixes; it is asked once (documentation)."""
    homeserver = (await asking()).homeserver
    assert issuer.requested == []
    token = issuer.opaque_token()
    for prefix in (STABLE, UNSTABLE):
        assert_scim(await scim_of(homeserver, token, prefix).get("/Users"), 200)
    ann = await scim_of(homeserver, token).create("ann")
    assert await scim_of(homeserver, token).read(ann["id"]) == ann
    # Synapse is shown it once as well, and warns.
    assert logged(homeserver).count("Invalid access token") == 1

    stranger = Synapse(homeserver.url, token, "")
    for path in ("/_matrix/client/v3/account/whoami", "/_synapse/admin/v2/users"):
        assert (await stranger.request("GET", path)).status == 401
    assert_error(await scim_of(homeserver, token).get("/Me"), 404, naming="no user")

    assert issuer.requested == [METADATA, INTROSPECTION]
    place = issuer.issuer.removeprefix("http://")
    assert f"{{scim:{INTROSPECTION_ID}@{place}}} Processed request" in logged(homeserver)
    assert token not in logged(homeserver)
    assert INTROSPECTION_SECRET not in logged(homeserver)


async def test_what_is_not_active_is_refused(asking: Asking, issuer: TokenIssuer) -> None:
    """401 for a token that the server does not know, that is not valid now, not its own, or no bearer token."""
    homeserver = (await asking(audience="scim")).homeserver
    now = time.time()
    good = {"aud": ["scim"], "iss": issuer.issuer, "token_type": "Bearer"}
    for fine in (
        {},
        {"iss": None},
        {"token_type": "access_token"},
        {"token_type": None},
        {"aud": "scim"},
        {"exp": None},
        {"exp": now - 20},
    ):
        await assert_opens(homeserver, issuer.opaque_token(**good | fine))

    for wrong in (
        {"exp": now - 40},
        {"exp": "never"},
        {"nbf": now + 60},
        {"iat": now + 60},
        {"iss": "https://other.example"},
        {"aud": "other"},
        {"aud": None},
        {"token_type": "refresh_token"},
        {"token_type": "DPoP"},
    ):
        answered = await scim_of(homeserver, issuer.opaque_token(**good | wrong)).get("/Users")
        assert answered.status == 401, wrong
        assert_unauthenticated(answered, "not known")
    await assert_unknown(homeserver, "unknown", "not known")


async def test_a_client_must_be_allowed(asking: Asking, issuer: TokenIssuer) -> None:
    """By default only tokens of whoever asks are good, since every token of the issuer is active; others are 403."""
    homeserver = (await asking()).homeserver
    for other in (SCIM_CLIENT, "", None, [INTROSPECTION_ID], {"a": 1}):
        for _ in range(2):
            scim = scim_of(homeserver, issuer.opaque_token(client_id=other))
            assert_error(await scim.get("/Users"), 403, naming="may not use SCIM")


async def test_other_clients_can_be_allowed(asking: Asking, issuer: TokenIssuer) -> None:
    """With `allowed_clients` those are allowed, and nobody else."""
    homeserver = (await asking(allowed_clients=[SCIM_CLIENT])).homeserver

    await assert_opens(homeserver, issuer.opaque_token(client_id=SCIM_CLIENT))
    assert_error(await scim_of(homeserver, issuer.opaque_token()).get("/Users"), 403, naming="may not use SCIM")


async def test_rights_are_what_is_granted_and_named(asking: Asking, issuer: TokenIssuer) -> None:
    """A token has the scopes of SCIM that it names, within `scopes`; one that names none has these if it is a client's.

    One of a person, who logged in to the same client, has no rights then (the documentation).
    """
    everything = (await asking()).homeserver
    reading = (await asking(scopes=["users:read"])).homeserver
    client_id = INTROSPECTION_ID

    for homeserver, said, reads, writes in (
        (everything, {}, 200, 201),
        (everything, {"scope": "openid profile"}, 200, 201),
        (everything, {"scope": "", "sub": client_id, "username": client_id}, 200, 201),
        (everything, {"scope": "openid users:read"}, 200, 403),
        (everything, {"scope": ["users:write"]}, 403, 201),
        (everything, {"scope": "openid profile", "sub": "ann"}, 403, 403),
        (everything, {"username": "Ann Lee"}, 403, 403),
        (everything, {"scope": "users:read", "sub": "ann", "username": "Ann Lee"}, 200, 403),
        (reading, {}, 200, 403),
        (reading, {"scope": "users:read users:write"}, 200, 403),
        (reading, {"scope": "users:write"}, 403, 403),
    ):
        scim = scim_of(homeserver, issuer.opaque_token(**said))
        assert (await scim.get("/Users")).status == reads, said
        assert (await scim.post("/Users", new_user(f"ann{time.time()}"))).status == writes, said


async def test_an_issuers_clients_have_its_domain(asking: Asking, issuer: TokenIssuer) -> None:
    """`domain`, `visibility` and `adopt` are those of the entry; what it lacks is what the settings for all say."""
    admin = await asking({"visibility": "managed", "adopt": "never"}, domain="hr", visibility="own")
    await admin.scim.create("bob", externalId="1")
    await admin.homeserver.register("old")
    scim = scim_of(admin.homeserver, issuer.opaque_token())

    await scim.create("ann", externalId="1")

    assert await scim.names() == ["ann"]
    assert_error(await scim.post("/Users", new_user("old")), 409, "uniqueness")


async def test_answers_are_remembered(asking: Asking, issuer: TokenIssuer) -> None:
    """The same token is asked about once in `cache_for`, whether it is active or not, or its client not allowed."""
    homeserver = (await asking()).homeserver
    active, forbidden = issuer.opaque_token(), issuer.opaque_token(client_id="b")

    for _ in range(3):
        await assert_opens(homeserver, active)
        await assert_unknown(homeserver, "unknown")
        assert_error(await scim_of(homeserver, forbidden).get("/Users"), 403)
    # What happens meanwhile shows later.
    issuer.known.clear()
    await assert_opens(homeserver, active)

    assert issuer.asked_about == [active, "unknown", forbidden]


async def test_nothing_need_be_remembered(asking: Asking, issuer: TokenIssuer) -> None:
    """With `cache_for: 0` the server is asked each time, so that a token that is revoked is refused at once."""
    homeserver = (await asking(cache_for=0)).homeserver
    token = issuer.opaque_token()
    await assert_opens(homeserver, token)

    issuer.known.clear()

    await assert_unknown(homeserver, token)
    assert issuer.asked_about == [token, token]


async def test_requests_with_one_token_ask_once(asking: Asking, issuer: TokenIssuer) -> None:
    """Requests that come while the server is slow wait for one answer; those with other tokens do not wait for it."""
    homeserver = (await asking(issuer=None, endpoint=issuer.url(INTROSPECTION))).homeserver
    usual = json.dumps({"active": True, "client_id": INTROSPECTION_ID}).encode()
    held = issuer.answers[INTROSPECTION] = Held(answer(usual, "application/json"))
    waiting = [Deferred.fromCoroutine(assert_opens(homeserver, "slow")) for _ in range(4)]

    async def asked() -> bool:
        return bool(held.requests)

    await until(asked)
    del issuer.answers[INTROSPECTION]
    await assert_opens(homeserver, issuer.opaque_token())
    assert not any(request.called for request in waiting)
    held.release()

    await gatherResults(waiting)
    assert issuer.requested == [INTROSPECTION, INTROSPECTION]


@pytest.mark.parametrize(
    ("wrong", "naming"),
    [
        (answer(b"<html>", "text/html"), "it answers with something else than a JSON object"),
        (answer(b'{"active": "true"}', "application/json"), "it does not say whether the token is active"),
        (answer(b'{"active": 1}', "application/json"), "it does not say whether the token is active"),
        (answer(b"{}", "application/json"), "it does not say whether the token is active"),
        (answer(b'["active"]', "application/json"), "it answers with something else than a JSON object"),
        (answer(b" " * 300_000, "application/json"), "it answers with more than 262144 bytes"),
        (answer(b"", status=500), "it answers 500"),
        (answer(b"", status=401), "it answers 401"),
        (redirect("/elsewhere"), "it answers 302"),
        (lambda request: request.loseConnection(), "it does not answer: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_without_an_answer_nobody_can_tell(
    asking: Asking, issuer: TokenIssuer, wrong: Answer, naming: str
) -> None:
    """503 with `Retry-After`, and the log says why; it is not remembered, so that it works as soon as it can."""
    homeserver = (await asking()).homeserver
    token = issuer.opaque_token()
    issuer.answers[INTROSPECTION] = wrong

    refused = await scim_of(homeserver, token).get("/Users")

    assert_error(refused, 503, naming="cannot be asked about it at the moment")
    assert int(refused.headers["retry-after"]) > 0
    assert f"{issuer.issuer} cannot be asked about a token: {naming}" in logged(homeserver, logging.WARNING)
    assert token not in logged(homeserver)
    del issuer.answers[INTROSPECTION]
    await assert_opens(homeserver, token)


async def test_an_issuer_need_not_be_up(asking: Asking, issuer: TokenIssuer) -> None:
    """The homeserver starts without it, and answers 503 until it is there; other credentials work meanwhile."""
    await issuer.stop()
    admin = await asking()
    token = issuer.opaque_token()
    answered = await scim_of(admin.homeserver, token).get("/Users")
    assert_error(answered, 503, naming=f"The metadata of {issuer.issuer} cannot be fetched")
    assert_scim(await admin.scim.get("/Users"), 200)

    issuer.start_again()

    async def opens() -> bool:
        return (await scim_of(admin.homeserver, token).get("/Users")).status == 200

    await until(opens)


async def test_whoever_guesses_is_turned_away_before_anybody_is_asked(asking: Asking, issuer: TokenIssuer) -> None:
    """The limit of unknown credentials from one address bounds how often the issuer is asked (the documentation)."""
    homeserver = (await asking()).homeserver
    token = issuer.opaque_token()
    await assert_opens(homeserver, token)

    statuses = [(await scim_of(homeserver, f"guess{number}").get("/Users")).status for number in range(120)]

    assert statuses[:60] == [401] * 60
    assert statuses[-1] == 429
    assert len(issuer.asked_about) == 1 + statuses.count(401)
    await assert_opens(homeserver, token)


@pytest.mark.parametrize("admin_tokens", [True, False])
async def test_tokens_of_the_homeserver_are_shown_to_nobody(
    start_homeserver: StartHomeserver,
    asking: Asking,
    issuer: TokenIssuer,
    tmp_path: Path,
    admin_tokens: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Neither those that the homeserver knows, whoever has them and whether it accepts them, nor those that look so."""
    bridge = {"id": "bridge", "url": None, "as_token": "the-bridge", "hs_token": "x", "sender_localpart": "bridge"}
    (tmp_path / "bridge.yaml").write_text(json.dumps(bridge | {"namespaces": {}}))
    homeserver = await start_homeserver(
        module=scim_module({"introspection": [asking.entry()], "admin_tokens": admin_tokens}),
        config={"app_service_config_files": [str(tmp_path / "bridge.yaml")], "allow_guest_access": True},
    )
    admin = await Admin.of(homeserver)
    await homeserver.register("ann")
    store = homeserver.hs.get_datastores().main
    with homeserver._context():
        await store.add_access_token_to_user("@ann:example.org", "old-fashioned", None, None)
        await store.add_access_token_to_user("@ann:example.org", "expired", None, 1)
        await store.add_access_token_to_user(await homeserver.register("locked"), "locked", None, None)
        await store.set_user_locked_status("@locked:example.org", True)  # noqa: FBT003 - Synapse's
    guest = await admin.synapse.request("POST", "/_matrix/client/v3/register?kind=guest", {})

    assert (await admin.scim.get("/Users")).status == (200 if admin_tokens else 401)
    for token in ("old-fashioned", guest.json["access_token"], "the-bridge"):
        assert (await scim_of(homeserver, token).get("/Users")).status == (403 if admin_tokens else 401), token
    for token in ("expired", "locked", *(f"{prefix}_x" for prefix in ("syt", "syr", "mat", "mar", "mct", "mcr"))):
        await assert_unknown(homeserver, token)

    assert issuer.requested == []


async def test_the_order_of_those_who_are_asked(asking: Asking, issuer: TokenIssuer, other: TokenIssuer) -> None:
    """A client's token, HTTP Basic and a JWT of a trusted issuer are shown to nobody; what is left is, in order.

    A JWT of an issuer whose signature is not known may be asked about, as any token.
    """
    config = {
        "clients": [client("okta", basic=True)],
        "jwt": [other.trusted()],
        "introspection": [asking.entry(), asking.entry(issuer=other.issuer)],
    }
    homeserver = (await asking(config)).homeserver
    await assert_opens(homeserver, token_of("okta"))
    await assert_opens(homeserver, other.token())
    for token in (other.token(aud="x"), other.token(exp=1)):
        assert_error(await scim_of(homeserver, token).get("/Users"), 401)
    for name, token in (("okta", issuer.opaque_token()), ("nobody", "opaque")):
        refused = await scim_of(homeserver, "").get("/Users", headers=basic(name, token))
        assert_error(refused, 401, naming="no client with this name")
    assert issuer.asked_about == other.asked_about == []

    first, second, foreign = issuer.opaque_token(), other.opaque_token(), issuer.token()
    for token in (first, second):
        await assert_opens(homeserver, token)
    assert_error(await scim_of(homeserver, foreign).get("/Users"), 401, naming="not known")

    assert issuer.asked_about == [first, second, foreign]
    assert other.asked_about == [second, foreign]


@pytest.mark.expected_errors("The file .* cannot be read")
async def test_a_secret_that_changes_counts_at_once(asking: Asking, issuer: TokenIssuer) -> None:
    """The file with the secret is read again when it changes; without it nobody can tell."""
    homeserver = (await asking()).homeserver
    issuer.secret = "another"
    token = issuer.opaque_token()
    assert_error(await scim_of(homeserver, token).get("/Users"), 503)

    asking.secret.write_text("another")
    await assert_opens(homeserver, token)

    asking.secret.unlink()
    await assert_opens(homeserver, token)
    assert_error(await scim_of(homeserver, issuer.opaque_token()).get("/Users"), 503, naming="file")
    assert logged(homeserver).count(f"The file {asking.secret} cannot be read: No such file or directory") == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read: No such file or directory"), ("\n", "is empty")],
)
async def test_a_secret_must_be_there(
    asking: Asking, start_homeserver: StartHomeserver, tmp_path: Path, content: str | None, problem: str
) -> None:
    """Synapse does not start without it; the refusal names the setting."""
    path = tmp_path / "other.secret"
    if content is not None:
        path.write_text(content)
    config = {"introspection": [asking.entry(), asking.entry(client_secret_path=str(path))]}

    with pytest.raises(ConfigError) as refused:
        await start_homeserver(module=scim_module(config))

    assert refused.value.msg == f"'introspection.<item 1>.client_secret_path' names a file that {problem}"
