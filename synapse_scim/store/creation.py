"""Finds the account that a new SCIM User becomes: a new one, one to adopt, or one left half-made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from enum import Enum
from functools import partial
from itertools import chain, islice
from typing import Any

import attrs

from synapse_scim.accounts import (
    Account,
    ExternalIdTaken,
    Threepid,
    ThreepidTaken,
    Unavailable,
    UserIdTaken,
    UserNameTaken,
)
from synapse_scim.audit import Caller
from synapse_scim.config import Config
from synapse_scim.database import Database, Transaction
from synapse_scim.gateway import AccountGateway
from synapse_scim.mapping.changed import changed_attributes
from synapse_scim.mapping.changes import Planner
from synapse_scim.mapping.identifiers import fold, numbered, wanted_localpart
from synapse_scim.mapping.rendering import Rendered
from synapse_scim.mapping.wanted import WantedUser
from synapse_scim.steps import SetPassword
from synapse_scim.store import journal
from synapse_scim.store.accounts import AccountReader, placeholders
from synapse_scim.store.historical import HistoricalUserIds
from synapse_scim.store.leavers import Leavers
from synapse_scim.store.photos import Photos
from synapse_scim.store.sql import Sql, union_all
from synapse_scim.store.writes import Writer

_NUMBERS_TRIED = 200
RACES_LOST = 5
"""How often somebody may be faster before a request is given up."""


class Origin(Enum):
    """Where the account of a new User comes from."""

    new = "registered for it"
    existing = "made by somebody else"
    half_made = "left half-made, and completed now"
    deleted = "that of a deleted User who is the same person"


@attrs.frozen(kw_only=True)
class Made:
    """The account of a new User.

    Attributes:
        user_id: Its user ID.
        origin: Where it comes from. The caller makes an account look as wanted that is not new.
        user: The User of a new account, if it was seen.
    """

    user_id: str
    origin: Origin
    user: Rendered | None = None


@attrs.frozen(kw_only=True)
class Found:
    """What stands where a new user wants to be.

    Attributes:
        half_made: The user ID of an account that bears the userName, and of which a write is left unfinished.
        deleted: The user ID of the account that the person had before.
        existing: The User at the wanted localpart, if there is one.
        occupied: Something else has the localpart: a deleted person's account, a program's, a guest's.
        numbered: The first localpart that is free, of those that number the wanted one.
        unavailable: The wanted phone numbers that other accounts own.
    """

    half_made: str | None = None
    deleted: str | None = None
    existing: Account | None = None
    occupied: bool = False
    numbered: str | None = None
    unavailable: frozenset[Threepid] = frozenset()

    @property
    def made(self) -> Made | None:
        """The account that the new user gets which is there already, if there is one."""
        if self.half_made is not None:
            return Made(user_id=self.half_made, origin=Origin.half_made)
        if self.deleted is not None:
            return Made(user_id=self.deleted, origin=Origin.deleted)
        if self.existing is not None and self.existing.record is None:
            return Made(user_id=self.existing.user_id, origin=Origin.existing)
        return None


class _InTheWay(UserIdTaken):
    """Something else stands where a new user wants to be."""

    def __init__(self, found: Found) -> None:
        """Say what."""
        super().__init__("Something stands in the way of the new user")
        self.found = found


@attrs.frozen(kw_only=True)
class Creation:
    """Makes accounts.

    Attributes:
        database: Where accounts are kept.
        gateway: What the homeserver does.
        reader: Reads accounts.
        planner: Computes the write.
        writer: Carries it out.
        config: The rules for localparts.
        historical: The user IDs that differ from a localpart in case.
        leavers: Those who were deleted.
        photos: Stores photos.
    """

    database: Database
    gateway: AccountGateway
    reader: AccountReader
    planner: Planner
    writer: Writer
    config: Config
    historical: HistoricalUserIds
    leavers: Leavers
    photos: Photos

    async def create(self, wanted: WantedUser, *, domain: str, caller: Caller) -> Made:
        """Register an account for a new user, or find the one that should be adopted.

        Args:
            wanted: The new user.
            domain: The provisioning domain of the client.
            caller: Who makes it.

        Raises:
            AccountError: The names are taken, or the homeserver refuses; nothing is left behind.
        """
        localpart = wanted_localpart(wanted.as_user(), self.config.localpart, self.gateway.to_localpart)
        look = partial(self._find, wanted=wanted, domain=domain, localpart=localpart)
        password: SetPassword | None = None
        unavailable: frozenset[Threepid] | None = None
        # Mostly nothing is in the way: then it is looked for in the transaction that reserves the names. What takes
        # long is not prepared for somebody who cannot be.
        is_seen = wanted.password is not None or self.photos.stores(wanted)
        found = await self.database.run("synapse_scim_find", look) if is_seen else Found()
        for _ in range(RACES_LOST):
            if found.half_made is None or await self._complete(found.half_made):
                if found.made is not None:
                    return found.made
                chosen = self._choose(localpart, found)
                if wanted.password is not None and password is None:
                    password = await self.gateway.prepare_password(wanted.password)
                try:
                    return await self._register(
                        chosen, wanted, domain, found.unavailable, password, caller, None if is_seen else look
                    )
                except _InTheWay as error:
                    found, is_seen = error.found, True
                    continue
                except UserIdTaken:
                    pass
                except ThreepidTaken:
                    # Phone numbers that somebody has taken since do not matter; that is seen by looking again.
                    if not is_seen or found.unavailable == unavailable:
                        raise
                    unavailable = found.unavailable
            found, is_seen = await self.database.run("synapse_scim_find", look), True
        raise Unavailable("The user ID is being taken by others again and again")

    def _choose(self, localpart: str, found: Found) -> str:
        """Return the localpart of a new account. A name that is or was another person's is never given again."""
        if found.existing is None and not found.occupied:
            return localpart
        if self.config.localpart_taken == "refuse" or found.numbered is None:
            raise UserIdTaken(
                f"The user ID @{localpart}:{self.gateway.server_name} is, or was, another person's; choose another"
                " 'userName', or let the server number such names ('localpart_taken: number')"
            )
        return found.numbered

    async def _register(
        self,
        localpart: str,
        wanted: WantedUser,
        domain: str,
        unavailable: frozenset[Threepid],
        password: SetPassword | None,
        caller: Caller,
        look: Callable[[Transaction], Found] | None,
    ) -> Made:
        """Register an account.

        Raises:
            AccountError: The homeserver refuses, or `look` finds something in the way; nothing is left behind.
        """

        def ensure_free(txn: Transaction) -> bool:
            is_untouched = self._is_untouched(txn, user_id, wanted, domain)
            if not is_untouched and look is not None and (found := look(txn)) != Found():
                raise _InTheWay(found)
            return is_untouched

        user_id = self._user_id(localpart)
        async with self.database.lock(user_id):
            wanted = await self.photos.stored(user_id, wanted, None)
            plan = self.planner.creation(wanted, domain=domain, unavailable=unavailable, now=self.gateway.now())
            changed = {*changed_attributes(plan, None, {}), *(() if password is None else ("password",))}
            event = caller.event("create", user_id, tuple(sorted(changed)))
            user = await self.writer.create(localpart, plan, password, event, ensure_free if look else None)
            if plan.fetch is not None:
                self.photos.fetch_soon()
        return Made(user_id=user_id, origin=Origin.new, user=user)

    async def _complete(self, user_id: str) -> bool:
        """Wait for whoever makes an account, or complete it in their place.

        Returns:
            Whether they had left it half-made, and it is complete now.
        """
        async with self.database.lock(user_id):
            return await self.writer.recover(user_id)

    def _is_untouched(self, txn: Transaction, user_id: str, wanted: WantedUser, domain: str) -> bool:
        """Tell by one statement whether there is nothing at all of what `_find` looks for, as with most creations."""
        phone_numbers = {threepid.address for threepid in self.planner.users.threepids.shareable(wanted.attributes)}
        query = what_is_there(
            user_id,
            fold(wanted.user_name),
            (wanted.external_id, domain),
            self.leavers.hash_of(domain, wanted.external_id),
            phone_numbers,
        )
        txn.execute(query.text, query.parameters)
        return txn.fetchone() is None and not self.historical.like(user_id)

    def _find(self, txn: Transaction, wanted: WantedUser, domain: str, localpart: str) -> Found:
        txn.execute("SELECT user_id, state FROM synapse_scim_users WHERE user_name_key = ?", (fold(wanted.user_name),))
        bearer = txn.fetchone()
        if bearer and (bearer[1] == "pending" or journal.read(txn, bearer[0]) is not None):
            return Found(half_made=bearer[0])
        if bearer:
            raise UserNameTaken("Another user has this 'userName'")
        if wanted.external_id is not None:
            txn.execute(
                "SELECT 1 FROM synapse_scim_users WHERE external_id = ? AND domain = ?", (wanted.external_id, domain)
            )
            if txn.fetchone():
                raise ExternalIdTaken("Another user has this 'externalId'")
        deleted = self.leavers.returning(txn, domain, wanted.external_id, self.gateway.now())
        if deleted is not None:
            return Found(deleted=deleted)
        user_id = self._user_id(localpart)
        is_registered = user_id in self._registered(txn, [user_id])
        existing = self.reader.read(txn, [user_id]).get(user_id) if is_registered else None
        free = None
        if is_registered and (existing is None or existing.record is not None):
            free = self._free_number(txn, localpart)
        return Found(
            existing=existing,
            occupied=is_registered and existing is None,
            numbered=free,
            unavailable=identifiers_of_others(txn, user_id, self.planner.users.threepids.shareable(wanted.attributes)),
        )

    def _free_number(self, txn: Transaction, localpart: str) -> str | None:
        candidates = list(islice(numbered(localpart), _NUMBERS_TRIED))
        taken = self._registered(txn, [self._user_id(candidate) for candidate in candidates])
        return next((candidate for candidate in candidates if self._user_id(candidate) not in taken), None)

    def _registered(self, txn: Transaction, user_ids: Sequence[str]) -> set[Any]:
        """Return those of some user IDs that accounts have, or are getting, in whatever case.

        Accounts whose registration was given up do not count.
        """
        marks = placeholders(user_ids)
        txn.execute(
            f"SELECT name FROM users WHERE name IN ({marks})"
            f" UNION SELECT user_id FROM synapse_scim_users WHERE user_id IN ({marks})"
            f" EXCEPT SELECT user_id FROM synapse_scim_users WHERE user_id IN ({marks}) AND state = 'given_up'",
            tuple(chain(user_ids, user_ids, user_ids)),
        )
        return {row[0] for row in txn.fetchall()}.union(filter(self.historical.like, user_ids))

    def _user_id(self, localpart: str) -> str:
        return f"@{localpart}:{self.gateway.server_name}"


def what_is_there(
    user_id: str,
    user_name_key: str,
    external_id: tuple[str | None, str],
    external_id_hash: str | None,
    phone_numbers: Collection[str],
) -> Sql:
    """Return the query that finds something if anything may be in the way of a new user, or may be that person's.

    Args:
        user_id: The user ID.
        user_name_key: The userName, folded.
        external_id: The externalId, and its domain.
        external_id_hash: By which the person is known, if deleted before.
        phone_numbers: The addresses of the wanted threepids that may be shared.
    """
    parts = [
        Sql("SELECT 1 FROM users WHERE name = ?", (user_id,)),
        Sql("SELECT 1 FROM synapse_scim_users WHERE user_id = ?", (user_id,)),
        Sql("SELECT 1 FROM synapse_scim_users WHERE user_name_key = ?", (user_name_key,)),
        Sql("SELECT 1 FROM synapse_scim_users WHERE external_id = ? AND domain = ?", external_id),
        Sql("SELECT 1 FROM synapse_scim_departures WHERE external_id_hash = ?", (external_id_hash,)),
    ]
    if phone_numbers:
        marks = placeholders(phone_numbers)
        condition = f"medium = 'msisdn' AND address IN ({marks})"
        parts.append(Sql(f"SELECT 1 FROM user_threepids WHERE {condition}", tuple(phone_numbers)))
    return union_all(parts)


def identifiers_of_others(txn: Transaction, user_id: str, threepids: Iterable[Threepid]) -> frozenset[Threepid]:
    """Return those of some identifiers that other accounts have."""
    by_medium: dict[str, list[str]] = {}
    for threepid in threepids:
        by_medium.setdefault(threepid.medium, []).append(threepid.address)
    found: set[Threepid] = set()
    for medium, addresses in by_medium.items():
        txn.execute(
            "SELECT medium, address FROM user_threepids WHERE medium = ? AND user_id <> ?"
            f" AND address IN ({placeholders(addresses)})",
            (medium, user_id, *addresses),
        )
        found.update(Threepid(*row) for row in txn.fetchall())
    return frozenset(found)
