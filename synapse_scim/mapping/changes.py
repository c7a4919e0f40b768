"""A wanted SCIM User as the changes that make an account look like it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from synapse_scim.accounts import Account, Belongings, ExternalId, Record, Threepid
from synapse_scim.config import Inactive
from synapse_scim.mapping.profile import AVATAR_URL, DISPLAYNAME, ProfileMapping
from synapse_scim.mapping.schema import ENTERPRISE_SCHEMA
from synapse_scim.mapping.threepids import ATTRIBUTES
from synapse_scim.mapping.user import UserMapping
from synapse_scim.mapping.wanted import WantedUser
from synapse_scim.steps import (
    AddExternalId,
    AddThreepid,
    AnnounceThreepids,
    DatabaseChange,
    Deactivate,
    EndSessions,
    FinalChange,
    ProfileChange,
    Reactivate,
    Rejoin,
    RemoveExternalId,
    RemovePushers,
    RemoveThreepid,
    RestorePushers,
    SetLocked,
    SetPassword,
)


@attrs.frozen(kw_only=True)
class Plan:
    """A write, computed before it starts.

    Attributes:
        record: What is kept of the account afterwards.
        database_changes: Made in the transaction that stores the record, or in that which makes the write certain.
        profile_changes: Made after it, and undone if one of them fails.
        final_changes: Made last, and repeated until they succeed.
        leaves: SCIM locks the account.
        returns: SCIM takes that back.
        fetch: The photo to fetch for the avatar.
        unbound: How many of the phone numbers that this write brings stay mere attributes.
        lost: The attributes of which somebody who returns does not get everything back: another has it now.
    """

    record: Record
    database_changes: tuple[DatabaseChange, ...] = ()
    profile_changes: tuple[ProfileChange, ...] = ()
    final_changes: tuple[FinalChange, ...] = ()
    leaves: bool = False
    returns: bool = False
    fetch: str | None = None
    unbound: int = 0
    lost: tuple[str, ...] = ()

    def changes(self, before: Record | None) -> bool:
        """Tell whether the write does anything to an account with such a record."""
        if before is None or self.database_changes or self.profile_changes or self.final_changes:
            return True
        return attrs.evolve(self.record, modified=before.modified, revision=before.revision) != before

    def outcome(self, account: Account) -> Account | None:
        """Return an account as it is after the write, or `None` where only the homeserver can tell."""
        if not all(isinstance(change, AnnounceThreepids | EndSessions) for change in self.final_changes):
            return None
        profile = {**account.profile, **{change.field: change.value for change in self.profile_changes}}
        custom = profile.keys() - {DISPLAYNAME, AVATAR_URL}
        return attrs.evolve(
            self._changed(account),
            record=self.record,
            user_name_taken=False,
            deleted=False,
            displayname=profile[DISPLAYNAME],
            avatar_url=profile[AVATAR_URL],
            profile_fields={name: profile[name] for name in custom if profile[name] is not None},
        )

    def seen(self, account: Account) -> Account:
        """Return an account that was read after the write, with what its owner may tell Synapse of again only later.

        Whoever is deactivated has none of it any more.
        """
        gone = any(isinstance(change, Deactivate) for change in self.final_changes)
        return account if gone else self._changed(account)

    def _changed(self, account: Account) -> Account:
        """Return an account with the changes of the database made."""
        threepids, external_ids, locked = set(account.threepids), set(account.external_ids), account.locked
        for change in self.database_changes:
            match change:
                case AddThreepid(threepid):
                    threepids.add(threepid)
                case RemoveThreepid(threepid):
                    threepids.discard(threepid)
                case AddExternalId(external_id):
                    external_ids.add(external_id)
                case RemoveExternalId(external_id):
                    external_ids.discard(external_id)
                case SetLocked(locked):
                    pass
        return attrs.evolve(
            account, threepids=frozenset(threepids), external_ids=frozenset(external_ids), locked=locked
        )


@attrs.frozen(kw_only=True)
class _Activation:
    """What a request does to who can log in.

    Attributes:
        wish: What SCIM wishes from now on.
        hidden: Whether `active` is not shown.
        leaves: SCIM locks the account.
        returns: SCIM takes back what it wished before.
    """

    wish: bool
    hidden: bool
    leaves: bool = False
    returns: bool = False


@attrs.frozen(kw_only=True)
class Planner:
    """Computes writes.

    Attributes:
        users: How an account looks as a User.
        profiles: How a User's profile looks.
        end_sessions: Whether a new password ends the sessions.
        inactive: What becomes of people whom the client disables.
    """

    users: UserMapping
    profiles: ProfileMapping
    end_sessions: bool
    inactive: Inactive

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
        active = wanted.active is not False
        profile = self.profiles.plan(None, {}, wanted.as_user(), wanted.photo)
        record = Record(
            domain=domain,
            user_name=wanted.user_name,
            external_id=wanted.external_id,
            attributes=wanted.attributes,
            threepids=threepids,
            displayname=profile.displayname,
            avatar_url=profile.avatar_url,
            photo=profile.photo,
            active=active,
            manager_since=now if manager_of(wanted.attributes) else None,
            created=now,
            modified=now,
        )
        announced = (AnnounceThreepids(added=threepids, notify_by_email=active),) if threepids else ()
        return Plan(
            record=record,
            database_changes=(
                *(AddThreepid(threepid) for threepid in sorted(threepids)),
                *(AddExternalId(external_id) for external_id in self._external_ids(record)),
            ),
            final_changes=(*announced, *profile.changes, *(() if active else self._leaving())),
            leaves=not active,
            fetch=profile.fetch,
            unbound=self.users.threepids.unbound(record.attributes, threepids),
        )

    def update(
        self,
        account: Account,
        wanted: WantedUser,
        *,
        domain: str,
        unavailable: frozenset[Threepid],
        password: SetPassword | None,
        now: datetime,
        belongings: Belongings | None = None,
    ) -> Plan:
        """Return the write that turns an account into the wanted User.

        What the wanted User shares with the User of the account is not touched, so an adoption loses nothing.

        Args:
            account: The account as just read.
            wanted: The whole new state.
            domain: The provisioning domain of the client; an account that has one keeps it.
            unavailable: Identifiers of other accounts that this one can do without: they stay mere attributes.
            password: What the password becomes, or `None` if it stays.
            now: The time of the write.
            belongings: What somebody who returns gets back.

        Raises:
            InvalidValueException: A value cannot be used.
        """
        before = account.record
        published = self.users.shown(account)
        attributes, own = self._own_entries(account, wanted)
        threepids = own - unavailable
        profile = self.profiles.plan(account, published, wanted.as_user(), wanted.photo)
        if wanted.attributes.get("photos") == published.get("photos"):
            # What only repeats an avatar that somebody else chose is not SCIM's.
            attributes.pop("photos", None)
            if before and "photos" in before.attributes:
                attributes["photos"] = before.attributes["photos"]
        activation = self._activation(account, wanted, published=published.get("active"))
        record = Record(
            domain=before.domain if before else domain,
            user_name=wanted.user_name,
            external_id=wanted.external_id,
            attributes=attributes,
            threepids=threepids,
            displayname=profile.displayname,
            avatar_url=profile.avatar_url,
            photo=profile.photo,
            active=activation.wish,
            active_removed=activation.hidden,
            manager_since=self._manager_since(before, attributes, now),
            created=before.created if before else account.created,
            modified=max(now, before.modified) if before else now,
            revision=before.revision + 1 if before else 0,
        )
        added, dropped = self._threepid_changes(account, wanted, threepids, returns=activation.returns)
        regained = Belongings()
        if belongings and (activation.returns or account.deleted):
            regained = belongings
            added |= regained.threepids
        external_ids = (*self._external_ids(record), *regained.external_ids)
        return Plan(
            record=record,
            # Additions first: they may be refused, and then nothing is done.
            database_changes=(
                *(AddThreepid(threepid) for threepid in sorted(added)),
                *self._external_id_changes(account, record, published.get("externalId"), frozenset(external_ids)),
                *(RemoveThreepid(threepid) for threepid in sorted(dropped)),
                *((SetLocked(locked=True),) if activation.leaves else ()),
                *((SetLocked(locked=False),) if activation.returns and account.locked else ()),
                *((password,) if password is not None else ()),
            ),
            profile_changes=profile.changes,
            final_changes=(
                *((AnnounceThreepids(added=added, removed=dropped),) if added or dropped else ()),
                *((EndSessions(),) if password is not None and self.end_sessions else ()),
                *(self._leaving() if activation.leaves else ()),
                *(self._returning(account, regained) if activation.returns else ()),
            ),
            leaves=activation.leaves,
            returns=activation.returns,
            fetch=profile.fetch,
            unbound=self.users.threepids.unbound(attributes, threepids)
            if before is None or before.attributes.get("phoneNumbers") != attributes.get("phoneNumbers")
            else 0,
        )

    @staticmethod
    def _manager_since(before: Record | None, attributes: Mapping[str, Any], now: datetime) -> datetime | None:
        manager = manager_of(attributes)
        if before is not None and manager == manager_of(before.attributes):
            return before.manager_since
        return now if manager else None

    def _leaving(self) -> tuple[FinalChange, ...]:
        """Return what happens to somebody who is locked, beside the lock."""
        if self.inactive.deactivate_after == timedelta(0):
            return (Deactivate(erase=False),)
        return (RemovePushers(), EndSessions()) if self.inactive.end_sessions else (RemovePushers(),)

    @staticmethod
    def _returning(account: Account, regained: Belongings) -> tuple[FinalChange, ...]:
        """Return what happens to somebody who is unlocked, beside that."""
        return (
            *((Reactivate(),) if account.deactivated else ()),
            *((Rejoin(regained.memberships),) if regained.memberships and account.deactivated else ()),
            # After the rooms: whoever returns need not be told of each.
            *((RestorePushers(regained.pushers),) if regained.pushers else ()),
        )

    def _threepid_changes(
        self, account: Account, wanted: WantedUser, threepids: frozenset[Threepid], *, returns: bool
    ) -> tuple[frozenset[Threepid], frozenset[Threepid]]:
        """Return the identifiers to bind and to unbind. Whoever is away has none, and gets them on their return."""
        if account.away and not returns:
            return frozenset(), frozenset()
        named = set(self.users.threepids.threepids(wanted.attributes))
        mapped = {medium for name, medium in ATTRIBUTES.items() if self.users.threepids.mapped(name)}
        return (
            threepids - account.threepids,
            frozenset(t for t in account.threepids - named if t.medium in mapped),
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

    def _external_id_changes(
        self, account: Account, record: Record, shown: str | None, wanted: frozenset[ExternalId]
    ) -> tuple[DatabaseChange, ...]:
        provider = self.users.sso.providers.get(record.domain)
        former = {e for e in account.external_ids if e.auth_provider == provider and e.subject == shown}
        if account.record is None and wanted <= account.external_ids:
            # Adopted by another identity of the same person: adoption loses nothing.
            former = set()
        return (
            *(AddExternalId(external_id) for external_id in sorted(wanted - account.external_ids)),
            *(RemoveExternalId(external_id) for external_id in sorted(former - wanted)),
        )

    @staticmethod
    def _activation(account: Account, wanted: WantedUser, *, published: bool | None) -> _Activation:
        """Return what a request does to who can log in.

        A lock that an administrator set is not SCIM's: only a wish that was false and becomes true lifts it.
        """
        before = account.record.active if account.record else True
        if wanted.active is None:
            return _Activation(wish=before, hidden=True)
        stated = wanted.states_active or wanted.active != published
        return _Activation(
            wish=wanted.active if stated else before,
            hidden=False,
            leaves=not wanted.active and account.usable,
            returns=wanted.active and stated and not before,
        )


def manager_of(attributes: Mapping[str, Any]) -> str | None:
    """Return whom the kept attributes of a User name as manager, by the client's identifier or a user ID."""
    manager: str | None = attributes.get(ENTERPRISE_SCHEMA, {}).get("manager", {}).get("value")
    return manager
