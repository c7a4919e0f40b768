"""Users as JSON text, put together from what was written when they were stored.

To make a page of accounts into Users takes longer than to read them, and most accounts are as SCIM left them. So what a
User looks like is written beside its record, with gaps for what only the moment of reading knows: when it was changed
last, its ETag, `active`, the homeserver's own view, and the URL of the endpoints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import attrs

from synapse_scim.accounts import Record, Threepid
from synapse_scim.mapping.identifiers import quoted_id
from synapse_scim.mapping.schema import MATRIX_SCHEMA

_GAP = "\x01"
_ROOT = "\x02"
"""Stands for the URL of the endpoints. JSON escapes such characters, so that no value holds one."""

_FORMAT = "2"
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
class State:
    """What only the moment of reading knows of a User, but for when it was changed last.

    Attributes:
        active: Whether the person can log in; `None` if that is not shown.
        admin: Whether the account is a server admin's; this and what follows is the homeserver's own view.
        locked: Whether it is locked.
        suspended: Whether it is suspended.
        deactivated: Whether it is deactivated.
        user_type: Synapse's type of account.
        managed: Whether SCIM manages it.
    """

    active: bool | None
    admin: bool
    locked: bool
    suspended: bool
    deactivated: bool
    user_type: str | None
    managed: bool

    def view(self, user_id: str) -> dict[str, Any]:
        """Return the Matrix extension of a User as JSON."""
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
def _texts(state: State) -> tuple[str, str, str]:
    """Return the text of `active`, that of the Matrix extension behind the user ID, and what an ETag says of both.

    Most accounts have them in common.
    """
    active = "" if state.active is None else f',"active":{"true" if state.active else "false"}'
    view = _encode(state.view(""))[len('{"userId":""') :]
    return active, view, _digest(active + view, 8)


def timestamp(moment: datetime) -> str:
    """Return a date in UTC as SCIM writes it (RFC 7643 §2.3.5), in the form that scim2-models gives it."""
    return moment.isoformat().replace("+00:00", "Z")


def template(
    user_id: str, created: datetime, common: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
) -> str:
    """Return the text of a User with gaps, and in front of it what an ETag says of it.

    Args:
        user_id: The id.
        created: When the account was made, or adopted.
        common: What stands before `meta`.
        before: What stands between `meta` and `active`.
        after: What stands between `active` and the homeserver's own view.
    """
    # No value holds this: within one, quotation marks are escaped.
    rest = _encode(after)[1:-1].replace('"$ref":"Users/', f'"$ref":"{_ROOT}/Users/')
    parts = (_encode(common)[:-1], _encode(before)[1:-1], f",{rest}" if rest else "")
    return _GAP.join(
        (
            _digest(_GAP.join(parts), 24),
            f'{parts[0]},"meta":{{"resourceType":"User","created":"{timestamp(created)}","lastModified":"',
            f'","location":"{_ROOT}/Users/{quoted_id(user_id)}","version":"W/\\"',
            f'\\""}},{parts[1]}',
            f'{parts[2]},"{MATRIX_SCHEMA}":{{"userId":{_encode(user_id)}',
        )
    )


def rendered(user_id: str, text: str, state: State, last_modified: datetime) -> Rendered:
    """Fill the gaps of a text."""
    return _filled(user_id, text.split(_GAP), state, timestamp(last_modified))


def kept(text: str, record: Record) -> str:
    """Return a text with gaps as it is stored beside the record that it shows."""
    return _GAP.join((_mark(record.revision), listed(record.threepids), timestamp(record.modified), text))


def as_kept(
    user_id: str, stored: str, revision: int, threepids: str, state: State, changed: datetime | None
) -> Rendered | None:
    """Return a User from what was stored with its record, if its account has the identifiers that the record has.

    Args:
        user_id: The id.
        stored: What was stored.
        revision: That of the record.
        threepids: The account's identifiers, in the form of `listed`, in any order.
        state: What only the moment of reading knows.
        changed: When somebody changed the account after SCIM did.
    """
    mark, written, modified, *parts = stored.split(_GAP)
    if mark != _mark(revision):
        return None
    if threepids != written and sorted(threepids.split("\n")) != written.split("\n"):
        return None
    return _filled(user_id, parts, state, modified if changed is None else timestamp(changed))


def listed(threepids: Iterable[Threepid]) -> str:
    """Return third-party identifiers as text, in an order that does not change."""
    return "\n".join(f"{threepid.medium} {threepid.address}" for threepid in sorted(threepids))


def _filled(user_id: str, parts: Sequence[str], state: State, last_modified: str) -> Rendered:
    digest, head, location, before, after = parts
    active, view, mark = _texts(state)
    # It differs exactly when what is published differs, `meta` left out (RFC 7644 §3.14). It is weak, since the form of
    # the JSON does not count.
    etag = f"{digest}{mark}"
    text = f"{head}{last_modified}{location}{etag}{before}{active}{after}{view}}}"
    return Rendered(user_id, f'W/"{etag}"', text)


def _mark(revision: int) -> str:
    return f"{_FORMAT}:{revision}"


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
