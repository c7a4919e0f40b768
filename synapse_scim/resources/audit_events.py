"""The audit, for server administrators to read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import attrs
from scim2_models import ForbiddenException, InvalidCursorException, InvalidValueException
from scim2_server.errors import MethodNotAllowedException
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse

from synapse_scim.protocol.service import LIST_RESPONSE
from synapse_scim.store.accounts import ts_ms
from synapse_scim.store.audit import Trail, Wanted, listed
from synapse_scim.subject import Subject
from synapse_scim.text import zoned_time

T = TypeVar("T")

PATH = "/AuditEvents"

_PARAMETERS = frozenset({"client", "account", "since", "until", "cursor", "count"})
_DEFAULT_COUNT = 100
_CURSOR = re.compile(r"([0-9]{1,15})-([0-9a-f]{32})")


@attrs.frozen(kw_only=True)
class AuditEvents:
    """Answers requests for the audit.

    It is no SCIM resource, and discovery does not announce it: identity providers have no business there.

    Attributes:
        trail: The audit.
        page_size: The most events in one answer.
    """

    trail: Trail
    page_size: int

    async def respond(self, request: ScimRequest, subject: Subject) -> ScimResponse:
        """Return a page of events, the latest first.

        Raises:
            ForbiddenException: The caller is no server administrator.
            MethodNotAllowedException: It is not for reading.
            InvalidValueException: A parameter is unknown, or not what it should be.
            InvalidCursorException: The cursor is none that an answer gave.
        """
        if request.method != "GET":
            raise MethodNotAllowedException(allowed=["GET"])
        if subject.credential != "access token":
            raise ForbiddenException(detail="The audit is for access tokens of server administrators")
        if unknown := sorted(request.query.keys() - _PARAMETERS):
            raise InvalidValueException(
                detail=f"'{unknown[0]}' is no parameter here; there are {', '.join(sorted(_PARAMETERS))}"
            )
        query = request.query
        count = min(_read(query, "count", _number, "a number from 1 on") or _DEFAULT_COUNT, self.page_size)
        wanted = Wanted(
            client=query.get("client"),
            user_id=query.get("account"),
            since=_read(query, "since", zoned_time, _A_TIME),
            until=_read(query, "until", zoned_time, _A_TIME),
            after=_position(query.get("cursor")),
        )
        events = await self.trail.read(wanted, count + 1)
        page = events[:count]
        body: dict[str, Any] = {"schemas": [LIST_RESPONSE], "itemsPerPage": len(page)}
        if len(events) > count:
            body["nextCursor"] = f"{ts_ms(page[-1].last)}-{page[-1].event_id}"
        body["Resources"] = [listed(recorded) for recorded in page]
        return ScimResponse(HTTPStatus.OK, body)


_A_TIME = "a date and a time with its zone, such as 2027-06-30T00:00:00Z"


def _read(query: Mapping[str, str], name: str, read: Callable[[str], T], form: str) -> T | None:
    if name not in query:
        return None
    try:
        return read(query[name])
    except ValueError:
        raise InvalidValueException(detail=f"'{name}' must be {form}") from None


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _position(cursor: str | None) -> tuple[int, str] | None:
    if not cursor:
        return None
    parts = _CURSOR.fullmatch(cursor)
    if parts is None:
        raise InvalidCursorException(detail="'cursor' must be the 'nextCursor' of an answer")
    return int(parts[1]), parts[2]
