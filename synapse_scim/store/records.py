"""The module's own rows of an account: its record, and what can be searched of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from synapse_scim.accounts import Account, ExternalIdTaken, Record, Threepid, UserNameTaken
from synapse_scim.database import Transaction
from synapse_scim.mapping.identifiers import fold
from synapse_scim.mapping.rendering import kept
from synapse_scim.mapping.search_values import SearchValue, SearchValues
from synapse_scim.mapping.user import UserMapping
from synapse_scim.store.accounts import columns_of, record_of, ts_ms

_COLUMNS = (
    "domain",
    "user_name",
    "external_id",
    "attributes",
    "threepids",
    "displayname",
    "avatar_url",
    "photo",
    "active",
    "active_removed",
    "manager_since_ts",
    "created_ts",
    "modified_ts",
    "revision",
)
"""As `columns_of` gives them."""

_ROWS_AT_ONCE = 100
"""SQLite may be built to take no more than 999 parameters."""

_EXPECTED = timedelta(days=1)
"""For how long a registration that was sent off, and not answered, may yet happen."""


@attrs.frozen(kw_only=True)
class Records:
    """Writes records within the transaction of whoever calls.

    Attributes:
        users: How accounts look as Users.
        values: What can be searched of a record.
    """

    users: UserMapping
    values: SearchValues

    columns = staticmethod(columns_of)

    def insert(self, txn: Transaction, user_id: str, state: str, record: Record, *, are_free: bool = False) -> None:
        """Store the record of an account that has none.

        That of a deleted User claims no names, and nothing of it can be searched.

        Args:
            txn: The transaction.
            user_id: The account.
            state: The state of the record.
            record: The record.
            are_free: The transaction has looked whether its names are.

        Raises:
            UserNameTaken: Another account bears the userName.
            ExternalIdTaken: Another account of the domain bears the externalId.
        """
        is_hidden = state == "deleted"
        if not (are_free or is_hidden):
            self._claim(txn, user_id, record)
        key = None if is_hidden else fold(record.user_name)
        names = ", ".join(("user_id", "state", "user_name_key", "rendering", *_COLUMNS))
        values = (user_id, state, key, self._rendering(user_id, record), *columns_of(record))
        marks = ", ".join("?" * len(values))
        txn.execute(f"INSERT INTO synapse_scim_users ({names}) VALUES ({marks})", values)
        if not is_hidden:
            self._store_values(txn, user_id, None, record)

    def replace(
        self, txn: Transaction, user_id: str, before: Record | None, after: Record, *, buried: bool = False
    ) -> None:
        """Store another record of an account.

        Args:
            txn: The transaction.
            user_id: The account.
            before: Its record, if it has one.
            after: The new one.
            buried: The former record is that of a deleted User, whom this brings back.

        Raises:
            UserNameTaken: Another account bears the userName.
            ExternalIdTaken: Another account of the domain bears the externalId.
        """
        if before is None:
            self.insert(txn, user_id, "active", after)
            return
        columns = {
            name: value
            for name, value, former in zip(_COLUMNS, columns_of(after), columns_of(before), strict=True)
            # A deleted User may have been forgotten since the record was read.
            if buried or value != former
        }
        if buried or not columns.keys().isdisjoint({"user_name", "external_id"}):
            self._claim(txn, user_id, after)
            columns |= {"user_name_key": fold(after.user_name), "state": "active"}
        columns["rendering"] = self._rendering(user_id, after)
        # SQLite writes the indexes of all columns that are named, even if nothing changes.
        assignments = ", ".join(f"{name} = ?" for name in columns)
        txn.execute(f"UPDATE synapse_scim_users SET {assignments} WHERE user_id = ?", (*columns.values(), user_id))
        self._store_values(txn, user_id, None if buried else before, after)

    @staticmethod
    def show(txn: Transaction, user_id: str) -> None:
        """Let everybody see an account that was in the making."""
        txn.execute("UPDATE synapse_scim_users SET state = 'active' WHERE user_id = ?", (user_id,))

    @staticmethod
    def is_active(txn: Transaction, user_id: str) -> bool:
        """Tell whether SCIM wishes an account to be active."""
        txn.execute("SELECT active FROM synapse_scim_users WHERE user_id = ?", (user_id,))
        row = txn.fetchone()
        return row is not None and bool(row[0])

    def bury(self, txn: Transaction, account: Account, domain: str, now: datetime) -> None:
        """Hide the record of a User that is deleted, and free its names. It stays for the person's return.

        An account that SCIM did not manage gets a record that says nothing but that it is deleted.
        """
        if account.record is None:
            record = Record(
                domain=domain,
                user_name=account.localpart,
                external_id=None,
                attributes={},
                threepids=frozenset(),
                displayname=account.displayname,
                avatar_url=account.avatar_url,
                active=False,
                created=account.created,
                modified=now,
            )
            self.insert(txn, account.user_id, "deleted", record)
            return
        txn.execute(
            "UPDATE synapse_scim_users SET state = 'deleted', user_name_key = NULL, external_id = NULL, active = 0,"
            " modified_ts = ?, revision = revision + 1 WHERE user_id = ?",
            (ts_ms(now), account.user_id),
        )
        txn.execute("DELETE FROM synapse_scim_values WHERE user_id = ?", (account.user_id,))

    def restore(self, txn: Transaction, user_id: str, former: Sequence[Any] | None, *, buried: bool) -> None:
        """Store a former record again, by its columns; without one the account has none.

        A name that somebody else has taken meanwhile is theirs: then the account keeps the one that it has now.

        Args:
            txn: The transaction.
            user_id: The account.
            former: The columns.
            buried: The record was that of a deleted User.
        """
        record = None if former is None else record_of(former)
        if record is not None and not buried:
            for name in self._taken(txn, user_id, record):
                txn.execute(f"SELECT {name} FROM synapse_scim_users WHERE user_id = ?", (user_id,))
                record = attrs.evolve(record, **{name: (txn.fetchone() or (None,))[0]})
        txn.execute("DELETE FROM synapse_scim_users WHERE user_id = ?", (user_id,))
        txn.execute("DELETE FROM synapse_scim_values WHERE user_id = ?", (user_id,))
        if record is not None:
            self.insert(txn, user_id, "deleted" if buried else "active", record, are_free=True)

    @staticmethod
    def give_up(txn: Transaction, user_id: str, birthmark: str) -> None:
        """Hide an account that was registered and never shown, and free its names.

        The next User of that user ID takes the account over, which the birthmark tells from one of somebody else's.
        """
        txn.execute(
            "UPDATE synapse_scim_users SET state = 'given_up', user_name_key = NULL, external_id = NULL,"
            " user_name = '', attributes = '{}', threepids = '[]', displayname = ?, avatar_url = NULL, photo = NULL,"
            " rendering = NULL WHERE user_id = ?",
            (birthmark, user_id),
        )
        txn.execute("DELETE FROM synapse_scim_values WHERE user_id = ?", (user_id,))

    @staticmethod
    def forget_given_up(txn: Transaction, now: datetime) -> None:
        """Drop what `give_up` left where somebody else has that user ID, or nobody has had it for a day."""
        txn.execute(
            # SQLite does not see that who is given up is not active, of whom an index knows.
            "DELETE FROM synapse_scim_users WHERE state <> 'active' AND state = 'given_up'"
            " AND (EXISTS (SELECT 1 FROM users u LEFT JOIN profiles p ON p.full_user_id = u.name"
            " WHERE u.name = synapse_scim_users.user_id"
            " AND COALESCE(p.displayname, '') <> synapse_scim_users.displayname)"
            " OR (modified_ts < ? AND NOT EXISTS (SELECT 1 FROM users u WHERE u.name = synapse_scim_users.user_id)))",
            (ts_ms(now - _EXPECTED),),
        )

    @staticmethod
    def forget(txn: Transaction, user_id: str) -> None:
        """Empty the record of a deleted User."""
        txn.execute(
            "UPDATE synapse_scim_users SET user_name = '', attributes = '{}', threepids = '[]', displayname = NULL,"
            " avatar_url = NULL, photo = NULL, rendering = NULL WHERE user_id = ? AND state = 'deleted'",
            (user_id,),
        )

    def _rendering(self, user_id: str, record: Record) -> str:
        return kept(self.users.template_of(user_id, record), record)

    @classmethod
    def _claim(cls, txn: Transaction, user_id: str, record: Record) -> None:
        """Check that the names are free. Their indexes catch whoever takes them in the same moment."""
        taken = cls._taken(txn, user_id, record)
        if "user_name" in taken:
            raise UserNameTaken("Another user has this 'userName'")
        if taken:
            raise ExternalIdTaken("Another user has this 'externalId'")

    @staticmethod
    def _taken(txn: Transaction, user_id: str, record: Record) -> list[str]:
        """Return which names of a record others have."""
        taken = []
        for name, condition, values in (
            ("user_name", "user_name_key = ?", (fold(record.user_name),)),
            ("external_id", "external_id = ? AND domain = ?", (record.external_id, record.domain)),
        ):
            if None not in values:
                txn.execute(f"SELECT 1 FROM synapse_scim_users WHERE {condition} AND user_id <> ?", (*values, user_id))
                if txn.fetchone():
                    taken.append(name)
        return taken

    def _store_values(self, txn: Transaction, user_id: str, before: Record | None, after: Record) -> None:
        """Make the searchable values those of a record; only the rows that differ are written."""
        former = set(self._search_values(before, after)) if before else set()
        wanted = self._search_values(after, before)
        kept = {(value.attribute, value.entry) for value in wanted}
        gone = sorted({(value.attribute, value.entry) for value in former} - kept)
        new = [value for value in wanted if value not in former]
        if gone:
            txn.execute_batch(
                "DELETE FROM synapse_scim_values WHERE user_id = ? AND attribute = ? AND entry = ?",
                [(user_id, *key) for key in gone],
            )
        for start in range(0, len(new), _ROWS_AT_ONCE):
            rows = new[start : start + _ROWS_AT_ONCE]
            # PostgreSQL takes longer to read a statement than to insert a row.
            txn.execute(
                "INSERT INTO synapse_scim_values (user_id, attribute, entry, value, threepid) VALUES "
                + ", ".join(["(?, ?, ?, ?, ?)"] * len(rows))
                + " ON CONFLICT (user_id, attribute, entry) DO UPDATE SET value = EXCLUDED.value,"
                " threepid = EXCLUDED.threepid",
                [column for v in rows for column in (user_id, v.attribute, v.entry, v.value, v.threepid)],
            )

    def _search_values(self, record: Record, other: Record | None) -> list[SearchValue]:
        """Return what can be searched of a record, but for what is the same in another record of the account."""
        attributes = record.attributes
        if other is not None and other.threepids == record.threepids:
            attributes = {name: value for name, value in attributes.items() if other.attributes.get(name) != value}

        def bound(attribute: str, entry: Any) -> Threepid | None:
            threepid = self.users.threepids.threepid(attribute, entry)
            return threepid if threepid in record.threepids else None

        return self.values.of(attributes, bound)
