"""Reads accounts as the JSON of Users."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import attrs
from scim2_models import Resource

from synapse_scim.database import Database, Transaction
from synapse_scim.mapping.rendering import Rendered, State, as_kept
from synapse_scim.mapping.user import UserMapping
from synapse_scim.store.accounts import AccountReader, moment


@attrs.frozen(kw_only=True)
class Renderer:
    """Reads accounts as the JSON of Users.

    What was written with a record is used where the account is still as SCIM left it; the others are read whole.

    Attributes:
        database: Where the accounts are.
        reader: Reads accounts.
        users: How they look as Users.
    """

    database: Database
    reader: AccountReader
    users: UserMapping

    joins = (
        " LEFT JOIN profiles p ON p.full_user_id = u.name"
        " LEFT JOIN synapse_scim_users s ON s.user_id = u.name"
        " LEFT JOIN synapse_scim_changes c ON c.user_id = u.name"
    )
    """What `columns` needs beside `users u`."""

    @property
    def columns(self) -> str:
        """Return the SQL of what `read` wants to know of an account."""
        threepid = "t.medium || ' ' || t.address"
        if self.database.is_postgresql:
            listed, equals = f"string_agg({threepid}, chr(10))", "IS NOT DISTINCT FROM"
        else:
            listed, equals = f"group_concat({threepid}, '\n')", "IS"
        profile = f"p.displayname {equals} s.displayname AND p.avatar_url {equals} s.avatar_url"
        return (
            f"u.name, CASE WHEN {profile} THEN s.rendering END, s.revision,"
            f" (SELECT {listed} FROM user_threepids t WHERE t.user_id = u.name),"
            " CASE WHEN c.modified_ts > s.modified_ts THEN c.modified_ts END,"
            " u.admin, u.locked, u.suspended, u.deactivated, u.user_type, s.active_removed"
        )

    def one(self, txn: Transaction, user_id: str, visible: tuple[str, Sequence[Any]]) -> Rendered | None:
        """Return a User, if there is one that the caller sees.

        Args:
            txn: The transaction.
            user_id: The account.
            visible: The SQL, with its parameters, of what the caller sees of the record `s`.
        """
        shown, hidden = self.reader.shown_sql()
        txn.execute(
            f"SELECT {self.columns} FROM users u{self.joins} WHERE u.name = ? AND {shown} AND {visible[0]}",
            (user_id, *hidden, *visible[1]),
        )
        return self.read(txn, txn.fetchall()).get(user_id)

    def made(self, txn: Transaction, user_id: str) -> Rendered | None:
        """Return the User of an account that was made in the same transaction, whoever may see it."""
        txn.execute(f"SELECT {self.columns} FROM users u{self.joins} WHERE u.name = ?", (user_id,))
        return self.read(txn, txn.fetchall()).get(user_id)

    def read(self, txn: Transaction, rows: Sequence[Sequence[Any]]) -> dict[str, Rendered]:
        """Return Users by user ID.

        Args:
            txn: The transaction.
            rows: Of each account its `columns`.
        """
        found: dict[str, Rendered] = {}
        others = []
        for row in rows:
            user = self._as_left(row)
            if user is None:
                others.append(row[0])
            else:
                found[user.user_id] = user
        for account in self.reader.read(txn, others).values():
            found[account.user_id] = self.users.rendered(account)
        return found

    @staticmethod
    def _as_left(row: Sequence[Any]) -> Rendered | None:
        """Return the User that was written with the record, if its account is as SCIM left it."""
        user_id, rendering, revision, threepids, changed_ms, *state = row
        if rendering is None:
            return None
        changed = None if changed_ms is None else moment(changed_ms)
        return as_kept(user_id, rendering, revision, threepids or "", _state(*state), changed)


@lru_cache(maxsize=64)
def _state(
    admin: Any, locked: Any, suspended: Any, deactivated: Any, user_type: str | None, active_removed: Any
) -> State:
    """Return the state of a managed account, as a row has it; most accounts have it in common."""
    return State(
        active=None if active_removed else not (locked or deactivated),
        admin=bool(admin),
        locked=bool(locked),
        suspended=bool(suspended),
        deactivated=bool(deactivated),
        user_type=user_type,
        managed=True,
    )


class StoredUsers(Sequence[Resource[Any]]):
    """Users as JSON, which are models for whoever looks at one.

    Attributes:
        rendered: The JSON.
    """

    def __init__(self, rendered: list[Rendered], model: type[Resource[Any]]) -> None:
        """Hold Users of a model."""
        self.rendered = rendered
        self._model = model

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.rendered)

    def __eq__(self, other: object) -> bool:
        """Tell whether these are the same Users, in the same order."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, index: Any) -> Any:
        """Return a User, or a list of some, as `UserMapping.to_payload` gives them."""
        if isinstance(index, slice):
            return [self._resource(user) for user in self.rendered[index]]
        return self._resource(self.rendered[index])

    def _resource(self, user: Rendered) -> Resource[Any]:
        return self._model.model_validate(user.unlocated())
