"""A Matrix account as a SCIM User."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import attrs

from synapse_scim.accounts import Account, Record
from synapse_scim.config import DEFAULT_DOMAIN, Sso
from synapse_scim.mapping.identifiers import quoted_id, unmanaged_user_name
from synapse_scim.mapping.rendering import Rendered, State, rendered, template, timestamp
from synapse_scim.mapping.schema import ENTERPRISE_SCHEMA, MATRIX_SCHEMA, USER_SCHEMA, PasswordlessUser
from synapse_scim.mapping.threepids import ATTRIBUTES, ThreepidMapping, published_value, unclaimed

_ATTRIBUTES = tuple(
    str(info.serialization_alias)
    for field, info in PasswordlessUser.model_fields.items()
    if field not in {"schemas", "id", "external_id", "meta", "user_name"}
)
"""The attributes of the core schema beside the name and the common ones, in the order in which a User holds them."""

_BEFORE_ACTIVE = _ATTRIBUTES[: _ATTRIBUTES.index("active")]
_AFTER_ACTIVE = _ATTRIBUTES[len(_BEFORE_ACTIVE) + 1 :]

_Parts = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]


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
        common, before, after = self._parts(account)
        state = self.state(account)
        meta = {
            "resourceType": "User",
            "created": timestamp(_created(account)),
            "lastModified": timestamp(_last_modified(account)),
            "version": self._rendered(account, common, before, after).version,
        }
        active = {} if state.active is None else {"active": state.active}
        return {**common, "meta": meta, **before, **active, **after, MATRIX_SCHEMA: state.view(account.user_id)}

    def shown(self, account: Account) -> dict[str, Any]:
        """Return what `to_payload` does, but for `meta` and the homeserver's own view."""
        common, before, after = self._parts(account)
        active = self.state(account).active
        return {**common, **before, **({} if active is None else {"active": active}), **after}

    def rendered(self, account: Account) -> Rendered:
        """Return an account as the JSON text of a User."""
        return self._rendered(account, *self._parts(account))

    def template_of(self, user_id: str, record: Record) -> str:
        """Return the text, with gaps (`mapping.rendering`), of a User whose account is as SCIM left it."""
        account = Account(
            user_id=user_id,
            localpart=user_id[1 : -len(self.server_name) - 1],
            created=record.created,
            displayname=record.displayname,
            avatar_url=record.avatar_url,
            threepids=record.threepids,
            record=record,
        )
        return template(user_id, record.created, *self._parts(account))

    def _rendered(
        self, account: Account, common: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> Rendered:
        text = template(account.user_id, _created(account), common, before, after)
        return rendered(account.user_id, text, self.state(account), _last_modified(account))

    @staticmethod
    def state(account: Account) -> State:
        """Return what only the moment of reading knows of a User."""
        record = account.record
        return State(
            active=None if record is not None and record.active_removed else account.usable,
            admin=account.admin,
            locked=account.locked,
            suspended=account.suspended,
            deactivated=account.deactivated,
            user_type=account.user_type,
            managed=record is not None,
        )

    def _parts(self, account: Account) -> _Parts:
        """Return what a User holds before `meta`, between that and `active`, and between that and the server's view."""
        record = account.record
        kept = record.attributes if record else {}
        enterprise = kept.get(ENTERPRISE_SCHEMA)
        common: dict[str, Any] = {
            "schemas": [USER_SCHEMA, *([] if enterprise is None else [ENTERPRISE_SCHEMA]), MATRIX_SCHEMA],
            "id": account.user_id,
        }
        external_id = record.external_id if record else self._sso_subject(account)
        if external_id is not None:
            common["externalId"] = external_id
        user_name = (
            record.user_name
            if record
            else unmanaged_user_name(account.user_id, account.localpart, taken=account.user_name_taken)
        )
        live: dict[str, Any] = {"displayName": self._display_name(account), "photos": self._photos(account)}
        live |= {
            attribute: self.entries(account, attribute) for attribute in ATTRIBUTES if self.threepids.mapped(attribute)
        }
        shown = {**kept, **live}
        before = {"userName": user_name, **_assigned(shown, _BEFORE_ACTIVE)}
        after = _assigned(shown, _AFTER_ACTIVE)
        if enterprise is not None:
            after[ENTERPRISE_SCHEMA] = self._with_reference(enterprise)
        return common, before, after

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

    def _with_reference(self, enterprise: Mapping[str, Any]) -> dict[str, Any]:
        """Add where the manager's resource is, if the manager is named by the id of a local account."""
        manager = enterprise.get("manager") or {}
        value = manager.get("value") or ""
        if not (value.startswith("@") and value.endswith(f":{self.server_name}")):
            return dict(enterprise)
        return {**enterprise, "manager": {"value": value, "$ref": f"Users/{quoted_id(value)}"}}


def _created(account: Account) -> datetime:
    return account.record.created if account.record else account.created


def _last_modified(account: Account) -> datetime:
    written = account.record.modified if account.record else account.created
    return max(written, account.changed_elsewhere or written)


def _assigned(attributes: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the attributes of some names that have a value, in the order of the names (RFC 7643 §2.5)."""
    return {name: value for name in names if (value := attributes.get(name)) is not None and value != []}


def is_made_of_photo(account: Account) -> bool:
    """Tell whether the avatar of an account is, or is about to be, the photo that SCIM was sent."""
    record = account.record
    return record is not None and bool(record.attributes.get("photos")) and record.avatar_url == account.avatar_url


def bound_by_scim(record: Record | None) -> frozenset[Any]:
    """Return the third-party identifiers that SCIM bound to an account."""
    return record.threepids if record else frozenset()
