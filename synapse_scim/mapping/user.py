"""A Matrix account as a SCIM User."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from synapse_scim.accounts import Account, Record
from synapse_scim.config import DEFAULT_DOMAIN, Sso
from synapse_scim.mapping.identifiers import quoted_id, unmanaged_user_name
from synapse_scim.mapping.schema import ENTERPRISE_SCHEMA, MATRIX_SCHEMA, USER_SCHEMA, PasswordlessUser
from synapse_scim.mapping.threepids import ATTRIBUTES, ThreepidMapping, published_value, unclaimed

_ATTRIBUTES = tuple(
    str(info.serialization_alias)
    for field, info in PasswordlessUser.model_fields.items()
    if field not in {"schemas", "id", "external_id", "meta", "user_name"}
)
"""The attributes of the core schema beside the name and the common ones, in the order in which a User holds them."""


def timestamp(moment: datetime) -> str:
    """Return a date in UTC as SCIM writes it (RFC 7643 §2.3.5), in the form that scim2-models gives it."""
    return moment.isoformat().replace("+00:00", "Z")


@attrs.frozen
class UserMapping:
    """Shows accounts as SCIM users.

    Attributes:
        server_name: The homeserver's name.
        threepids: Which entries stand for third-party identifiers.
        sso: Whose external IDs are externalIds.
    """

    server_name: str
    threepids: ThreepidMapping
    sso: Sso

    def to_payload(self, account: Account) -> dict[str, Any]:
        """Return an account as the JSON of a User.

        `meta.location` is missing, and `$ref` is relative to the root of the SCIM endpoints: only the request knows
        their URL. What is mapped to Matrix is shown as it is now, in the form that the client sent as long as that
        still holds.

        Returns:
            The attributes in the order in which scim2-models dumps them; unassigned ones are left out.
        """
        record = account.record
        kept = record.attributes if record else {}
        user: dict[str, Any] = {"schemas": [USER_SCHEMA], "id": account.user_id}
        external_id = record.external_id if record else self._sso_subject(account)
        if external_id is not None:
            user["externalId"] = external_id
        written = record.modified if record else account.created
        user["meta"] = {
            "resourceType": "User",
            "created": timestamp(record.created if record else account.created),
            "lastModified": timestamp(max(filter(None, (written, account.changed_elsewhere)))),
        }
        user["userName"] = (
            record.user_name
            if record
            else unmanaged_user_name(account.user_id, account.localpart, taken=account.user_name_taken)
        )
        live: dict[str, Any] = {
            "displayName": self._display_name(account),
            "active": self._active(account),
            "photos": self._photos(account),
        }
        live |= {
            attribute: self.entries(account, attribute) for attribute in ATTRIBUTES if self.threepids.mapped(attribute)
        }
        for attribute in _ATTRIBUTES:
            value = live[attribute] if attribute in live else kept.get(attribute)
            if value is not None and value != []:
                user[attribute] = value
        if ENTERPRISE_SCHEMA in kept:
            user["schemas"].append(ENTERPRISE_SCHEMA)
            user[ENTERPRISE_SCHEMA] = self._with_reference(kept[ENTERPRISE_SCHEMA])
        user["schemas"].append(MATRIX_SCHEMA)
        user[MATRIX_SCHEMA] = self._homeserver_view(account)
        user["meta"]["version"] = version(user)
        return user

    def entries(self, account: Account, attribute: str) -> list[dict[str, Any]]:
        """Return the entries of an attribute of third-party identifiers.

        An entry that SCIM bound is shown while the account still has its identifier, or gets it back when the person
        returns. Then follow the identifiers that no entry stands for, since somebody else bound them.
        """
        record = account.record
        medium = ATTRIBUTES[attribute]
        present = {threepid for threepid in account.threepids if threepid.medium == medium}
        sent = record.attributes.get(attribute) or () if record else ()
        if record is not None and present == {t for t in record.threepids if t.medium == medium}:
            # As SCIM left it, which is what most accounts are: no entry need be read as an identifier.
            return [dict(entry) for entry in sent]
        shown = []
        claimed = set()
        for entry in sent:
            threepid = self.threepids.threepid(attribute, entry)
            if threepid is not None:
                claimed.add(threepid)
            unchanged = account.away or threepid in account.threepids
            if threepid is None or unchanged or threepid not in bound_by_scim(record):
                shown.append(dict(entry))
        others = unclaimed(present, claimed)
        return shown + [{"value": published_value(threepid)} for threepid in others]

    def _sso_subject(self, account: Account) -> str | None:
        """Return the subject by which the provider of the default domain knows an account that SCIM did not make."""
        provider = self.sso.providers.get(DEFAULT_DOMAIN)
        subjects = sorted(e.subject for e in account.external_ids if e.auth_provider == provider)
        return subjects[0] if subjects else None

    @staticmethod
    def _display_name(account: Account) -> str | None:
        """Return what was sent, until somebody else changes the profile; then what the profile says."""
        record = account.record
        if record is not None and record.displayname == account.displayname:
            sent: str | None = record.attributes.get("displayName")
            return sent
        return account.displayname

    @staticmethod
    def _photos(account: Account) -> list[dict[str, Any]]:
        """Return what was sent, until somebody else changes the avatar; then the avatar."""
        if account.record is not None and is_made_of_photo(account):
            return [dict(photo) for photo in account.record.attributes["photos"]]
        return [{"value": account.avatar_url}] if account.avatar_url else []

    @staticmethod
    def _active(account: Account) -> bool | None:
        return None if account.record is not None and account.record.active_removed else account.usable

    def _with_reference(self, enterprise: Mapping[str, Any]) -> dict[str, Any]:
        """Add where the manager's resource is, if the manager is named by the id of a local account."""
        manager = enterprise.get("manager") or {}
        value = manager.get("value") or ""
        if not (value.startswith("@") and value.endswith(f":{self.server_name}")):
            return dict(enterprise)
        return {**enterprise, "manager": {"value": value, "$ref": f"Users/{quoted_id(value)}"}}

    @staticmethod
    def _homeserver_view(account: Account) -> dict[str, Any]:
        view = {
            "userId": account.user_id,
            "serverAdmin": account.admin,
            "locked": account.locked,
            "suspended": account.suspended,
            "deactivated": account.deactivated,
            "userType": account.user_type,
            "managed": account.record is not None,
        }
        return {name: value for name, value in view.items() if value is not None}


def is_made_of_photo(account: Account) -> bool:
    """Tell whether the avatar of an account is, or is about to be, the photo that SCIM was sent."""
    record = account.record
    return record is not None and bool(record.attributes.get("photos")) and record.avatar_url == account.avatar_url


def bound_by_scim(record: Record | None) -> frozenset[Any]:
    """Return the third-party identifiers that SCIM bound to an account."""
    return record.threepids if record else frozenset()


def version(user: Mapping[str, Any]) -> str:
    """Return the ETag of a User: it differs exactly when what is published differs, `meta` left out (RFC 7644 §3.14).

    It is weak, since the order of multi-valued attributes and the form of the JSON do not count.
    """
    published = {name: value for name, value in user.items() if name != "meta"}
    canonical = json.dumps(published, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f'W/"{hashlib.sha256(canonical.encode()).hexdigest()[:32]}"'
