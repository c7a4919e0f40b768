"""Reads accounts, as Synapse and this module keep them, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from synapse_scim.accounts import Account, ExternalId, Record, Threepid
from synapse_scim.database import Transaction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LIVE = """
    u.name, u.creation_ts, u.admin, u.locked, u.suspended, u.deactivated, u.user_type,
    c.modified_ts, p.displayname, p.avatar_url, p.fields
"""
_LIVE_COLUMNS = 11
_RECORD = """
    s.state, s.domain, s.user_name, s.external_id, s.attributes, s.threepids, s.displayname, s.avatar_url, s.photo,
    s.active, s.active_removed, s.manager_since_ts, s.created_ts, s.modified_ts, s.revision
"""

IS_SHOWN = "(s.state IS NULL OR s.state = 'active')"
"""The SQL of whether SCIM lets an account with the record `s`, or without one, be seen."""


def moment(ts_ms: int) -> datetime:
    """Return the time that is so many milliseconds after 1970."""
    return datetime.fromtimestamp(ts_ms / 1000, UTC)


def ts_ms(time: datetime) -> int:
    """Return the milliseconds from 1970 to a time."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def placeholders(values: Collection[Any]) -> str:
    """Return as many `?` as there are values, for an IN list."""
    return ", ".join("?" * len(values))


@attrs.frozen(kw_only=True)
class AccountReader:
    """Reads the accounts that SCIM shows.

    Attributes:
        server_name: The homeserver's name.
        hidden_user_ids: Accounts of the homeserver itself, such as that of its notices.
        reads_external_ids: Whether single sign-on subjects matter to what is shown or written.
    """

    server_name: str
    hidden_user_ids: frozenset[str]
    reads_external_ids: bool

    def localpart_sql(self) -> str:
        """Return the SQL of the localpart of `u.name`."""
        return f"substr(u.name, 2, length(u.name) - {len(self.server_name) + 2})"

    def name_taken_sql(self) -> str:
        """Return the SQL that tells whether a managed account bears the localpart of `u.name` as its userName."""
        # Localparts are ASCII, so that lower() folds them on both engines.
        return (
            "EXISTS (SELECT 1 FROM synapse_scim_users bearer"
            f" WHERE bearer.user_name_key = lower({self.localpart_sql()}) AND bearer.user_id <> u.name)"
        )

    def shown_sql(self, state: str = IS_SHOWN) -> tuple[str, list[Any]]:
        """Return the SQL, with its parameters, of what makes `users u` a User.

        Users are the local accounts that people use: no guests, no appservice's, none of Synapse's own types for
        programs, not the server's, none that SCIM deleted or is still making.

        Args:
            state: The SQL of the last of these; by default it looks at the record `s`.
        """
        sql = (
            "u.is_guest = 0 AND u.appservice_id IS NULL"
            f" AND (u.user_type IS NULL OR u.user_type NOT IN ('bot', 'support')) AND {state}"
        )
        hidden = sorted(self.hidden_user_ids)
        return (f"{sql} AND u.name NOT IN ({placeholders(hidden)})" if hidden else sql), list(hidden)

    def read(self, txn: Transaction, user_ids: Sequence[str], *, deleted: bool = False) -> dict[str, Account]:
        """Return the Users among some accounts, by user ID, in any order.

        Args:
            txn: The transaction.
            user_ids: The accounts.
            deleted: Read the accounts of Users that SCIM deleted, and no others.
        """
        if not user_ids:
            return {}
        shown, parameters = ("s.state = 'deleted'", []) if deleted else self.shown_sql()
        txn.execute(
            f"SELECT {_LIVE}, {_RECORD} FROM users u"
            " LEFT JOIN profiles p ON p.full_user_id = u.name"
            " LEFT JOIN synapse_scim_users s ON s.user_id = u.name"
            " LEFT JOIN synapse_scim_changes c ON c.user_id = u.name"
            f" WHERE u.name IN ({placeholders(user_ids)}) AND {shown}",
            (*user_ids, *parameters),
        )
        rows = txn.fetchall()
        found = [row[0] for row in rows]
        threepids = self._grouped(
            txn, "SELECT user_id, medium, address FROM user_threepids WHERE user_id IN", found, Threepid
        )
        external_ids = (
            self._grouped(
                txn,
                "SELECT user_id, auth_provider, external_id FROM user_external_ids WHERE user_id IN",
                found,
                ExternalId,
            )
            if self.reads_external_ids
            else {}
        )
        accounts = {
            row[0]: self._account(
                row[:_LIVE_COLUMNS],
                frozenset(threepids.get(row[0], ())),
                frozenset(external_ids.get(row[0], ())),
                None if row[_LIVE_COLUMNS] is None else record_of(row[_LIVE_COLUMNS + 1 :]),
                deleted=deleted,
            )
            for row in rows
        }
        for user_id in self._nameless(txn, [a.user_id for a in accounts.values() if a.record is None]):
            accounts[user_id] = attrs.evolve(accounts[user_id], user_name_taken=True)
        return accounts

    def _nameless(self, txn: Transaction, unmanaged: Sequence[str]) -> list[str]:
        """Return those of some accounts that SCIM does not manage whose localparts managed ones bear as userNames."""
        if not unmanaged:
            return []
        txn.execute(
            f"SELECT u.name FROM users u WHERE u.name IN ({placeholders(unmanaged)}) AND {self.name_taken_sql()}",
            tuple(unmanaged),
        )
        return [row[0] for row in txn.fetchall()]

    @staticmethod
    def _grouped(txn: Transaction, sql: str, user_ids: Sequence[str], value: type[Any]) -> dict[str, list[Any]]:
        grouped: dict[str, list[Any]] = {}
        if user_ids:
            txn.execute(f"{sql} ({placeholders(user_ids)})", tuple(user_ids))
            for user_id, *columns in txn.fetchall():
                grouped.setdefault(user_id, []).append(value(*columns))
        return grouped

    def _account(
        self,
        row: tuple[Any, ...],
        threepids: frozenset[Threepid],
        external_ids: frozenset[ExternalId],
        record: Record | None,
        *,
        deleted: bool = False,
    ) -> Account:
        (user_id, creation_ts_s, admin, locked, suspended, deactivated, user_type) = row[:7]
        (changed_ms, displayname, avatar_url, profile_fields) = row[7:]
        return Account(
            user_id=user_id,
            localpart=user_id[1 : -len(self.server_name) - 1],
            created=moment(int(creation_ts_s or 0) * 1000),
            changed_elsewhere=None if not changed_ms else moment(changed_ms),
            displayname=displayname,
            avatar_url=avatar_url,
            # PostgreSQL returns JSON as what it means.
            profile_fields=json.loads(profile_fields) if isinstance(profile_fields, str) else profile_fields or {},
            threepids=threepids,
            external_ids=external_ids,
            admin=bool(admin),
            locked=bool(locked),
            suspended=bool(suspended),
            deactivated=bool(deactivated),
            user_type=user_type,
            deleted=deleted,
            record=record,
        )


def record_of(row: Sequence[Any]) -> Record:
    """Return the record that a row of synapse_scim_users holds, its columns from `domain` on."""
    (domain, user_name, external_id, attributes, threepids, displayname, avatar_url, photo) = row[:8]
    (active, removed, manager_since, created, modified, revision) = row[8:]
    return Record(
        domain=domain,
        user_name=user_name,
        external_id=external_id,
        attributes=json.loads(attributes),
        threepids=frozenset(Threepid(*threepid) for threepid in json.loads(threepids)),
        displayname=displayname,
        avatar_url=avatar_url,
        photo=photo,
        active=bool(active),
        active_removed=bool(removed),
        manager_since=None if manager_since is None else moment(manager_since),
        created=moment(created),
        modified=moment(modified),
        revision=revision,
    )


def columns_of(record: Record) -> tuple[Any, ...]:
    """Return the columns of a record from `domain` on, as `record_of` reads them."""
    return (
        record.domain,
        record.user_name,
        record.external_id,
        json.dumps(record.attributes, separators=(",", ":"), ensure_ascii=False),
        threepids_json(record.threepids),
        record.displayname,
        record.avatar_url,
        record.photo,
        int(record.active),
        int(record.active_removed),
        None if record.manager_since is None else ts_ms(record.manager_since),
        ts_ms(record.created),
        ts_ms(record.modified),
        record.revision,
    )


def threepids_json(threepids: Iterable[Threepid]) -> str:
    """Return identifiers as JSON, in an order that does not change."""
    return json.dumps([[threepid.medium, threepid.address] for threepid in sorted(threepids)], separators=(",", ":"))
