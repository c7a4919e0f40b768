"""Looks at a server from outside with a token: what it opens, and what a proxy on the way does to requests."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import httpx2

from synapse_scim.client import answers
from synapse_scim.client.findings import Finding, bad, good, unclear
from synapse_scim.client.plans import PATCH
from synapse_scim.client.reach import base_of
from synapse_scim.client.server import Operation, Server
from synapse_scim.homeserver.description import Description
from synapse_scim.homeserver.listeners import FORWARDED
from synapse_scim.mapping.schema import USER_SCHEMA

_NOBODY = "/Users/synapse-scim-check"
"""Nobody's path: no user ID looks like this."""

_NOBODY_WITH_SLASH = "/Users/synapse-scim%2Fcheck"

_PROBE_ADDRESS = "192.0.2.1"
"""An address that nobody has (RFC 5737)."""

_WRITES = (
    Operation(
        method="PATCH",
        path=_NOBODY,
        data={"schemas": [PATCH], "Operations": [{"op": "replace", "path": "title", "value": "check"}]},
    ),
    Operation(method="PUT", path=_NOBODY, data={"schemas": [USER_SCHEMA], "userName": "synapse-scim-check"}),
    Operation(method="DELETE", path=_NOBODY),
)
"""Changes of nobody, which change nothing."""


def call(server: Server, anonymous: Server, description: Description | None) -> Iterator[Finding]:
    """Ask a server what it tells the token's owner, and yield what there is to say."""
    url = f"{server.url}/Users"
    answer = server.send("GET", url, params={"count": "1", "attributes": "id"})
    if not answers.is_scim(answer):
        yield bad("token", answers.misdirected(answer), "Have the reverse proxy let SCIM see every request")
        return
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        yield _refused(answer, anonymous.send("GET", url))
        return
    if not answer.is_success:
        yield bad(
            "token",
            f"it is refused (HTTP {answer.status_code}): {answers.detail(answer)}",
            "Use a token that may read users, from where it may be used",
        )
        return
    yield good("token", "it opens SCIM, for reading")
    yield from _writing(server)
    yield _path(server)
    yield _forwarded(server, description)


def _refused(answer: httpx2.Response, without: httpx2.Response) -> Finding:
    if answers.is_scim(without) and answers.detail(answer) == answers.detail(without):
        return bad(
            "token",
            "it does not arrive: the server answers as to a request without any",
            "The reverse proxy removes the header Authorization; have it pass it on",
        )
    return bad("token", f"it is not valid: {answers.detail(answer)}", "Make a new one, or correct the token file")


def _writing(server: Server) -> Iterator[Finding]:
    """Try changes of nobody: a proxy may stop their methods, and the token may not be good for them."""
    for operation in _WRITES:
        answer = server.send(
            operation.method,
            server.url + operation.path,
            json=operation.data,
            headers={"Content-Type": "application/scim+json"} if operation.data else {},
        )
        if not answers.is_scim(answer):
            yield bad(
                "methods",
                f"{operation.method} does not arrive (HTTP {answer.status_code})",
                "Have the reverse proxy pass GET, POST, PUT, PATCH and DELETE on",
            )
            return
        if answer.status_code != HTTPStatus.NOT_FOUND:
            yield unclear(
                "writing",
                f"the token may not write (HTTP {answer.status_code}): {answers.detail(answer)}",
                "That is as it should be for a client that only reads; otherwise give it the scope users:write",
            )
            return
    yield good("writing", "the token may write, and PUT, PATCH and DELETE arrive")


def _path(server: Server) -> Finding:
    """Ask for nobody, with and without a slash in the name: both must be looked for as users."""
    plain = server.send("GET", server.url + _NOBODY)
    slashed = server.send("GET", server.url + _NOBODY_WITH_SLASH)
    if answers.is_scim(slashed) and answers.detail(slashed) == answers.detail(plain):
        return good("path", "a quoted slash (%2F) arrives as it was sent")
    return bad(
        "path",
        "a quoted slash (%2F) does not arrive as it was sent, and user IDs may have one",
        "Have the reverse proxy pass the path on undecoded: in nginx, a proxy_pass without a path behind the port",
    )


def _forwarded(server: Server, description: Description | None) -> Finding:
    """Pretend to come from elsewhere, and look whom Synapse has seen."""
    about = "X-Forwarded-For"
    if description is not None and not description.trusts_proxy:
        return good(about, "no listener of the main process believes it")
    seen = _seen_address(server)
    if seen is None:
        return unclear(about, "only the access token of a server administrator's device can tell what becomes of it")
    if seen == _PROBE_ADDRESS:
        return bad(
            about,
            "callers can write into it where they come from: the reverse proxy appends to it, and Synapse believes the"
            " first entry",
            "Have the reverse proxy replace it: in nginx, proxy_set_header X-Forwarded-For $remote_addr",
        )
    return good(about, "what callers write into it is not believed")


def _seen_address(server: Server) -> str | None:
    """Return the address from which Synapse believes a request with a made-up header to come."""
    if not server.calls_as_administrator():
        return None
    api = f"{base_of(server.url) or server.url}/_matrix/client/v3"
    device = _body(server.send("GET", f"{api}/account/whoami")).get("device_id")
    seen = _body(server.send("GET", f"{api}/devices/{device}", headers={FORWARDED: _PROBE_ADDRESS})).get("last_seen_ip")
    # What it has seen last should be true.
    server.send("GET", f"{api}/account/whoami")
    return None if device is None else seen


def _body(answer: httpx2.Response) -> dict[str, Any]:
    return answers.json_object(answer) or {}
