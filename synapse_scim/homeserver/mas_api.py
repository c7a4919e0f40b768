"""The admin API of Matrix Authentication Service, as the module calls it."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, urlencode

import attrs

from synapse_scim.accounts import Unavailable
from synapse_scim.config import ConfigurationError, Mas, read_secret
from synapse_scim.homeserver.settings import mas_endpoint
from synapse_scim.homeserver.web import HomeserverWebClient
from synapse_scim.web import WebUnavailable, json_object

if TYPE_CHECKING:
    from synapse.server import HomeServer

logger = logging.getLogger(__name__)

SCOPE = "urn:mas:admin"

_PAGE_SIZE = 100
_EARLY_S = 30.0
"""How long before its end a token is not used any more."""

_RETRY_AFTER_S = 30


class MasRefusal(Unavailable):
    """The service understood a request, and refuses it.

    Whoever expects that says what it means. To everybody else, the service does not do what it should.

    Attributes:
        status: The status of its answer, a 4xx.
    """

    def __init__(self, status: int) -> None:
        """Say how it answered. What it says of the reason names people, and is not kept."""
        super().__init__(f"Matrix Authentication Service answers {status}", _RETRY_AFTER_S)
        self.status = status


@attrs.frozen(kw_only=True)
class _Answer:
    status: int
    value: Any


@attrs.frozen(kw_only=True)
class _Token:
    text: str = attrs.field(repr=False)
    usable_until: float


class MasApi:
    """Calls the admin API, as a client that the service's own configuration lists among its administrators."""

    def __init__(self, hs: HomeServer, settings: Mas) -> None:
        """Call the service that the configuration names.

        Raises:
            ConfigurationError: The client's secret cannot be read.
        """
        self._web = HomeserverWebClient(hs, deadline_s=settings.timeout / timedelta(seconds=1))
        self._clock = hs.get_clock()
        self._root = f"{(settings.endpoint or mas_endpoint(hs)).rstrip('/')}/api/admin/v1/"
        self._token_url = f"{mas_endpoint(hs)}/oauth2/token"
        # RFC 6749 §2.3.1: both are encoded before they become user name and password.
        credentials = f"{quote_plus(settings.client_id)}:{quote_plus(client_secret(settings))}"
        self._basic = f"Basic {b64encode(credentials.encode()).decode()}"
        self._token: _Token | None = None

    async def get(self, path: str, query: Mapping[str, str | int] | None = None) -> Any:
        """Return what a path holds.

        Args:
            path: The segments below the API's root, each quoted already.
            query: The query, not encoded yet.

        Raises:
            MasRefusal: The service refuses, or there is no such thing.
            Unavailable: It does not answer as it should.
        """
        return await self._call("GET", path + (f"?{urlencode(query)}" if query else ""), None)

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> None:
        """Do something that is answered with what it was done to.

        Raises:
            MasRefusal: The service refuses.
            Unavailable: It does not answer as it should; nobody knows whether it did it.
        """
        answer = await self._call("POST", path, body)
        with as_expected():
            _ = answer["data"]["id"]

    async def tell(self, path: str, body: Mapping[str, Any]) -> None:
        """Do something that is answered with nothing but that it was done.

        Raises:
            MasRefusal: The service refuses.
            Unavailable: It does not answer as it should; nobody knows whether it did it.
        """
        await self._silently("POST", path, body)

    async def delete(self, path: str) -> None:
        """Remove something. It need not be there.

        Raises:
            Unavailable: The service does not answer as it should.
        """
        try:
            await self._silently("DELETE", path, None)
        except MasRefusal as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND:
                raise

    async def all(self, path: str, query: Mapping[str, str]) -> list[Any]:
        """Return all resources that a path lists.

        Raises:
            MasRefusal: The service refuses.
            Unavailable: It does not answer as it should.
        """
        page: dict[str, str | int] = {**query, "page[first]": _PAGE_SIZE, "count": "false"}
        found: list[Any] = []
        while True:
            answer = await self.get(path, page)
            with as_expected():
                found += answer["data"]
                if len(answer["data"]) < _PAGE_SIZE:
                    return found
                last = str(found[-1]["id"])
                if last == page.get("page[after]"):
                    raise ValueError("the page that was there before")
                page["page[after]"] = last

    async def _silently(self, method: str, path: str, body: Mapping[str, Any] | None) -> None:
        if await self._call(method, path, body) is not None:
            raise _unavailable("it does not say that it was done")

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        try:
            answer = await self._authorized(method, path, body)
        except Unavailable as error:
            # What follows the path names people.
            logger.warning("%s %s: %s", method, path.partition("?")[0], error)
            raise
        if answer.status >= HTTPStatus.BAD_REQUEST:
            refusal = MasRefusal(answer.status)
            logger.info("%s %s: %s", method, path.partition("?")[0], refusal)
            raise refusal
        return answer.value

    async def _authorized(self, method: str, path: str, body: Mapping[str, Any] | None) -> _Answer:
        token = await self._usable_token(None)
        answer = await self._ask(method, path, body, token)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            # It may have ended before its time, as when the service was set up anew. Nothing was done.
            answer = await self._ask(method, path, body, await self._usable_token(token))
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise _unavailable(f"it answers 401 to a token with the scope {SCOPE}")
        return answer

    async def _usable_token(self, refused: _Token | None) -> _Token:
        """Return a token, another one than that which was refused.

        Whoever comes while one is fetched waits for that one, and shares the failure if there is none.
        """
        token = self._token
        if token is None or token is refused or self._clock.time() >= token.usable_until:
            self._token = token = await self._web.once(self._token_url, self._new_token)
        return token

    async def _new_token(self) -> _Token:
        form = urlencode({"grant_type": "client_credentials", "scope": SCOPE}).encode()
        headers = {"Authorization": self._basic, "Content-Type": "application/x-www-form-urlencoded"}
        answer = await self._exchange("POST", self._token_url, headers, form)
        if answer.status != HTTPStatus.OK:
            raise _unavailable(
                f"it answers {answer.status} where a token is asked for: 'mas.client_id', the secret, or the service's"
                " own 'policy.data.admin_clients' may be wrong"
            )
        with as_expected():
            lifetime_s = float(answer.value.get("expires_in", 2 * _EARLY_S))
            usable_s = max(lifetime_s - _EARLY_S, lifetime_s / 2)
            return _Token(text=str(answer.value["access_token"]), usable_until=self._clock.time() + usable_s)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, token: _Token) -> _Answer:
        headers = {"Authorization": f"Bearer {token.text}"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        return await self._exchange(method, self._root + path, headers, content)

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> _Answer:
        """Send a request and return the whole answer, if it is one of the service's."""
        try:
            status, body = await self._web.exchange(method, url, headers, content)
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
                raise _unavailable(f"it answers {status}")
            value = None if status == HTTPStatus.NO_CONTENT else json_object(body)
        except WebUnavailable as error:
            raise _unavailable(str(error)) from error
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise _unavailable(f"it answers {status}")
        return _Answer(status=status, value=value)


def segment(text: str) -> str:
    """Return a text as one segment of a path."""
    return quote(text, safe="")


@contextmanager
def as_expected() -> Iterator[None]:
    """Read an answer within the block.

    Raises:
        Unavailable: It is not what the service's description says.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _unavailable("its answer has another form than its admin API gives") from error


def _unavailable(why: str) -> Unavailable:
    return Unavailable(f"Matrix Authentication Service cannot be used at the moment: {why}", _RETRY_AFTER_S)


def client_secret(settings: Mas) -> str:
    """Return the secret of the client as which the module calls.

    Raises:
        ConfigurationError: It cannot be read.
    """
    setting = ("mas", "client_secret_path")
    try:
        return read_secret(settings.client_secret_path, *setting).decode()
    except UnicodeError:
        raise ConfigurationError(setting, "names a file that holds no text") from None
