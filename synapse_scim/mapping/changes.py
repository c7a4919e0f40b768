"""A wanted SCIM User as the changes that make an account look like it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
import jinja2
from scim2_models import InvalidValueException, Resource

from synapse_scim.accounts import (
    MAX_DISPLAYNAME_LENGTH,
    MAX_PASSWORD_LENGTH,
    Account,
    AddExternalId,
    AddThreepid,
    AnnounceThreepids,
    DatabaseChange,
    EndSessions,
    ExternalId,
    FinalChange,
    ProfileChange,
    Record,
    RemoveExternalId,
    RemoveThreepid,
    SetDisplayname,
    SetLocked,
    SetPasswordHash,
    Threepid,
)
from synapse_scim.mapping.identifiers import checked_external_id, checked_user_name, rendered
from synapse_scim.mapping.schema import ENTERPRISE_SCHEMA, MATRIX_SCHEMA
from synapse_scim.mapping.threepids import ATTRIBUTES
from synapse_scim.mapping.user import UserMapping

_NOT_KEPT = frozenset({"schemas", "id", "externalId", "meta", "userName", "active", "password", MATRIX_SCHEMA})


@attrs.frozen(kw_only=True)
class WantedUser:
    """The state that a request asks for, checked as far as it can be without the account.

    Attributes:
        user_name: In NFC.
        external_id: `None` for none.
        active: `None` where the request unassigns it, or does not say.
        states_active: Whether the request itself says what `active` shall be.
        removes_password: Whether the account shall have no password.
        password: `None` where it stays.
        attributes: What is kept as sent, by SCIM names.
    """

    user_name: str
    external_id: str | None
    active: bool | None
    password: str | None = attrs.field(repr=False)
    attributes: Mapping[str, Any]
    states_active: bool = True
    removes_password: bool = False

    @classmethod
    def from_resource(
        cls, resource: Resource[Any], *, states_active: bool = True, removes_password: bool = False
    ) -> WantedUser:
        """Read a validated User.

        Args:
            resource: The whole User.
            states_active: Whether the request itself says what `active` shall be.
            removes_password: Whether the request takes the password away; the resource cannot say that.

        Raises:
            InvalidValueException: A value is missing or too long.
        """
        user = resource.model_dump()
        password = user.get("password") or None
        if password is not None and len(password) > MAX_PASSWORD_LENGTH:
            raise InvalidValueException(detail=f"'password' must have at most {MAX_PASSWORD_LENGTH} characters")
        attributes = {name: value for name, value in user.items() if name not in _NOT_KEPT}
        enterprise = attributes.pop(ENTERPRISE_SCHEMA, {})
        manager = enterprise.pop("manager", {}).get("value")
        if manager:
            enterprise["manager"] = {"value": manager}
        if enterprise:
            attributes[ENTERPRISE_SCHEMA] = enterprise
        return cls(
            user_name=checked_user_name(user.get("userName")),
            external_id=checked_external_id(user.get("externalId")),
            active=user.get("active"),
            password=password,
            attributes=attributes,
            states_active=states_active,
            removes_password=removes_password and password is None,
        )

    def as_user(self) -> dict[str, Any]:
        """Return what templates see, as JSON by SCIM names."""
        return {"userName": self.user_name, "externalId": self.external_id, **self.attributes}


@attrs.frozen(kw_only=True)
class Plan:
    """A write, computed before it starts.

    Attributes:
        record: What is kept of the account afterwards.
        database_changes: Made in the transaction that stores the record.
        profile_changes: Made after it, and undone if one of them fails.
        final_changes: Made last, and repeated until they succeed.
        unbound: How many of the phone numbers that this write brings stay mere attributes.
    """

    record: Record
    database_changes: tuple[DatabaseChange, ...] = ()
    profile_changes: tuple[ProfileChange, ...] = ()
    final_changes: tuple[FinalChange, ...] = ()
    unbound: int = 0

    def changes(self, before: Record | None) -> bool:
        """Tell whether the write does anything to an account with such a record."""
        if before is None or self.database_changes or self.profile_changes or self.final_changes:
            return True
        return attrs.evolve(self.record, modified=before.modified, revision=before.revision) != before


@attrs.frozen(kw_only=True)
class Planner:
    """Computes writes.

    Attributes:
        users: How an account looks as a User.
        display_name: The configured template of the profile's display name.
        end_sessions: Whether a new password ends the sessions.
    """

    users: UserMapping
    display_name: jinja2.Template | None
    end_sessions: bool

    def displayname(self, user: Mapping[str, Any]) -> str:
        """Return the display name of the profile that a User should have.

        By default the first that says something: `displayName`, `name.formatted`, given and family name, userName.

        Raises:
            InvalidValueException: It is longer than Synapse allows.
        """
        if self.display_name is not None:
            displayname = rendered(self.display_name, user)
        else:
            name = user.get("name") or {}
            parts = " ".join(filter(None, (name.get("givenName"), name.get("familyName"))))
            choices = (user.get("displayName"), name.get("formatted"), parts, user.get("userName"))
            displayname = next((text for choice in choices if (text := (choice or "").strip())), "")
        if len(displayname) > MAX_DISPLAYNAME_LENGTH:
            raise InvalidValueException(
                detail=f"'displayName' is longer than {MAX_DISPLAYNAME_LENGTH} characters, the most that Matrix takes"
            )
        return displayname or str(user["userName"])

    def creation(self, wanted: WantedUser, *, domain: str, unavailable: frozenset[Threepid], now: datetime) -> Plan:
        """Return the write that surrounds the registration of an account.

        The record and the database changes are reserved before the registration, the rest follows it.

        Args:
            wanted: The new user.
            domain: The provisioning domain of the client.
            unavailable: Phone numbers of other accounts, which stay mere attributes.
            now: The time of creation.
        """
        threepids = frozenset(self.users.threepids.threepids(wanted.attributes)) - unavailable
        record = Record(
            domain=domain,
            user_name=wanted.user_name,
            external_id=wanted.external_id,
            attributes=wanted.attributes,
            threepids=threepids,
            displayname=self.displayname(wanted.as_user()),
            active=wanted.active is not False,
            created=now,
            modified=now,
        )
        final = (AnnounceThreepids(added=threepids, notify_by_email=True),) if threepids else ()
        return Plan(
            record=record,
            database_changes=(
                *(AddThreepid(threepid) for threepid in sorted(threepids)),
                *(AddExternalId(external_id) for external_id in self._external_ids(record)),
            ),
            final_changes=final,
            unbound=self.users.threepids.unbound(record.attributes, threepids),
        )

    def update(
        self,
        account: Account,
        wanted: WantedUser,
        *,
        domain: str,
        unavailable: frozenset[Threepid],
        password: SetPasswordHash | None,
        now: datetime,
    ) -> Plan:
        """Return the write that turns an account into the wanted User.

        What the wanted User shares with the User of the account is not touched, so an adoption loses nothing.

        Args:
            account: The account as just read.
            wanted: The whole new state.
            domain: The provisioning domain of the client; an account that has one keeps it.
            unavailable: Phone numbers of other accounts, which stay mere attributes.
            password: What the password becomes, or `None` if it stays.
            now: The time of the write.

        Raises:
            InvalidValueException: A value cannot be used.
        """
        before = account.record
        published = self.users.to_payload(account)
        attributes, own = self._own_entries(account, wanted)
        threepids = own - unavailable
        displayname = self.displayname(wanted.as_user())
        renamed = displayname != self.displayname(published)
        active, removed, locks = self._activation(account, wanted, published=published.get("active"))
        record = Record(
            domain=before.domain if before else domain,
            user_name=wanted.user_name,
            external_id=wanted.external_id,
            attributes=attributes,
            threepids=threepids,
            displayname=displayname if renamed else account.displayname,
            active=active,
            active_removed=removed,
            created=before.created if before else account.created,
            modified=max(now, before.modified) if before else now,
            revision=before.revision + 1 if before else 0,
        )
        named = set(self.users.threepids.threepids(wanted.attributes))
        mapped = {medium for name, medium in ATTRIBUTES.items() if self.users.threepids.mapped(name)}
        added = frozenset(threepids - account.threepids)
        dropped = frozenset(t for t in account.threepids - named if t.medium in mapped)
        final: list[FinalChange] = []
        if added or dropped:
            final.append(AnnounceThreepids(added=added, removed=dropped))
        if password is not None and self.end_sessions:
            final.append(EndSessions())
        return Plan(
            record=record,
            # Additions first: they may be refused, and then nothing is done.
            database_changes=(
                *(AddThreepid(threepid) for threepid in sorted(added)),
                *self._external_id_changes(account, record),
                *(RemoveThreepid(threepid) for threepid in sorted(dropped)),
                *locks,
                *((password,) if password is not None else ()),
            ),
            profile_changes=(SetDisplayname(displayname, account.displayname),) if renamed else (),
            final_changes=tuple(final),
            unbound=self.users.threepids.unbound(attributes, threepids)
            if before is None or before.attributes.get("phoneNumbers") != attributes.get("phoneNumbers")
            else 0,
        )

    def _own_entries(self, account: Account, wanted: WantedUser) -> tuple[dict[str, Any], frozenset[Threepid]]:
        """Return the attributes to keep, and the identifiers that are SCIM's.

        An entry that only repeats an identifier that somebody else bound stays somebody else's.
        """
        attributes = dict(wanted.attributes)
        own: set[Threepid] = set()
        mine = account.record.threepids if account.record else frozenset()
        for attribute in ATTRIBUTES:
            if not self.users.threepids.mapped(attribute):
                continue
            shown = self.users.entries(account, attribute)
            former = (account.record.attributes.get(attribute) or ()) if account.record else ()
            kept = []
            for entry in attributes.pop(attribute, None) or ():
                threepid = self.users.threepids.threepid(attribute, entry)
                repeats = threepid in account.threepids and threepid not in mine and set(entry) == {"value"}
                if repeats and entry in shown and entry not in former:
                    continue
                kept.append(entry)
                if threepid is not None:
                    own.add(threepid)
            if kept:
                attributes[attribute] = kept
        return attributes, frozenset(own)

    def _external_ids(self, record: Record) -> tuple[ExternalId, ...]:
        """Return the single sign-on subject that should open an account."""
        provider = self.users.sso.providers.get(record.domain)
        return (ExternalId(provider, record.external_id),) if provider and record.external_id else ()

    def _external_id_changes(self, account: Account, record: Record) -> tuple[DatabaseChange, ...]:
        wanted = set(self._external_ids(record))
        provider = self.users.sso.providers.get(record.domain)
        shown = self.users.to_payload(account).get("externalId")
        former = {e for e in account.external_ids if e.auth_provider == provider and e.subject == shown}
        return (
            *(AddExternalId(external_id) for external_id in sorted(wanted - account.external_ids)),
            *(RemoveExternalId(external_id) for external_id in sorted(former - wanted)),
        )

    @staticmethod
    def _activation(
        account: Account, wanted: WantedUser, *, published: bool | None
    ) -> tuple[bool, bool, tuple[DatabaseChange, ...]]:
        """Return SCIM's wish, whether `active` is hidden, and what to do to the lock.

        A lock that an administrator set is not SCIM's: only a wish that was false and becomes true lifts it.
        """
        before = account.record.active if account.record else True
        wish = wanted.active if wanted.states_active and wanted.active is not None else before
        if wanted.active == published:
            return wish, published is None, ()
        if wanted.active is None:
            return wish, True, ()
        if wanted.active:
            return True, False, (SetLocked(locked=False),) if not before and account.locked else ()
        return False, False, (SetLocked(locked=True),) if account.usable else ()
