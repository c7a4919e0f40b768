"""SCIM requests to a running server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import httpx2

from synapse_scim.client import answers
from synapse_scim.client.trouble import Trouble
from synapse_scim.resources.request import STABLE_PREFIX

LIST_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"

_PATIENCE_S = 120.0
"""How long a command waits when the server asks it to: beyond that, an administrator should hear of it."""

LATER = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""What a server answers that may agree later."""

_TIMEOUT = httpx2.Timeout(10, read=600)
"""Nobody answers where a connection takes longer: https to a port of http. A bulk request is answered at its end."""

_PAGE_SIZE = 1000


class Refused(Exception):
    """The server refused one request, in SCIM's words.

    Attributes:
        status: The HTTP status.
        too_long: The server asks to wait longer than a command does.
    """

    def __init__(self, status: int, message: str, *, too_long: bool = False) -> None:
        """Keep what the server said."""
        super().__init__(message)
        self.status = status
        self.too_long = too_long


@attrs.frozen(kw_only=True)
class Operation:
    """A change to ask for.

    Attributes:
        method: POST, PATCH or DELETE.
        path: The path below the base URL, percent-encoded.
        data: The body, if there is one.
    """

    method: str
    path: str
    data: Mapping[str, Any] | None = None


def read_token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        Trouble: There is none.
    """
    try:
        words = path.read_text(encoding="ascii", errors="replace").split()
    except OSError as error:
        raise Trouble(f"The token file {path} cannot be read: {error.strerror}") from None
    if len(words) != 1 or not words[0].isascii():
        raise Trouble(f"The token file {path} must hold one token, and nothing else")
    return words[0]


class Server:
    """The SCIM endpoints of a server."""

    def __init__(
        self, url: str, token: str | None, *, waiting: Callable[[float], None] = lambda _seconds: None
    ) -> None:
        """Send requests to the endpoints below a URL.

        Args:
            url: The URL that ends with the prefix, such as `https://matrix.example.org/_scim`.
            token: The bearer token; `None` to send none.
            waiting: Told before a wait that the server asked for, in seconds.
        """
        self.url = url.rstrip("/")
        self._waiting = waiting
        headers = {"Accept": "application/scim+json", "User-Agent": "synapse-scim"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx2.Client(headers=headers, timeout=_TIMEOUT)

    def __enter__(self) -> Self:
        """Use its connections until the end of the block."""
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close its connections."""
        self._client.close()

    def send(self, method: str, url: str, **options: Any) -> httpx2.Response:
        """Send a request to a whole URL, and return whatever answers.

        Raises:
            Trouble: Nothing does.
        """
        try:
            return self._client.request(method, url, **options)
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise Trouble(answers.unreachable(error, url)) from None

    def request(self, operation: Operation, params: Mapping[str, str] | None = None) -> Any:
        """Send a request to SCIM, again for as long as the server asks to wait a little, and return the body.

        Raises:
            Refused: SCIM refuses it.
            Trouble: SCIM does not answer, or not to this token.
        """
        headers = {} if operation.data is None else {"Content-Type": "application/scim+json"}
        while True:
            answer = self.send(
                operation.method, self.url + operation.path, params=params, json=operation.data, headers=headers
            )
            if not answers.is_scim(answer):
                raise Trouble(answers.misdirected(answer))
            if answer.is_success:
                return None if answer.status_code == HTTPStatus.NO_CONTENT else answers.json_object(answer)
            said = answers.detail(answer)
            if answer.status_code == HTTPStatus.UNAUTHORIZED:
                raise Trouble(f"The server does not accept the token: {said}")
            wait_s = answers.retry_after_s(answer)
            if answer.status_code not in LATER or wait_s is None or wait_s > _PATIENCE_S:
                raise Refused(answer.status_code, said, too_long=answer.status_code in LATER)
            self._waiting(wait_s)
            time.sleep(wait_s)

    def get(self, path: str, **params: str) -> Any:
        """Return what stands at a path, which must answer.

        Raises:
            Trouble: It does not.
        """
        try:
            return self.request(Operation(method="GET", path=path), params)
        except Refused as error:
            hint = (
                f". The URL may be wrong: it ends with {STABLE_PREFIX}" if error.status == HTTPStatus.NOT_FOUND else ""
            )
            raise Trouble(f"The server refuses GET {path} (HTTP {error.status}): {error}{hint}") from None

    def users(self, **params: str) -> Iterator[dict[str, Any]]:
        """Yield every User that the token sees, page by page.

        Args:
            params: `filter`, `attributes` and the like.

        Raises:
            Trouble: The server does not answer, or not so.
        """
        cursor: str | None = ""
        while cursor is not None:
            page = self.get("/Users", cursor=cursor, count=str(_PAGE_SIZE), **params)
            yield from page.get("Resources") or ()
            cursor = page.get("nextCursor")

    def calls_as_administrator(self) -> bool:
        """Tell whether the token is an access token of a server administrator: such callers have a `/Me`."""
        try:
            self.request(Operation(method="GET", path="/Me"))
        except Refused as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return False
            raise Trouble(f"The server refuses the token (HTTP {error.status}): {error}") from None
        return True

    def bulk(self, operations: Sequence[Operation]) -> list[Refused | None]:
        """Ask for several changes in one request, and return for each what the server said against it.

        Raises:
            Refused: The server refuses all of them.
            Trouble: SCIM does not answer.
        """
        body = {
            "schemas": [_BULK],
            "Operations": [
                {
                    "method": operation.method,
                    "path": operation.path,
                    # Each creation needs one, and the results come in the order of the request.
                    **({"bulkId": str(number)} if operation.method == "POST" else {}),
                    **({} if operation.data is None else {"data": operation.data}),
                }
                for number, operation in enumerate(operations)
            ],
        }
        answer = self.request(Operation(method="POST", path="/Bulk", data=body))
        return [_outcome(result) for result in answer["Operations"]]


def _outcome(result: Mapping[str, Any]) -> Refused | None:
    status = int(result["status"])
    if status < HTTPStatus.BAD_REQUEST:
        return None
    return Refused(status, str((result.get("response") or {}).get("detail") or HTTPStatus(status).phrase))
