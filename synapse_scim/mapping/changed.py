"""Which attributes a write changes, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synapse_scim.accounts import Account, Record
from synapse_scim.mapping.changes import Plan
from synapse_scim.mapping.profile import AVATAR_URL, DISPLAYNAME
from synapse_scim.mapping.threepids import ATTRIBUTE_OF_MEDIUM
from synapse_scim.steps import (
    AddExternalId,
    AddThreepid,
    DatabaseChange,
    RemoveExternalId,
    RemoveThreepid,
    SetLocked,
)

_ATTRIBUTE_OF_FIELD = {DISPLAYNAME: "displayName", AVATAR_URL: "photos"}


def changed_attributes(plan: Plan, account: Account | None, published: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the SCIM attributes that a write changes, sorted; those of extensions with their URN.

    Args:
        plan: The write.
        account: The account before it; `None` for a new one.
        published: The User of an account that SCIM does not manage so far.
    """
    before = account.record if account else None
    after = _values(plan.record)
    former = _values(before) if before else dict(_flat(published)) | {"active": (published.get("active", True), False)}
    if before is None:
        # What is not SCIM's yet does not go by not being named.
        former = {name: value for name, value in former.items() if name in after}
    names = {name for name in after.keys() | former.keys() if after.get(name) != former.get(name)}
    names.update(name for change in plan.database_changes if (name := _attribute(change)))
    names.update(_ATTRIBUTE_OF_FIELD[c.field] for c in plan.profile_changes if c.field in _ATTRIBUTE_OF_FIELD)
    return tuple(sorted(names))


def _values(record: Record) -> dict[str, Any]:
    named = {"userName": record.user_name, "externalId": record.external_id}
    return {**dict(_flat({**record.attributes, **named})), "active": (record.active, record.active_removed)}


def _flat(user: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a User; those of an extension one by one."""
    for name, value in user.items():
        if name.startswith("urn:"):
            yield from ((f"{name}:{attribute}", part) for attribute, part in value.items())
        elif value is not None:
            yield name, value


def _attribute(change: DatabaseChange) -> str:
    match change:
        case AddThreepid(threepid) | RemoveThreepid(threepid):
            return ATTRIBUTE_OF_MEDIUM[threepid.medium]
        case AddExternalId() | RemoveExternalId():
            return "externalId"
        case SetLocked():
            return "active"
        case _:
            return "password"
