"""What the authorities ask of the homeserver: to fetch what others publish."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class WebUnavailable(Exception):
    """Another server does not answer, or not with what it should. The text holds neither a URL nor a secret.

    Attributes:
        is_missing: The server answers that there is no such thing.
    """

    def __init__(self, message: str, *, is_missing: bool = False) -> None:
        """Say what is wrong with the answer."""
        super().__init__(message)
        self.is_missing = is_missing


class WebClient(Protocol):
    """Asks other servers. Implemented by `synapse_scim.homeserver`.

    An answer counts if it is 200, has a size that is fine, and came in time. Redirects are not followed: who was asked
    is who has to answer.
    """

    async def get(self, url: str) -> bytes:
        """Return the body of the answer to a GET.

        Raises:
            WebUnavailable: There is no such answer.
        """

    async def post(self, url: str, form: Mapping[str, str], authorization: str) -> bytes:
        """Return the body of the answer to a POST of a form.

        Raises:
            WebUnavailable: There is no such answer.
        """

    async def once(self, key: Hashable, function: Callable[[], Awaitable[T]]) -> T:
        """Call a function, or wait for the call with the same key that is under way, and return what it returned."""


def json_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object that another server sent.

    Raises:
        WebUnavailable: It is something else.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise WebUnavailable("it answers with something else than a JSON object")
    return value
