"""Photos of Users as avatars of Matrix profiles."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import cast

import attrs
from scim2_models import InvalidValueException

from synapse_scim.accounts import Account, AccountChangeRefused, AccountError, Record
from synapse_scim.audit import MAINTENANCE, ended
from synapse_scim.database import Database, Transaction
from synapse_scim.gateway import AccountGateway
from synapse_scim.mapping.changes import Plan
from synapse_scim.mapping.profile import AVATAR_URL, chosen_photo
from synapse_scim.mapping.wanted import WantedUser
from synapse_scim.steps import SetProfileField
from synapse_scim.store import photo_orders
from synapse_scim.store.accounts import AccountReader
from synapse_scim.store.audit import Trail
from synapse_scim.store.photo_orders import Order
from synapse_scim.store.writes import Writer

logger = logging.getLogger(__name__)

_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(days=1)
_ATTEMPTS = 12
_FETCH = "fetch_photo"


@attrs.define(kw_only=True)
class Photos:
    """Stores and fetches photos.

    Attributes:
        database: Where it stands what is to be fetched.
        gateway: What the homeserver does.
        reader: Reads accounts.
        writer: Writes them.
        trail: Records what could not be fetched.
    """

    database: Database
    gateway: AccountGateway
    reader: AccountReader
    writer: Writer
    trail: Trail
    _fetches: bool = attrs.field(default=False, init=False)
    _is_asked: bool = attrs.field(default=False, init=False)

    @staticmethod
    def stores(wanted: WantedUser) -> bool:
        """Tell whether a wanted User has photos to be stored."""
        return any(_is_data(photo.get("value")) for photo in wanted.attributes.get("photos") or ())

    async def stored(self, user_id: str, wanted: WantedUser, account: Account | None) -> WantedUser:
        """Return a wanted User whose `data:` photos are stored, and are `mxc:` ones by that.

        The one that the avatar was made of is not stored again, since clients send it with every PUT.

        Args:
            user_id: Whose photos they are.
            wanted: The User.
            account: The account, if it exists already.

        Raises:
            InvalidValueException: A `data:` URL holds no image that the homeserver takes.
            Unavailable: This process of the homeserver cannot store media.
        """
        if not self.stores(wanted):
            return wanted
        photos = wanted.attributes["photos"]
        chosen = chosen_photo(photos)
        record = account.record if account else None
        kept, made_of = [], wanted.photo
        for photo in photos:
            source = photo.get("value")
            if not _is_data(source):
                kept.append(photo)
                continue
            digest = f"sha256:{hashlib.sha256(source.encode()).hexdigest()}"
            if record and account and record.photo == digest and record.avatar_url == account.avatar_url:
                stored = record.avatar_url
            else:
                stored = await self._store(user_id, source)
            kept.append({**photo, "value": stored})
            made_of = digest if source == chosen else made_of
        return attrs.evolve(wanted, attributes={**wanted.attributes, "photos": kept}, photo=made_of)

    async def _store(self, user_id: str, source: str) -> str:
        try:
            return await self.gateway.store_photo(user_id, source)
        except AccountChangeRefused as error:
            raise InvalidValueException(detail=f"'photos.value': {error}") from error

    def fetch_soon(self) -> None:
        """Fetch in the background what has been ordered."""
        self.gateway.run_in_background("synapse_scim_photos", self.fetch_due)

    async def fetch_due(self) -> None:
        """Fetch what has been ordered, one after the other. A process that cannot store media leaves it to others."""
        # Whoever fetches already may have found the last order before this one was placed.
        self._is_asked = True
        if self._fetches or not self.gateway.stores_photos:
            return
        self._fetches = True
        try:
            while self._is_asked:
                self._is_asked = False
                while orders := await self.database.run("synapse_scim_photos", photo_orders.due, self.gateway.now()):
                    await self._fetch_all(orders)
        finally:
            self._fetches = False

    async def _fetch_all(self, orders: Iterable[Order]) -> None:
        for order in orders:
            pause = min(_FIRST_PAUSE * 4**order.attempts, _LONGEST_PAUSE)
            # Before the attempt: however it ends, the order does not stand in the way of others.
            if not await self.database.run(
                "synapse_scim_photo_later", photo_orders.postpone, order, self.gateway.now() + pause
            ):
                continue
            try:
                await self._fetch(order)
            except AccountError as error:
                is_last = isinstance(error, AccountChangeRefused) or order.attempts + 1 >= _ATTEMPTS
                logger.warning(
                    "The photo of %s could not be fetched, and %s: %s",
                    order.user_id,
                    "will not be" if is_last else f"will be tried again in {pause}",
                    error,
                )
                await self.trail.add(ended((MAINTENANCE.event(_FETCH, order.user_id, ("photos",)),), "failed"))
                if is_last:
                    await self.database.run("synapse_scim_photo_end", photo_orders.end, order)

    async def _fetch(self, order: Order) -> None:
        if await self._wanted(order) is None:
            await self.database.run("synapse_scim_photo_end", photo_orders.end, order)
            return
        avatar_url = await self.gateway.store_photo(order.user_id, order.source)
        async with self.database.lock(order.user_id):
            await self.writer.recover(order.user_id)
            if account := await self._wanted(order):
                fetched = MAINTENANCE.event(_FETCH, order.user_id, ("photos",))
                await self.writer.update(account, self._plan(account, order, avatar_url), fetched)
                await self.database.run("synapse_scim_photo_end", photo_orders.end, order)

    def _plan(self, account: Account, order: Order, avatar_url: str) -> Plan:
        """Return the write that makes a fetched photo the avatar."""
        before = cast("Record", account.record)
        record = attrs.evolve(
            before,
            avatar_url=avatar_url,
            photo=order.source,
            modified=max(self.gateway.now(), before.modified),
            revision=before.revision + 1,
        )
        change = SetProfileField(field=AVATAR_URL, value=avatar_url, former=account.avatar_url)
        return Plan(record=record, profile_changes=(change,))

    async def _wanted(self, order: Order) -> Account | None:
        """Return the account that an order is for, if its User still has that photo, and the avatar not yet."""

        def read(txn: Transaction) -> Account | None:
            return self.reader.read(txn, [order.user_id]).get(order.user_id)

        account = await self.database.run("synapse_scim_photo_of", read)
        if account is None or account.record is None:
            return None
        is_present = chosen_photo(account.record.attributes.get("photos") or ()) == order.source
        is_made = account.record.photo == order.source and account.record.avatar_url == account.avatar_url
        return account if is_present and not is_made else None


def _is_data(source: object) -> bool:
    return isinstance(source, str) and source[:5].lower() == "data:"
