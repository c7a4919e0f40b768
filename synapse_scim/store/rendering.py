"""Reads accounts as the JSON of Users."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs

from synapse_scim.database import Transaction
from synapse_scim.mapping.rendering import Rendered, State, fresh, rendered
from synapse_scim.mapping.user import UserMapping, homeserver_view
from synapse_scim.store.accounts import AccountReader, moment, placeholders

_encode = json.JSONEncoder(separators=(",", ":")).encode

_COLUMNS = """
    u.name, u.admin, u.locked, u.suspended, u.deactivated, u.user_type, c.modified_ts, p.displayname, p.avatar_url,
    s.displayname, s.avatar_url, s.threepids, s.active_removed, s.created_ts, s.modified_ts, s.revision, s.rendering
"""


@attrs.frozen(kw_only=True)
class Renderer:
    """Reads accounts as the JSON of Users.

    Attributes:
        reader: Reads accounts.
        users: How they look as Users.
    """

    reader: AccountReader
    users: UserMapping

    def read(
        self, txn: Transaction, user_ids: Sequence[str], *, visible: tuple[str, Sequence[Any]] = ("1 = 1", ())
    ) -> dict[str, Rendered]:
        """Return the Users among some accounts, by user ID, in any order.

        What was written with a record is used where the account is still as SCIM left it; the others are read whole.

        Args:
            txn: The transaction.
            user_ids: The accounts.
            visible: The SQL, with its parameters, of what the caller sees of the record `s`.
        """
        if not user_ids:
            return {}
        shown, hidden = self.reader.shown_sql()
        txn.execute(
            f"SELECT {_COLUMNS} FROM users u"
            " LEFT JOIN profiles p ON p.full_user_id = u.name"
            " LEFT JOIN synapse_scim_users s ON s.user_id = u.name"
            " LEFT JOIN synapse_scim_changes c ON c.user_id = u.name"
            f" WHERE u.name IN ({placeholders(user_ids)}) AND {shown} AND {visible[0]}",
            (*user_ids, *hidden, *visible[1]),
        )
        rows = txn.fetchall()
        threepids = self._threepids(txn, [row[0] for row in rows if row[-1] is not None])
        found: dict[str, Rendered] = {}
        others = []
        for row in rows:
            user = self._as_left(row, threepids.get(row[0], []))
            if user is None:
                others.append(row[0])
            else:
                found[user.user_id] = user
        for account in self.reader.read(txn, others).values():
            found[account.user_id] = self.users.rendered(account)
        return found

    @staticmethod
    def _threepids(txn: Transaction, user_ids: Sequence[str]) -> dict[str, list[Any]]:
        threepids: dict[str, list[Any]] = {}
        if user_ids:
            txn.execute(
                f"SELECT user_id, medium, address FROM user_threepids WHERE user_id IN ({placeholders(user_ids)})",
                tuple(user_ids),
            )
            for user_id, *threepid in txn.fetchall():
                threepids.setdefault(user_id, []).append(threepid)
        return threepids

    def _as_left(self, row: Sequence[Any], threepids: list[Any]) -> Rendered | None:
        """Return the User that was written with the record, if its account is as SCIM left it."""
        (user_id, admin, locked, suspended, deactivated, user_type, changed_ms, displayname, avatar_url) = row[:9]
        (its_displayname, its_avatar_url, its_threepids, active_removed, created_ms, modified_ms, revision) = row[9:16]
        text = fresh(row[16], revision)
        live = (displayname, avatar_url, _encode(sorted(threepids)))
        if text is None or live != (its_displayname, its_avatar_url, its_threepids):
            return None
        state = State(
            created=moment(created_ms),
            last_modified=moment(max(modified_ms, changed_ms or 0)),
            active=None if active_removed else not (locked or deactivated),
            view=homeserver_view(
                user_id=user_id,
                admin=bool(admin),
                locked=bool(locked),
                suspended=bool(suspended),
                deactivated=bool(deactivated),
                user_type=user_type,
                managed=True,
            ),
        )
        return rendered(user_id, text, state)
