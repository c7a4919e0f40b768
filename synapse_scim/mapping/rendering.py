"""Users as JSON text, put together from what was written when they were stored.

To make a page of accounts into Users takes longer than to read them, and most accounts are as SCIM left them. So what a
User looks like is written beside its record, with gaps for what only the moment of reading knows: `meta`, `active`, the
homeserver's own view, and the URL of the endpoints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import attrs

from synapse_scim.mapping.identifiers import quoted_id
from synapse_scim.mapping.schema import MATRIX_SCHEMA

_GAP = "\x01"
_ROOT = "\x02"
"""Stands for the URL of the endpoints. JSON escapes such characters, so that no value holds one."""

_FORMAT = "1"
"""Which way of rendering made a text: a text of another way is not used."""

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@attrs.frozen
class Rendered:
    """A User as JSON text.

    Attributes:
        user_id: Its id.
        version: Its ETag.
        text: The JSON, but for the URL of the endpoints.
    """

    user_id: str
    version: str
    text: str

    def unlocated(self) -> dict[str, Any]:
        """Return the JSON as a value, without the location and with `$ref` relative to the endpoints."""
        user: dict[str, Any] = json.loads(self.text.replace(f"{_ROOT}/", ""))
        del user["meta"]["location"]
        return user

    def located(self, base_url: str) -> str:
        """Return the JSON for a client that knows the endpoints by a URL."""
        return self.text.replace(_ROOT, _encode(base_url.rstrip("/"))[1:-1])


@attrs.frozen(kw_only=True, cache_hash=True)
class View:
    """The homeserver's own view of an account: the Matrix extension of a User, but for the user ID."""

    admin: bool
    locked: bool
    suspended: bool
    deactivated: bool
    user_type: str | None
    managed: bool

    def of(self, user_id: str) -> dict[str, Any]:
        """Return the extension as JSON for an account."""
        user_type = {} if self.user_type is None else {"userType": self.user_type}
        return {
            "userId": user_id,
            "serverAdmin": self.admin,
            "locked": self.locked,
            "suspended": self.suspended,
            "deactivated": self.deactivated,
            **user_type,
            "managed": self.managed,
        }


@lru_cache(maxsize=64)
def _behind_user_id(view: View) -> str:
    """Return the text of the extension from behind the user ID on, which most accounts have in common."""
    return _encode(view.of(""))[len('{"userId":""') :]


@attrs.frozen(kw_only=True)
class State:
    """What only the moment of reading knows of a User.

    Attributes:
        created: When the account was made, or adopted.
        last_modified: When it was changed last.
        active: Whether the person can log in; `None` if that is not shown.
        view: The homeserver's own view of the account.
    """

    created: datetime
    last_modified: datetime
    active: bool | None
    view: View


def timestamp(moment: datetime) -> str:
    """Return a date in UTC as SCIM writes it (RFC 7643 §2.3.5), in the form that scim2-models gives it."""
    return moment.isoformat().replace("+00:00", "Z")


def template(common: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return the text of a User with gaps.

    Args:
        common: What stands before `meta`.
        before: What stands between `meta` and `active`.
        after: What stands between `active` and the homeserver's own view.
    """
    # No value holds this: within one, quotation marks are escaped.
    rest = _encode(after)[1:-1].replace('"$ref":"Users/', f'"$ref":"{_ROOT}/Users/')
    return _GAP.join((_encode(common)[:-1], _encode(before)[1:-1], rest))


def kept(text: str, revision: int) -> str:
    """Return a text with gaps as it is stored, for a revision of the record."""
    return f"{_FORMAT}:{revision}{_GAP}{text}"


def fresh(stored: str | None, revision: int) -> str | None:
    """Return the text with gaps that was stored for a revision of the record; `None` if none was."""
    mark = f"{_FORMAT}:{revision}{_GAP}"
    return stored[len(mark) :] if stored is not None and stored.startswith(mark) else None


def rendered(user_id: str, text: str, state: State) -> Rendered:
    """Fill the gaps of a text."""
    common, before, after = text.split(_GAP)
    active = "" if state.active is None else f',"active":{"true" if state.active else "false"}'
    view = f'{{"userId":{_encode(user_id)}{_behind_user_id(state.view)}'
    rest = f'{before}{active}{"," if after else ""}{after},"{MATRIX_SCHEMA}":{view}}}'
    etag = version(common, rest)
    created = timestamp(state.created)
    modified = created if state.last_modified == state.created else timestamp(state.last_modified)
    meta = (
        f'"resourceType":"User","created":"{created}",'
        f'"lastModified":"{modified}","location":"{_ROOT}/Users/{quoted_id(user_id)}",'
        f'"version":{_encode(etag)}'
    )
    return Rendered(user_id, etag, f'{common},"meta":{{{meta}}},{rest}')


def version(common: str, rest: str) -> str:
    """Return the ETag of a User: it differs exactly when what is published differs, `meta` left out (RFC 7644 §3.14).

    It is weak, since the form of the JSON does not count.

    Args:
        common: The text of what stands before `meta`.
        rest: The text of what stands behind it.
    """
    return f'W/"{hashlib.sha256(f"{common},{rest}".encode()).hexdigest()[:32]}"'
