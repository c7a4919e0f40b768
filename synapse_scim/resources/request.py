"""Reads a Twisted request as scim2-server wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from scim2_models import InvalidValueException, NotFoundException
from scim2_server.requests import ScimRequest

from synapse_scim.mapping.identifiers import PATH_SAFE
from synapse_scim.text import text_problem

if TYPE_CHECKING:
    from twisted.web.server import Request

STABLE_PREFIX = "/_scim"
UNSTABLE_PREFIX = "/_matrix/client/unstable/coop.yaal/scim"

VERSION_SEGMENT = "v2"
"""What may stand between the prefix and the endpoints, and then does in the answers too (RFC 7644 §3.13)."""

_MAX_PARAMETERS = 50

_PARAMETERS: Mapping[str, str] = {
    name.lower(): name
    for name in (
        "attributes",
        "excludedAttributes",
        "filter",
        "sortBy",
        "sortOrder",
        "startIndex",
        "count",
        "cursor",
    )
}

_LISTS = frozenset({"attributes", "excludedAttributes"})

_HEADERS = ("Content-Type", "If-Match", "If-None-Match", "User-Agent")


def read_request(request: Request, public_baseurl: str, prefix: str) -> ScimRequest:
    """Return a request without its body.

    Args:
        request: The request, whose path starts with the prefix.
        public_baseurl: Where clients reach the homeserver, with a slash at its end. `Host` is the client's word, and
            not used.
        prefix: The path of the SCIM endpoints.

    Raises:
        NotFoundException: The path holds what no id can.
        InvalidValueException: The query string is malformed, or says a thing twice.
    """
    method = request.method.decode("ascii", errors="replace").upper()
    segments = request.path.decode("latin-1").removeprefix(prefix).split("/")[1:]
    if segments and segments[0] == VERSION_SEGMENT:
        prefix = f"{prefix}/{VERSION_SEGMENT}"
        segments = segments[1:]
    return ScimRequest(
        # Twisted answers HEAD as GET, and keeps the body to itself.
        method="GET" if method == "HEAD" else method,
        base_url=public_baseurl.rstrip("/") + prefix,
        path="/" + "/".join(quote(_decoded(segment), safe=PATH_SAFE) for segment in segments),
        query=read_query(request.uri.partition(b"?")[2]),
        # Any byte may stand in a header (RFC 9110 §5.5); as text, Twisted would have it be UTF-8.
        headers=[
            (name, value.decode("latin-1"))
            for name in _HEADERS
            for value in request.requestHeaders.getRawHeaders(name.encode()) or ()
        ],
    )


def read_query(query: bytes) -> dict[str, str]:
    """Return the parameters of a query string by the names that SCIM gives them, in whatever case they came.

    Raises:
        InvalidValueException: It is malformed, or names a parameter twice.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError:
        raise InvalidValueException(
            detail=f"The query string must be percent-encoded UTF-8 of at most {_MAX_PARAMETERS} parameters"
        ) from None
    parameters: dict[str, str] = {}
    for given, value in pairs:
        name = _PARAMETERS.get(given.lower(), given)
        if problem := text_problem(value) or text_problem(given):
            raise InvalidValueException(detail=f"'{name}' {problem}")
        if name in parameters and name not in _LISTS:
            raise InvalidValueException(detail=f"'{name}' stands twice in the query string")
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    return parameters


def read_body(request: Request, limit: int | None) -> bytes:
    """Return the body, or one byte more than the limit: then it is too large, which the service says."""
    content = request.content
    if content is None or limit == 0:
        return b""
    content.seek(0)
    body: bytes = content.read(-1 if limit is None else limit + 1)
    return body


def _decoded(segment: str) -> str:
    """Return a segment of a path, percent-decoded.

    Raises:
        NotFoundException: It is no UTF-8, or holds a NUL: nothing has such a name.
    """
    try:
        decoded = unquote_to_bytes(segment.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise NotFoundException(detail="The path is not UTF-8") from None
    if text_problem(decoded):
        raise NotFoundException(detail="Nothing has such a name")
    return decoded
