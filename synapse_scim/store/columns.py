"""Where the database keeps each attribute of a User, in the form in which comparisons use it.

The mapped attributes are read live, from Synapse's tables, so that a filter finds what an answer shows. The SQL speaks
of `users u`, its record `s` in synapse_scim_users and its profile `p`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import attrs
from scim2_models import AttributeBinding

from synapse_scim.config import DEFAULT_DOMAIN
from synapse_scim.database import Database
from synapse_scim.mapping.identifiers import fold
from synapse_scim.mapping.schema import ENTERPRISE_SCHEMA, MATRIX_SCHEMA, USER_SCHEMA
from synapse_scim.mapping.search_values import attribute_key
from synapse_scim.mapping.threepids import ATTRIBUTES
from synapse_scim.mapping.user import UserMapping
from synapse_scim.store.accounts import AccountReader, placeholders
from synapse_scim.store.historical import HistoricalUserIds
from synapse_scim.store.schema import INDEXED_LENGTH
from synapse_scim.store.sql import Sql

_LAST_ENTRY = 2**31
"""The position of the entries that SCIM did not make: after all others."""


def _flag(condition: str) -> str:
    return f"CASE WHEN {condition} THEN 'true' ELSE 'false' END"


@attrs.frozen(kw_only=True)
class Columns:
    """Finds attributes in the database.

    Attributes:
        database: Which engine it is.
        reader: What accounts look like in it.
        users: Which attributes are mapped.
        historical: The user IDs that differ from their userNames in case.
    """

    database: Database
    reader: AccountReader
    users: UserMapping
    historical: HistoricalUserIds
    _entries: dict[str, tuple[Sql, ...]] = attrs.field(factory=dict, init=False)

    def single(self, binding: AttributeBinding) -> Sql | None:
        """Return the SQL of a value that an account has once, NULL where it has none.

        Returns:
            `None` for an attribute whose values are among the search values.
        """
        return self._single_values.get(attribute_key(binding))

    @cached_property
    def _single_values(self) -> Mapping[str, Sql]:
        return {
            "id": Sql("u.name"),
            "userName": self._user_name(),
            "externalId": self._external_id(),
            "displayName": self._display_name(),
            "meta.resourceType": Sql("'User'"),
            "meta.created": Sql("COALESCE(s.created_ts, u.creation_ts * 1000)"),
            "meta.lastModified": Sql(
                "CASE WHEN c.modified_ts > COALESCE(s.modified_ts, u.creation_ts * 1000) THEN c.modified_ts"
                " ELSE COALESCE(s.modified_ts, u.creation_ts * 1000) END"
            ),
            "password": Sql("NULL"),
            "active": Sql(
                "CASE WHEN s.active_removed = 1 THEN NULL"
                " WHEN u.locked IS TRUE OR u.deactivated = 1 THEN 'false' ELSE 'true' END"
            ),
            "MatrixUser:userId": Sql("u.name"),
            "MatrixUser:serverAdmin": Sql(_flag("u.admin = 1")),
            "MatrixUser:locked": Sql(_flag("u.locked IS TRUE")),
            "MatrixUser:suspended": Sql(_flag("u.suspended IS TRUE")),
            "MatrixUser:deactivated": Sql(_flag("u.deactivated = 1")),
            "MatrixUser:userType": Sql(self.database.folded("u.user_type")),
            "MatrixUser:managed": Sql(_flag("s.user_id IS NOT NULL")),
        }

    def _user_name(self) -> Sql:
        return Sql(
            "CASE WHEN s.user_id IS NOT NULL THEN s.user_name_key WHEN bearer.user_id IS NOT NULL THEN lower(u.name)"
            f" ELSE lower({self.reader.localpart_sql()}) END"
        )

    def joins(self, text: str) -> str:
        """Return the SQL that joins what other SQL looks at beside `users u`.

        Args:
            text: The other SQL.
        """
        return "".join(join for column, join in self._joins.items() if column in text)

    @cached_property
    def _joins(self) -> Mapping[str, str]:
        """The joins, by how the columns begin that need them."""
        # Once for each account that SCIM does not manage, however often a filter asks for the name.
        name = f"CASE WHEN s.user_id IS NULL THEN lower({self.reader.localpart_sql()}) END"
        conditions = {
            "s": ("synapse_scim_users", "s.user_id = u.name"),
            "bearer": ("synapse_scim_users", f"bearer.user_name_key = {name} AND bearer.user_id <> u.name"),
            "p": ("profiles", "p.full_user_id = u.name"),
            "c": ("synapse_scim_changes", "c.user_id = u.name"),
        }
        return {
            f"{alias}.": f" LEFT JOIN {table} {alias} ON {condition}"
            for alias, (table, condition) in conditions.items()
        }

    def _external_id(self) -> Sql:
        provider = self.users.sso.providers.get(DEFAULT_DOMAIN)
        if provider is None:
            return Sql("s.external_id")
        return Sql(
            "CASE WHEN s.user_id IS NOT NULL THEN s.external_id ELSE (SELECT MIN(x.external_id)"
            " FROM user_external_ids x WHERE x.user_id = u.name AND x.auth_provider = ?) END",
            (provider,),
        )

    def _display_name(self) -> Sql:
        same = "s.displayname = p.displayname OR (s.displayname IS NULL AND p.displayname IS NULL)"
        return Sql(
            f"CASE WHEN s.user_id IS NOT NULL AND ({same})"
            " THEN (SELECT v.value FROM synapse_scim_values v WHERE v.user_id = u.name AND v.attribute = 'displayName')"
            f" ELSE {self.database.folded('p.displayname')} END"
        )

    def entries(self, attribute: str) -> tuple[Sql, ...]:
        """Return queries of the entries of a multi-valued attribute of `u`: user_id, entry and value."""
        if attribute not in self._entries:
            self._entries[attribute] = self._entries_of(attribute)
        return self._entries[attribute]

    def _entries_of(self, attribute: str) -> tuple[Sql, ...]:
        if attribute == "schemas":
            return (self._schemas(),)
        if attribute == "photos":
            return (self._photos(),)
        kept = Sql(
            "SELECT k.user_id, k.entry, k.value FROM synapse_scim_values k"
            " WHERE k.user_id = u.name AND k.attribute = ?",
            (attribute,),
        )
        medium = self.users.threepids.mapped(attribute)
        if medium is None:
            return (kept,)
        still_bound = Sql(
            " AND (k.threepid IS NULL OR u.deactivated = 1 OR EXISTS (SELECT 1 FROM user_threepids t WHERE t.medium = ?"
            " AND t.address = k.threepid AND t.user_id = k.user_id))",
            (medium,),
        )
        return Sql("{}{}").format(kept, still_bound), self._foreign(attribute, Sql("t.user_id = u.name"))

    @staticmethod
    def _photos() -> Sql:
        """Return a query of the photos: those that were sent, until somebody else changes the avatar."""
        sent = (
            "SELECT k.user_id, k.entry, k.value FROM synapse_scim_values k"
            " WHERE k.user_id = u.name AND k.attribute = 'photos'"
        )
        unchanged = "COALESCE(s.avatar_url, '') = COALESCE(p.avatar_url, '')"
        return Sql(
            f"{sent} AND {unchanged} UNION ALL SELECT u.name, {_LAST_ENTRY}, p.avatar_url"
            f" WHERE p.avatar_url IS NOT NULL AND NOT ({unchanged} AND EXISTS ({sent}))"
        )

    def _foreign(self, attribute: str, condition: Sql) -> Sql:
        """Return a query of the entries that stand for identifiers that somebody other than SCIM bound."""
        return Sql(
            f"SELECT t.user_id, {_LAST_ENTRY} AS entry, {self._foreign_value(attribute)} AS value FROM user_threepids t"
            # Appended to, so that no database takes the index of all addresses for that of the account's own.
            " WHERE t.medium || '' = ? AND {} AND NOT EXISTS (SELECT 1 FROM synapse_scim_values o"
            " WHERE o.user_id = t.user_id AND o.attribute = ? AND o.threepid = t.address)",
            (ATTRIBUTES[attribute], attribute),
        ).format(condition)

    @staticmethod
    def _foreign_value(attribute: str) -> str:
        return "'+' || t.address" if ATTRIBUTES[attribute] == "msisdn" else "t.address"

    @staticmethod
    def _schemas() -> Sql:
        return Sql(
            "SELECT u.name AS user_id, 0 AS entry, ? AS value UNION ALL SELECT u.name, 2, ?"
            " UNION ALL SELECT u.name, 1, ? WHERE EXISTS (SELECT 1 FROM synapse_scim_values v WHERE v.user_id = u.name"
            " AND v.attribute >= 'EnterpriseUser:' AND v.attribute < 'EnterpriseUser;')",
            (fold(USER_SCHEMA), fold(MATRIX_SCHEMA), fold(ENTERPRISE_SCHEMA)),
        )

    def candidates(self, binding: AttributeBinding, value: str) -> tuple[int, Sql] | None:
        """Return a query, by indexes alone, of the accounts that may have an attribute equal to a value.

        It finds every account that has it, and may find others.

        Args:
            binding: The compared attribute.
            value: The value in the form in which comparisons use it.

        Returns:
            How few accounts it may find (less is fewer), and the query; `None` where no index helps.
        """
        key = attribute_key(binding)
        kept = Sql(
            # The cast keeps SQLite from putting the value into substr(), which then has no index.
            "SELECT user_id FROM synapse_scim_values WHERE attribute = ?"
            f" AND substr(value, 1, {INDEXED_LENGTH}) = ? AND CAST(value AS TEXT) = ?",
            (key.removesuffix(".value") if binding.is_multivalued else key, value[:INDEXED_LENGTH], value),
        )
        match key:
            case "id" | "MatrixUser:userId":
                return 0, Sql("SELECT name FROM users WHERE name = ?", (value,))
            case "userName":
                user_id = f"@{value}:{self.reader.server_name}"
                user_ids = (value, user_id, *self.historical.like(value), *self.historical.like(user_id))
                query = Sql(
                    "SELECT user_id FROM synapse_scim_users WHERE user_name_key = ?"
                    f" UNION ALL SELECT name FROM users WHERE name IN ({placeholders(user_ids)})",
                    (value, *user_ids),
                )
                return 0, query
            case "externalId":
                provider = self.users.sso.providers.get(DEFAULT_DOMAIN)
                query = Sql(
                    "SELECT user_id FROM synapse_scim_users WHERE external_id = ? UNION ALL"
                    " SELECT user_id FROM user_external_ids WHERE auth_provider = ? AND external_id = ?",
                    (value, provider, value),
                )
                return 0, query
            case "emails.value" | "phoneNumbers.value" if medium := self.users.threepids.mapped(key.partition(".")[0]):
                address = value.removeprefix("+") if medium == "msisdn" else value
                foreign = Sql("SELECT user_id FROM user_threepids WHERE medium = ? AND address = ?", (medium, address))
                return 1, Sql("{} UNION ALL {}").format(kept, foreign)
            # An avatar that somebody other than SCIM chose has no index.
            case _ if self.single(binding) is None and key.partition(".")[0] not in {"schemas", "photos"}:
                return 2, kept
            case _:
                return None
