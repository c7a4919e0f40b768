"""What is recorded, within the transactions of a write, of those who leave and of those who return."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

from synapse_scim.accounts import Account, Belongings, Threepid
from synapse_scim.config import Inactive
from synapse_scim.database import Transaction
from synapse_scim.gateway import AccountGateway
from synapse_scim.mapping.changes import Plan
from synapse_scim.store import departures, photo_orders
from synapse_scim.store.departures import Departure
from synapse_scim.store.guard import OffboardingGuard
from synapse_scim.store.records import Records


@attrs.frozen(kw_only=True)
class Offboarding:
    """Records departures.

    Attributes:
        gateway: What the homeserver does.
        records: The module's rows of an account.
        guard: How many may be locked or deleted.
        inactive: When those who are locked are deactivated.
    """

    gateway: AccountGateway
    records: Records
    guard: OffboardingGuard
    inactive: Inactive

    def settle(self, txn: Transaction, account: Account, plan: Plan) -> None:
        """Record what follows from a write that is certain: somebody leaves or returns, a photo is fetched."""
        user_id, now = account.user_id, plan.record.modified
        if plan.leaves:
            self.leave(txn, user_id, plan.record.threepids)
        elif plan.returns:
            departures.erase(txn, user_id)
        elif account.deleted:
            # Brought back, but not let in yet. The identifiers are the account's again.
            former = departures.read(txn, user_id)
            kept = attrs.evolve(
                former.belongings if former else Belongings(), threepids=frozenset(), external_ids=frozenset()
            )
            deactivate_at = None if account.deactivated else self._deactivation(now)
            departures.write(txn, user_id, Departure(left=now, deactivate_at=deactivate_at, belongings=kept))
        if plan.fetch is not None:
            photo_orders.place(txn, user_id, plan.fetch, now)
        elif account.record and account.record.attributes.get("photos") != plan.record.attributes.get("photos"):
            photo_orders.cancel(txn, user_id)

    def leave(self, txn: Transaction, user_id: str, own: frozenset[Threepid]) -> None:
        """Record that somebody is locked, and what they get back.

        Args:
            txn: The transaction.
            user_id: The account.
            own: The identifiers that SCIM bound, which the record has already.
        """
        now = self.gateway.now()
        belongings = self.gateway.belongings(txn, user_id)
        if self.inactive.deactivate_after == timedelta(0):
            departure = Departure(left=now, belongings=without(belongings, own))
        else:
            # Whoever is only locked keeps everything but the pushers.
            departure = Departure(
                left=now, deactivate_at=self._deactivation(now), belongings=Belongings(pushers=belongings.pushers)
            )
        departures.write(txn, user_id, departure)

    def delete(self, txn: Transaction, account: Account, departure: Departure, domain: str) -> None:
        """Record that somebody is deleted, and what they get back if they are created again.

        Args:
            txn: The transaction.
            account: The account.
            departure: The departure, its belongings not filled in.
            domain: The provisioning domain of the client.
        """
        if account.usable:
            self.guard.admit(txn, account.user_id, departure.left)
        self._record(txn, account, departure)
        self.records.bury(txn, account, domain, departure.left)
        photo_orders.cancel(txn, account.user_id)
        if departure.erase and departure.deactivate_at is None:
            self.forget(txn, account.user_id)

    def deactivate(self, txn: Transaction, account: Account, departure: Departure) -> None:
        """Record what somebody has whose time has come to be deactivated."""
        self._record(txn, account, attrs.evolve(departure, deactivate_at=None))
        if departure.erase:
            self.forget(txn, account.user_id)

    def forget(self, txn: Transaction, user_id: str) -> None:
        """Forget all but the user ID, and the hash of the externalId, of somebody who left."""
        departures.forget(txn, user_id)
        self.records.forget(txn, user_id)

    def _record(self, txn: Transaction, account: Account, departure: Departure) -> None:
        """Write a departure, with what was recorded before and what the account has now."""
        former = departures.read(txn, account.user_id)
        recorded = former.belongings if former else Belongings()
        present = self.gateway.belongings(txn, account.user_id)
        own = account.record.threepids if account.record else frozenset()
        belongings = Belongings(
            threepids=recorded.threepids | present.threepids,
            external_ids=recorded.external_ids | present.external_ids,
            pushers=recorded.pushers + present.pushers,
            # Whom somebody removed from a room in the meantime does not come back to it.
            memberships=recorded.memberships if account.deactivated else present.memberships,
        )
        departures.write(txn, account.user_id, attrs.evolve(departure, belongings=without(belongings, own)))

    def _deactivation(self, now: datetime) -> datetime | None:
        """Return when somebody who is locked now is deactivated."""
        return None if self.inactive.deactivate_after is None else now + self.inactive.deactivate_after


def without(belongings: Belongings, threepids: frozenset[Threepid]) -> Belongings:
    """Return belongings without some identifiers."""
    return attrs.evolve(belongings, threepids=belongings.threepids - threepids)
