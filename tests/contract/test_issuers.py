"""How often issuers are asked, and for how long what they said counts: over HTTP, with a clock of the test's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.web.http import Request

from synapse_scim.accounts import Unavailable
from synapse_scim.config import Introspector, parse
from synapse_scim.credentials import introspection
from synapse_scim.credentials.introspection import introspected_tokens
from synapse_scim.credentials.jwt import trusted_issuers
from synapse_scim.homeserver.settings import parse_duration_ms, parse_size
from synapse_scim.homeserver.web import HomeserverWebClient
from synapse_scim.subject import Credential, Subject, Unauthenticated
from synapse_scim.web import WebUnavailable
from tests.support.homeserver import LocalHomeserver
from tests.support.https import answer
from tests.support.issuer import (
    INTROSPECTION,
    INTROSPECTION_ID,
    INTROSPECTION_SECRET,
    KEYS,
    TokenIssuer,
    new_key,
)


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        """Start now."""
        self.time = datetime.now(UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.time

    def advance(self, **duration: float) -> None:
        """Go on."""
        self.time += timedelta(**duration)


class Caller:
    """Shows tokens to an authority."""

    def __init__(
        self,
        homeserver: LocalHomeserver,
        issuer: TokenIssuer,
        authority: Callable[[object, Credential], Awaitable[Subject | None]],
        clock: Clock,
    ) -> None:
        """Show nothing yet."""
        self.clock = clock
        self.issuer = issuer
        self._homeserver = homeserver
        self._authority = authority

    async def shows(self, token: str, name: str | None = None) -> str | None:
        """Return who it is that has a token, in short, or what is said of it; with a name, it is HTTP Basic."""
        try:
            with self._homeserver._context():
                subject = await self._authority(None, Credential(token=token, name=name))
        except Unauthenticated as error:
            return str(error)
        except Unavailable:
            return "unavailable"
        return None if subject is None else "somebody"

    async def shows_signed(self, **options: Any) -> str | None:
        """Show a token that is valid at the time of the clock."""
        now = int(self.clock.time.timestamp())
        return await self.shows(self.issuer.token(iat=now, exp=now + 60, **options))


@pytest.fixture
def caller(homeserver: LocalHomeserver, issuer: TokenIssuer) -> Caller:
    """Somebody with tokens that the issuer signed."""
    clock = Clock()
    config = parse({"jwt": [issuer.trusted()]}, parse_size=parse_size, parse_duration_ms=parse_duration_ms)
    authority = trusted_issuers(config.jwt, HomeserverWebClient(homeserver.hs), clock)
    return Caller(homeserver, issuer, authority.subject, clock)


@pytest.fixture
def bearer(homeserver: LocalHomeserver, issuer: TokenIssuer, tmp_path: Path) -> Caller:
    """Somebody with tokens about which the issuer is asked."""
    clock = Clock()
    secret = tmp_path / "secret"
    secret.write_text(INTROSPECTION_SECRET)
    introspector = Introspector(
        issuer=issuer.issuer,
        endpoint=issuer.url(INTROSPECTION),
        client_id=INTROSPECTION_ID,
        client_secret_path=str(secret),
        allowed_clients=frozenset({INTROSPECTION_ID}),
    )
    (authority,) = introspected_tokens([introspector], HomeserverWebClient(homeserver.hs), clock)
    return Caller(homeserver, issuer, authority.subject, clock)


def is_unknown(said: str | None) -> bool:
    """Tell whether a token was refused because of its key."""
    return said == "The token is signed with a key that its issuer does not have"


async def test_keys_are_looked_at_again(caller: Caller) -> None:
    """What an issuer withdraws is good for ten minutes at most, and it is asked no more often (the documentation)."""
    issuer = caller.issuer
    withdrawn = issuer.keys[0]
    assert await caller.shows_signed() == "somebody"
    issuer.rotate()

    caller.clock.advance(minutes=10)
    assert await caller.shows_signed(key=withdrawn) == "somebody"
    assert issuer.requested == [KEYS]

    caller.clock.advance(seconds=1)
    assert is_unknown(await caller.shows_signed(key=withdrawn))
    # Once because of the time, once because of the key.
    assert issuer.requested == [KEYS] * 3


async def test_unknown_keys_are_looked_for_again_later(caller: Caller) -> None:
    """Ten seconds after a look that an unknown key made, another key may make another one (the documentation)."""
    issuer = caller.issuer
    assert await caller.shows_signed() == "somebody"
    assert is_unknown(await caller.shows_signed(key=new_key()))
    issuer.rotate()

    caller.clock.advance(seconds=9)
    assert is_unknown(await caller.shows_signed())
    caller.clock.advance(seconds=1)
    assert await caller.shows_signed() == "somebody"

    assert issuer.requested == [KEYS] * 3


async def test_old_keys_count_for_a_day(caller: Caller) -> None:
    """While the issuer is down its keys are good for a day, and it is tried once a minute (the documentation)."""
    issuer = caller.issuer
    assert await caller.shows_signed() == "somebody"
    issuer.answers[KEYS] = answer(b"", status=500)

    caller.clock.advance(minutes=11)
    assert [await caller.shows_signed() for _ in range(3)] == ["somebody"] * 3
    caller.clock.advance(seconds=59)
    assert await caller.shows_signed() == "somebody"
    assert len(issuer.requested) == 2
    caller.clock.advance(seconds=1)
    assert await caller.shows_signed() == "somebody"
    assert len(issuer.requested) == 3

    caller.clock.advance(hours=23, minutes=47)
    assert await caller.shows_signed() == "somebody"
    caller.clock.advance(minutes=2)
    assert await caller.shows_signed() == "unavailable"

    del issuer.answers[KEYS]
    caller.clock.advance(minutes=1)
    assert await caller.shows_signed() == "somebody"


async def test_an_issuer_that_is_down_is_tried_every_few_seconds(caller: Caller) -> None:
    """As long as there are no keys it is tried every five seconds, however many ask (the documentation)."""
    issuer = caller.issuer
    issuer.answers[KEYS] = answer(b"", status=500)
    assert [await caller.shows_signed() for _ in range(3)] == ["unavailable"] * 3
    caller.clock.advance(seconds=4)
    assert await caller.shows_signed() == "unavailable"
    assert len(issuer.requested) == 1
    del issuer.answers[KEYS]

    caller.clock.advance(seconds=1)
    assert await caller.shows_signed() == "somebody"


async def test_of_unknown_keys_nobody_can_tell_while_the_issuer_is_down(caller: Caller) -> None:
    """503, not 401, for a key that the issuer may have by now; it is asked about them every ten seconds."""
    issuer = caller.issuer
    assert await caller.shows_signed() == "somebody"
    issuer.rotate()
    issuer.answers[KEYS] = answer(b"", status=500)

    assert [await caller.shows_signed() for _ in range(3)] == ["unavailable"] * 3
    assert len(issuer.requested) == 2
    del issuer.answers[KEYS]
    caller.clock.advance(seconds=10)

    assert await caller.shows_signed() == "somebody"


async def test_whoever_comes_while_keys_are_fetched_waits(caller: Caller) -> None:
    """A token with a new key waits for a look that another one made, instead of being refused."""
    issuer = caller.issuer
    assert await caller.shows_signed() == "somebody"
    waiting = [Deferred.fromCoroutine(caller.shows_signed(key=new_key())) for _ in range(3)]
    issuer.rotate()
    waiting.append(Deferred.fromCoroutine(caller.shows_signed()))

    said = await gatherResults(waiting)

    assert [is_unknown(words) for words in said] == [True, True, True, False]
    assert said[3] == "somebody"
    assert issuer.requested == [KEYS] * 2


async def test_passwords_are_no_tokens(caller: Caller, bearer: Caller) -> None:
    """What came as the password of HTTP Basic is neither verified nor shown to anybody."""
    assert await caller.shows(caller.issuer.token(), name="ann") is None
    assert await bearer.shows(bearer.issuer.opaque_token(), name="ann") is None
    assert caller.issuer.requested == []


async def test_what_looks_like_a_homeservers_token_is_shown_to_nobody(bearer: Caller) -> None:
    """Whatever the homeserver itself says of it, no issuer is asked about it."""
    for prefix in ("syt_", "syr_", "syl_", "mat_", "mar_", "mct_", "mcr_"):
        assert await bearer.shows(f"{prefix}x") is None
    assert bearer.issuer.requested == []


async def test_answers_about_tokens_are_remembered_for_a_while(bearer: Caller) -> None:
    """Good ones and bad ones for `cache_for`, by default a minute (the documentation)."""
    issuer = bearer.issuer
    token = issuer.opaque_token(exp=None)
    for _ in range(2):
        assert [await bearer.shows(token), await bearer.shows("x")] == ["somebody", None]
    bearer.clock.advance(seconds=59)
    assert [await bearer.shows(token), await bearer.shows("x")] == ["somebody", None]
    assert issuer.asked_about == [token, "x"]

    issuer.known["x"] = issuer.known.pop(token)
    bearer.clock.advance(seconds=1)

    assert [await bearer.shows(token), await bearer.shows("x")] == [None, "somebody"]
    assert issuer.asked_about == [token, "x"] * 2


async def test_a_good_answer_ends_with_its_token(bearer: Caller) -> None:
    """A token that expires within `cache_for` is asked about again when it has (the documentation)."""
    issuer = bearer.issuer
    token = issuer.opaque_token(exp=bearer.clock.time.timestamp() + 20)
    assert await bearer.shows(token) == "somebody"
    bearer.clock.advance(seconds=19)
    assert await bearer.shows(token) == "somebody"
    assert issuer.asked_about == [token]
    issuer.known.clear()

    bearer.clock.advance(seconds=1)

    assert await bearer.shows(token) is None


async def test_many_tokens_do_not_push_out_good_ones(bearer: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is bounded; the oldest goes first. Bad tokens, which anybody has, push out only bad ones."""
    monkeypatch.setattr(introspection, "MAX_OUTCOMES", 3)
    issuer = bearer.issuer
    good = [issuer.opaque_token() for _ in range(4)]
    assert await bearer.shows(good[0]) == "somebody"
    for number in range(10):
        assert await bearer.shows(f"bad{number}") is None
    issuer.asked_about.clear()

    for token in (good[0], "bad9", "bad8", "bad7", "bad6"):
        _ = await bearer.shows(token)
    assert issuer.asked_about == ["bad6"]
    for token in (*good[1:], good[3], good[0]):
        assert await bearer.shows(token) == "somebody"
    assert issuer.asked_about == ["bad6", *good[1:], good[0]]


async def asked(homeserver: LocalHomeserver, url: str, deadline_s: float) -> bytes:
    """Ask with a deadline."""
    with homeserver._context():
        return await HomeserverWebClient(homeserver.hs, deadline_s=deadline_s).get(url)


async def test_slow_answers_are_not_waited_for(homeserver: LocalHomeserver, issuer: TokenIssuer) -> None:
    """An answer that does not come, or not to its end, within the deadline is none; the connection is ended."""
    ended: list[Deferred[Any]] = []

    def begins(request: Request) -> None:
        request.write(b"{")
        ended.append(request.notifyFinish())

    def never(request: Request) -> None:
        ended.append(request.notifyFinish())

    for slow in (begins, never):
        issuer.answers[KEYS] = slow
        with pytest.raises(WebUnavailable, match="it does not answer: it did not arrive in time"):
            await asked(homeserver, issuer.url(KEYS), 0.2)
    for end in ended:
        with pytest.raises(Exception, match="Connection"):
            await end


async def test_calls_with_one_key_are_one_call(homeserver: LocalHomeserver) -> None:
    """They get the same answer, or the same failure; a call that has ended is not remembered."""
    web = HomeserverWebClient(homeserver.hs)
    gates: list[Deferred[str]] = []

    async def waits() -> str:
        gates.append(Deferred())
        return await gates[-1]

    async def call(key: str) -> str:
        with homeserver._context():
            return await web.once(key, waits)

    first, second, other = (Deferred.fromCoroutine(call(key)) for key in ("a", "a", "b"))
    gates[1].callback("b")
    gates[0].callback("a")
    assert [await first, await second, await other] == ["a", "a", "b"]

    third, fourth = (Deferred.fromCoroutine(call("a")) for _ in range(2))
    gates[2].errback(WebUnavailable("down"))
    for failed in (third, fourth):
        with pytest.raises(WebUnavailable):
            await failed

    numbers = iter(range(2))

    async def at_once() -> int:
        return next(numbers)

    with homeserver._context():
        assert [await web.once("a", at_once) for _ in range(2)] == [0, 1]
    assert len(gates) == 3
