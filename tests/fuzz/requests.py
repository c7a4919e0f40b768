"""Requests as they go over the wire: right, and ever so slightly wrong."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote_plus

import attrs
from hypothesis import strategies as st

from tests.fuzz.searches import AUDIT_PARAMETERS, parameters, searches
from tests.fuzz.texts import CURSOR, ODD_VALUES, VERSION, sometimes
from tests.fuzz.values import IDS, bulks, patches, quoted, users
from tests.web.clients import STABLE, UNSTABLE, USER


@attrs.frozen(kw_only=True)
class Request:
    """A request.

    Attributes:
        operation: What it asks for, if it is understood.
        method: Its method.
        target: What follows the method: the path, with the query.
        credential: Whose credential it carries.
        headers: Its other headers, as lines; but for `Host` and `Content-Length`.
        body: Its body.
    """

    operation: str
    method: str
    target: bytes
    credential: str
    headers: tuple[bytes, ...]
    body: bytes

    def encoded(self, authorization: bytes | None, cursor: str, version: str) -> bytes:
        """Return what is sent, with what earlier answers gave."""
        body = self.body.replace(CURSOR.encode(), cursor.encode())
        lines = [
            self.method.encode()
            + b" "
            + self.target.replace(CURSOR.encode(), quote_plus(cursor).encode())
            + b" HTTP/1.1",
            b"Host: matrix.example.org",
            *(line.replace(VERSION.encode(), version.encode()) for line in self.headers),
        ]
        if authorization is not None:
            lines.append(b"Authorization: " + authorization)
        if body or self.method in {"POST", "PUT", "PATCH"}:
            lines.append(f"Content-Length: {len(body)}".encode())
        return b"\r\n".join([*lines, b"", body])


CREDENTIALS = st.sampled_from(
    ["admin"] * 14
    + ["client"] * 12
    + ["basic"] * 5
    + ["reader", "reader", "writer", "other", "own", "nothing", "unknown", "person", "wrong basic", "garbage", "twice"]
)

CONTENT_TYPES = sometimes(
    st.sampled_from([b"application/scim+json", b"application/json", b"application/scim+json; charset=utf-8"]),
    st.sampled_from(
        [
            b"",
            b"text/plain",
            b"application/xml",
            b"multipart/form-data; boundary=x",
            b"multipart/form-data",
            b"application/x-www-form-urlencoded",
            b"application/scim+json; charset=utf-16",
            b"application/scim+json; charset=nonsense",
            b'application/scim+json; charset="',
            b"application/scim+json, text/plain",
            b"\xff\xfe",
            b"a" * 5000,
        ]
    ),
    15,
)

ODD_HEADERS = st.sampled_from(
    [
        b"If-Match: *",
        b"If-Match: " + VERSION.encode(),
        b'If-Match: W/"nothing"',
        b"If-None-Match: *",
        b"If-None-Match: " + VERSION.encode(),
        b"If-Match: \xff",
        b'If-Match: "' + b"x" * 4000,
        b"If-None-Match: a, b, , W/",
        b"Accept: text/html",
        b"Accept: \xff",
        b"Accept-Encoding: gzip",
        b"Content-Encoding: gzip",
        b"Content-Encoding: br",
        b"Host: evil.example",
        b"X-Forwarded-For: 10.0.0.1, \xff",
        b"X-Forwarded-Proto: gopher",
        b"X-HTTP-Method-Override: DELETE",
        b"Range: bytes=0-1",
        b"Cookie: a=b",
        b"Expect: 100-continue",
        b"User-Agent: x\ty",
        b"X-A: 1\r\nX-B: 2",
        b"X-A: 1\nX-B: 2",
        b"X-A\x00: 1",
        b"NoColon",
        b" folded: line",
        b"X-Long: " + b"x" * 10_000,
        b"Content-Type: text/plain",
        b"Origin: https://evil.example",
        b"Transfer-Encoding: identity",
    ]
)

ODD_TARGETS = st.sampled_from(
    [
        b"/Groups",
        b"/Nothing",
        b"/",
        b"",
        b"//",
        b"//Users",
        b"/Users/",
        b"/users",
        b"/Users/@user1:example.org/emails",
        b"/Users/%00",
        b"/Users/%2F",
        b"/Users/%252F",
        b"/Users/%",
        b"/Users/%zz",
        b"/Users/%ff",
        b"/Users/%ed%a0%80",
        b"/Users/../../../etc/passwd",
        b"/Users/..%2f..%2f..%2fetc%2fpasswd",
        b"/../_synapse/admin/v2/users",
        b"/%2e%2e/_synapse/admin/v2/users",
        b"/v2/v2/Users",
        b"/Users/%0d%0aX-Injected:%20yes",
        b"/Users/a%0d%0a%0d%0aHTTP/1.1%20200%20OK",
        b"/Users/" + b"x" * 5000,
        b"/Users/" + b"x" * 20_000,
        b"/Users" + b"/a" * 3000,
        b"/Users;a=b",
        b"/.search",
        b"/Users/.search/.search",
        b"/Bulk/x",
        b"/Me/x",
        b"/Users?access_token=secret",
        b"/Users?" + b"&".join(b"p%d=1" % number for number in range(200)),
        b"/Users?count=1&count=2",
        b"/Users?filter=%",
        b"/Users?filter=%00",
        b"/Users?filter=\xff",
        b"/Users?%ff=1",
        b"/Users?filter=userName%20eq%20%22a%0d%0ab%22",
        b"/Users?a=b;c=d",
        b"/Users?#",
    ]
)


@st.composite
def bodies(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> bytes:
    """Return a JSON document, and now and then what is none."""
    value = draw(values)
    body = json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", errors="surrogatepass")
    position = draw(st.integers(0, max(len(body) - 1, 0)))
    damaged: dict[int, Callable[[], bytes]] = {
        19: lambda: body[:position],
        20: lambda: body[:position] + b"\x00" + body[position:],
        21: lambda: body[:position] + b"\xff" + body[position + 1 :],
        22: lambda: b'{"userName": "twice", ' + body[1:],
        23: lambda: b"\xef\xbb\xbf" + body,
        24: lambda: body.decode("utf-8", errors="replace").encode("utf-16"),
        25: lambda: gzip.compress(body, 1, mtime=0),
        26: lambda: b'{"x": ' + b"[" * position + b"1" + b"]" * position + b"}",
        27: lambda: b'{"x": ' + b"9" * 5000 + b", " + body[1:],
        28: lambda: b'{"x": 1e99999, "y": -0, ' + body[1:],
        29: lambda: b"[" * 50_000,
        30: lambda: body + body,
        31: lambda: json.dumps(draw(ODD_VALUES)).encode(),
        32: lambda: b'{"x": "\\ud800", ' + body[1:],
        33: lambda: b'{"x": "' + b"y" * 1_100_000 + b'"}',
        34: lambda: b"--x\r\n\r\n--x--",
        35: lambda: b"",
    }
    return damaged.get(draw(st.integers(0, 79)), lambda: body)()


@st.composite
def queries(draw: st.DrawFn, told: st.SearchStrategy[dict[str, Any]]) -> str:
    """Return a query string that says what a search is told."""
    texts = {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in draw(told).items()
    }
    pairs = (
        f"{draw(st.sampled_from([name] * 9 + [name.upper()]))}={quote_plus(value, errors='surrogatepass')}"
        for name, value in texts.items()
    )
    return "&".join(pairs)


OPERATIONS: Sequence[str] = (
    ["list"] * 4 + ["search"] * 4 + ["search everything", "list everything"]
    + ["create"] * 6 + ["read"] * 4 + ["replace"] * 5 + ["patch"] * 6 + ["delete"] + ["bulk"] * 4
    + ["me", "me", "audit", "audit", "discovery", "elsewhere", "elsewhere", "elsewhere", "wrong method"]
)  # fmt: skip
"""What requests ask for, each as often as it stands here."""


@st.composite
def requests(draw: st.DrawFn, operation: str) -> Request:
    """Return a request for an operation."""
    user = f"/Users/{quoted(draw(IDS), draw(st.sampled_from([0, 0, 0, 1, 2])))}"
    method, path, values = {
        "list": ("GET", "/Users", None),
        "list everything": ("GET", "/", None),
        "search": ("POST", "/Users/.search", searches()),
        "search everything": ("POST", "/.search", searches()),
        "create": ("POST", "/Users", users()),
        "read": (draw(st.sampled_from(["GET", "GET", "HEAD"])), user, None),
        "replace": ("PUT", user, users()),
        "patch": ("PATCH", user, patches()),
        "delete": ("DELETE", user, None),
        "bulk": ("POST", "/Bulk", bulks()),
        "me": (draw(st.sampled_from(["GET"] * 4 + ["PUT", "PATCH", "DELETE"])), "/Me", st.one_of(users(), patches())),
        "audit": (draw(st.sampled_from(["GET"] * 9 + ["POST"])), "/AuditEvents", users()),
        "discovery": ("GET", draw(DISCOVERY), None),
        "elsewhere": (draw(METHODS), "", st.one_of(users(), searches())),
        "wrong method": (draw(METHODS), draw(st.sampled_from(["/Users", user, "/Bulk", "/Me", "/.search"])), users()),
    }[operation]
    told = st.fixed_dictionaries({}, optional=AUDIT_PARAMETERS) if operation == "audit" else parameters()
    target = draw(ODD_TARGETS) if operation == "elsewhere" else path.encode()
    if operation != "elsewhere" and (operation.startswith(("list", "audit")) or not draw(st.integers(0, 4))):
        target += b"?" + draw(queries(told)).encode("latin-1", errors="replace")
    prefix = draw(st.sampled_from([STABLE, STABLE, UNSTABLE])) + draw(st.sampled_from(["", "", "", "/v2"]))
    if prefix.startswith(STABLE) and not draw(st.integers(0, 99)):
        # Below /_matrix, Synapse itself fails on such a path before anybody else sees it.
        target = b"/Users/\xff" + target
    body = b"" if values is None or method in {"GET", "HEAD", "DELETE"} else draw(bodies(values))
    headers = draw(st.lists(ODD_HEADERS, max_size=2)) if not draw(st.integers(0, 4)) else []
    if body:
        headers.append(b"Content-Type: " + draw(CONTENT_TYPES))
    return Request(
        operation=operation,
        method=method,
        target=prefix.encode() + target,
        credential=draw(CREDENTIALS),
        headers=tuple(headers),
        body=body,
    )


METHODS = st.sampled_from(
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "get", "PROPFIND", "X" * 300]
)
DISCOVERY = st.sampled_from(
    ["/ServiceProviderConfig", "/ResourceTypes", "/ResourceTypes/User", "/Schemas", f"/Schemas/{USER}", "/Schemas/x"]
)
