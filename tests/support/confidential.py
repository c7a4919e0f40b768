"""What tests sent that no log may show."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Iterable, Mapping

MIN_LENGTH = 8
"""What is shorter, or a mere word, stands in a log by chance."""

_WORDS = frozenset({"password", "registration"})
_PASSWORD = re.compile(rb'"(?:password|path": "password", "value)": "((?:[^"\\]|\\.)*)"')
_PERSONAL = re.compile(rb"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{1,200}|\"(\+[\d ()-]{7,20})\"")
_START = 100
# Synapse's access log has the query string, and with it the values of filters: Synapse decides that, and the
# documentation points to `.search` (docs/security.md).
_QUERY = re.compile(r"( synapse\.access\.[^\n]*?)\?[^ \n]*")
# Of a pusher that is removed Synapse says where it led, an e-mail address for one.
_PUSHKEY = re.compile(r"( synapse\.push\.pusherpool[^\n]*? pushkey )[^ ,\n]+")

_texts: set[str] = set()


class Leaked(AssertionError):
    """A log shows what nobody may read there."""


def keep_secret(*texts: str) -> None:
    """Let no log of this test's homeservers have one of these texts."""
    _texts.update(text for text in texts if len(text) >= MIN_LENGTH and text not in _WORDS)


def keep_request_secret(headers: Mapping[str, str | None], body: bytes | None) -> None:
    """Let no log show what a request says: its credential, its body, and passwords, addresses and numbers in it."""
    scheme, _, credential = (headers.get("Authorization") or "").partition(" ")
    keep_secret(credential)
    if scheme == "Basic":
        keep_secret(_token_of(credential))
    if body:
        personal = [match[1] or match[0] for match in _PERSONAL.finditer(body)]
        # A body that is no object may be a single word of SCIM's.
        start = [body[:_START]] if body.lstrip().startswith((b"{", b"[")) else []
        found = [*_PASSWORD.findall(body), *personal, *start]
        keep_secret(*(text.decode("utf-8", errors="replace") for text in found))


def forget() -> None:
    """Begin anew: a test's log need not be searched for what other tests sent."""
    _texts.clear()


def check_log(log: str) -> None:
    """Check that a log shows nothing that a test sent.

    Args:
        log: Its lines, each with the logger's name, after a space, before the message.

    Raises:
        Leaked: It does; the message has the lines.
    """
    searched = _PUSHKEY.sub(r"\1", _QUERY.sub(r"\1", log))
    # One look for each is faster than a regular expression of all: hundreds of alternatives at each character.
    leaked = [text for text in _texts if text in searched]
    if leaked:
        lines = [line[:1000] for line in searched.splitlines() if any(text in line for text in leaked)]
        raise Leaked("\n".join(["The log shows what tests sent:", *_said(leaked), *lines[:20]]))


def _said(texts: Iterable[str]) -> list[str]:
    return [f"  {text!r}" for text in sorted(texts)[:20]]


def _token_of(credential: str) -> str:
    try:
        return b64decode(credential).decode("utf-8", errors="replace").partition(":")[2]
    except Error:
        return ""
