"""What can go wrong with a request to the stand-in for Matrix Authentication Service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

import attrs


class Disturbance(Enum):
    """What goes wrong with a request."""

    unreachable = "the connection ends, and nothing is done"
    lost = "it is done, and the connection ends before the answer"
    late = "the connection ends, and it is done when the test says so"
    silent = "nothing is done or answered"
    slow = "it is done, and not answered while anybody waits"
    failing = "500, and nothing is done"
    busy = "503 with a body of text, and nothing is done"
    proxy = "502 and HTML, of a proxy"
    page = "200 and HTML, of whoever else listens there"
    empty = "200 and no body"
    other = "200 and JSON of another form"
    bare = "200 and a JSON object with nothing in it"
    done = "204, and nothing is done"
    endless = "200 and more than anybody wants"
    moved = "301 to somewhere else"
    unauthorized = "401, whatever the token"
    unknown = "404, and nothing is done"
    conflict = "409, and nothing is done"
    odd = "418, and nothing is done"


ANSWERS: Mapping[Disturbance, tuple[int, str, bytes]] = {
    Disturbance.failing: (500, "application/json", b'{"errors": [{"title": "Internal error"}]}'),
    Disturbance.busy: (503, "text/plain", b"busy"),
    Disturbance.proxy: (502, "text/html", b"<h1>Bad Gateway</h1>"),
    Disturbance.page: (200, "text/html", b"<h1>It works!</h1>"),
    Disturbance.empty: (200, "application/json", b""),
    Disturbance.other: (200, "application/json", b'{"data": [{}]}'),
    Disturbance.bare: (200, "application/json", b"{}"),
    Disturbance.done: (204, "application/json", b""),
    Disturbance.endless: (200, "application/json", b" " * 2 * 1024 * 1024 + b"{}"),
    Disturbance.moved: (301, "application/json", b'{"data": {"id": "elsewhere"}}'),
    Disturbance.unknown: (404, "application/json", b'{"errors": [{"title": "Not found"}]}'),
    Disturbance.conflict: (409, "application/json", b'{"errors": [{"title": "Conflict"}]}'),
    Disturbance.odd: (418, "application/json", b'{"errors": [{"title": "Not today"}]}'),
    Disturbance.unauthorized: (401, "application/json", b'{"errors": [{"title": "Access token expired"}]}'),
}


@attrs.define
class Trouble:
    """Something that goes wrong with some requests."""

    pattern: re.Pattern[str]
    disturbance: Disturbance
    times: int
    after: int

    def strikes(self, name: str) -> bool:
        """Tell whether a request is disturbed, and count it."""
        if not self.pattern.fullmatch(name):
            return False
        if self.after:
            self.after -= 1
            return False
        self.times -= 1
        return self.times >= 0
