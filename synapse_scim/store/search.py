"""Finds the accounts that a search asks for, a page at a time, in the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import attrs
from scim2_models import AttributeBinding, InvalidCursorException, InvalidPathException, Resource, SearchRequest

from synapse_scim.database import Database, Transaction
from synapse_scim.mapping.rendering import Rendered
from synapse_scim.mapping.search_values import attribute_key
from synapse_scim.store.accounts import IS_SHOWN, placeholders
from synapse_scim.store.columns import Columns
from synapse_scim.store.filters import FilterCompiler
from synapse_scim.store.rendering import Renderer
from synapse_scim.store.rights import Rights
from synapse_scim.store.sql import EMPTY, FALSE, TRUE, Sql, joined, union_all

_LAST_INDEX = 2**62
"""Beyond any result, and within what both engines take as an OFFSET."""


_FEW = 20
"""How many accounts a statement names at most."""


@attrs.frozen(kw_only=True)
class Page:
    """A page of accounts.

    Attributes:
        total: How many accounts match; `None` if nobody asked.
        users: Those of the page, in order.
        next: The position of the page that follows, for `Search.run`.
        previous: The position of the page before.
    """

    total: int | None
    users: list[Rendered]
    next: Any = None
    previous: Any = None


@attrs.frozen(kw_only=True)
class Query:
    """What a search asks the database for.

    Attributes:
        select: A query of user_id and sort_value of all accounts that match, with a place for `membership`.
        select_users: For a look-up by index, a query of all that the page wants to know of those accounts, with that
            place too: the database takes longer to plan a statement that asks who and then what than to run either.
        candidates: For a look-up by index, a query of the few accounts that may match.
        membership: The condition of being among those few.
        sorts: Whether sort_value orders them; else the user ID does.
        descending: Whether the order is turned round.
        filters: Whether some accounts do not match.
        number_of_all: Where everybody matches, a query of how many they are.
    """

    select: Sql
    select_users: Sql | None
    candidates: Sql | None
    membership: Sql
    sorts: bool
    descending: bool
    filters: bool
    number_of_all: Sql | None

    @property
    def matches(self) -> Sql:
        """A query of user_id and sort_value of all accounts that match."""
        return self.select.format(self.membership)

    @property
    def number(self) -> Sql:
        """A query of how many accounts match."""
        return self.number_of_all or Sql("SELECT COUNT(*) FROM ({}) m").format(self.matches)

    @property
    def reads_all(self) -> bool:
        """Whether the database has to look at every account."""
        return self.select_users is None and (self.filters or self.sorts)

    def among(self, user_ids: Collection[str]) -> Query:
        """Return the query for when the candidates are known."""
        condition = f"u.name IN ({placeholders(user_ids)})" if user_ids else FALSE.text
        return attrs.evolve(self, membership=Sql(condition, tuple(user_ids)))

    def order(self, *, backwards: bool) -> str:
        """Return the ORDER BY of the results: values first, then accounts without one, then by user ID."""
        direction = "DESC" if self.descending != backwards else "ASC"
        by_value = f"(sort_value IS NULL) {direction}, sort_value {direction}, " if self.sorts else ""
        return f"{by_value}user_id {direction}"

    def beyond(self, position: tuple[Any, str], *, backwards: bool) -> Sql:
        """Return the condition of the accounts after a position, or before it."""
        value, user_id = position
        symbol = "<" if self.descending != backwards else ">"
        if not self.sorts:
            return Sql(f"user_id {symbol} ?", (user_id,))
        if value is None:
            same = Sql(f"sort_value IS NULL AND user_id {symbol} ?", (user_id,))
            # Accounts without a value come last when the order rises.
            return same if symbol == ">" else joined(" OR ", (same, Sql("sort_value IS NOT NULL")))
        further = [Sql(f"sort_value {symbol} ?", (value,)), Sql(f"sort_value = ? AND user_id {symbol} ?", position)]
        if symbol == ">":
            further.append(Sql("sort_value IS NULL"))
        return joined(" OR ", further)


@attrs.frozen(kw_only=True)
class Search:
    """Runs searches.

    Attributes:
        database: Where the accounts are.
        renderer: Reads them.
        columns: Where the attributes are.
        model: The model of a User.
    """

    database: Database
    renderer: Renderer
    columns: Columns
    model: type[Resource[Any]]

    async def run(self, request: SearchRequest[Any], rights: Rights, position: Any) -> Page:
        """Return a page of the accounts that match and that the caller sees.

        Args:
            request: The validated search. Its count bounds the page.
            rights: The caller's.
            position: Where the page starts, as an earlier page said; only for paging by cursor.

        Raises:
            InvalidFilterException: The filter asks for what cannot be searched.
            InvalidPathException: sortBy names what cannot order.
            InvalidCursorException: The position is none.
            SearchTooLong: The database would be busy for too long.
        """
        query = self.query(request, rights)
        where = _Position.read(position)

        def page(txn: Transaction) -> Page:
            with self.database.bounded(txn) if query.reads_all else nullcontext():
                narrowed = self._narrowed(txn, query)
                if request.cursor is None:
                    return self._page_by_index(txn, narrowed, request)
                return self._page_by_cursor(txn, narrowed, where, request.count)

        async with self.database.scanning() if query.reads_all else nullcontext():
            return await self.database.run("synapse_scim_search", page)

    def query(self, request: SearchRequest[Any], rights: Rights) -> Query:
        """Compile a search."""
        visible, parameters = rights.visible_sql()
        conditions = [Sql(visible, tuple(parameters))]
        candidates = None
        if request.filter is not None:
            condition, candidates = FilterCompiler(request.filter, self.model, self.columns).compile()
            conditions.append(condition)
        binding = request.sort_binding(self.model)
        value = self._sort_value(binding) if binding is not None else Sql("NULL")
        text = value.text + "".join(condition.text for condition in conditions)
        if request.filter is not None:
            text += IS_SHOWN
        shown, hidden = self.renderer.reader.shown_sql(IS_SHOWN if "s." in text else self._is_shown())
        where = joined(" AND ", (Sql("{}"), Sql(shown, tuple(hidden)), *conditions))
        select = Sql(f"SELECT u.name AS user_id, {{}} AS sort_value FROM users u{self.columns.joins(text)} WHERE {{}}")
        return Query(
            select=select.format(value, where),
            select_users=self._users_of(where) if candidates is not None and binding is None else None,
            candidates=candidates,
            membership=TRUE if candidates is None else Sql("u.name IN ({})").format(candidates),
            sorts=binding is not None,
            descending=binding is not None and request.sort_order == SearchRequest.SortOrder.descending,
            filters=request.filter is not None,
            number_of_all=self._number_of_all() if request.filter is None and "s." not in visible else None,
        )

    def _users_of(self, where: Sql) -> Sql:
        """Return the query of everything about the few accounts that meet a condition."""
        columns = self.renderer.columns
        joins = self.columns.joins(columns + where.text)
        return Sql(f"SELECT NULL, {columns} FROM users u{joins} WHERE {{}} ORDER BY u.name").format(where)

    def _number_of_all(self) -> Sql:
        """Return the query of how many Users there are.

        To look for each account whether it is hidden takes half as long again.
        """
        used, parameters = self.renderer.reader.shown_sql(TRUE.text)
        people = Sql(f"SELECT COUNT(*) FROM users u WHERE {used}", tuple(parameters))
        hidden = Sql(
            "SELECT COUNT(*) FROM synapse_scim_users hidden JOIN users u ON u.name = hidden.user_id"
            f" WHERE hidden.state <> 'active' AND {used}",
            tuple(parameters),
        )
        return Sql("SELECT ({}) - ({})").format(people, hidden)

    def _is_shown(self) -> str:
        """Return the SQL of whether SCIM lets an account be seen, without joining its record, for counting them all.

        Of two that mean the same, the one that the engine does in one go, however many are hidden.
        """
        hidden = "SELECT user_id FROM synapse_scim_users hidden WHERE hidden.state <> 'active'"
        if self.database.is_postgresql:
            return f"NOT EXISTS ({hidden} AND hidden.user_id = u.name)"
        return f"u.name NOT IN ({hidden})"

    def _sort_value(self, binding: AttributeBinding) -> Sql:
        """Return the SQL of what orders an account: of several values the primary one, else the first."""
        key = attribute_key(binding)
        if key in {"meta.location", "meta.version", "EnterpriseUser:manager.$ref"}:
            raise InvalidPathException(path=key, detail=f"'{key}' cannot be sorted on")
        single = self.columns.single(binding)
        if single is not None:
            return Sql("({})").format(single)
        if not binding.is_multivalued:
            return Sql(
                "(SELECT v.value FROM synapse_scim_values v WHERE v.user_id = u.name AND v.attribute = ?)", (key,)
            )
        head, _, sub_attribute = key.partition(".")
        value = Sql("e.value")
        if sub_attribute not in {"", "value"}:
            value = Sql(
                "(SELECT v.value FROM synapse_scim_values v WHERE v.user_id = e.user_id AND v.entry = e.entry"
                " AND v.attribute = ?)",
                (key,),
            )
        primary = Sql(
            "(SELECT v.value FROM synapse_scim_values v WHERE v.user_id = e.user_id AND v.entry = e.entry"
            " AND v.attribute = ? AND v.value = 'true') IS NULL",
            (f"{head}.primary",),
        )
        return Sql("(SELECT {} FROM ({}) e ORDER BY {}, e.entry, e.value LIMIT 1)").format(
            value, union_all(self.columns.entries(head)), primary
        )

    # -- Pages ----------------------------------------------------------------

    def _narrowed(self, txn: Transaction, query: Query) -> Query:
        """Return what is left to ask when the few accounts that may match are known.

        PostgreSQL takes several times as long to think of ways to join them with all that is asked of them as to run
        both one after the other. SQLite remembers how it runs a statement.
        """
        if query.candidates is None or not self.database.is_postgresql:
            return query
        txn.execute(f"{query.candidates.text} LIMIT ?", (*query.candidates.parameters, _FEW + 1))
        rows = txn.fetchall()
        # Rows, since one account may have several.
        return query if len(rows) > _FEW else query.among({user_id for (user_id,) in rows})

    def _page_by_index(self, txn: Transaction, query: Query, request: SearchRequest[Any]) -> Page:
        offset = min(request.start_index_0 or 0, _LAST_INDEX)
        found = self._fetch(txn, query, None, backwards=False, limit=request.count, offset=offset)
        whole = request.count is None or len(found) < request.count
        if whole and (found or offset == 0):
            total = offset + len(found)
        else:
            planning = self.database.planning(reads_all=query.filters)
            txn.execute(planning + query.number.text, query.number.parameters)
            row = txn.fetchone()
            total = row[0] if row else 0
        return Page(total=total, users=self._users(txn, found))

    def _page_by_cursor(self, txn: Transaction, query: Query, where: _Position | None, count: int | None) -> Page:
        if count == 0:
            return Page(total=None, users=[])
        backwards = where is not None and where.backwards
        limit = None if count is None else count + 1
        beyond = query.beyond(where.key, backwards=backwards) if where else None
        found = self._fetch(txn, query, beyond, backwards=backwards, limit=limit)
        more = count is not None and len(found) > count
        found = found[:count]
        if backwards:
            found.reverse()
        has_next = bool(found) and (more or backwards)
        has_previous = bool(found) and (more if backwards else where is not None)
        return Page(
            total=None,
            users=self._users(txn, found),
            next=_Position(key=_key(found[-1]), backwards=False).write() if has_next else None,
            previous=_Position(key=_key(found[0]), backwards=True).write() if has_previous else None,
        )

    def _fetch(
        self,
        txn: Transaction,
        query: Query,
        beyond: Sql | None,
        *,
        backwards: bool,
        limit: int | None,
        offset: int = 0,
    ) -> list[tuple[Any, ...]]:
        """Return, of each account of a page, its sort value and what the renderer wants to know."""
        if limit == 0 or query.membership == FALSE:
            return []
        sql = self.page(query, beyond, backwards=backwards, limit=limit, offset=offset)
        planning = self.database.planning(reads_all=query.filters) if query.select_users is None else ""
        txn.execute(planning + sql.text, sql.parameters)
        return txn.fetchall()

    def page(
        self, query: Query, beyond: Sql | None = None, *, backwards: bool = False, limit: int | None, offset: int = 0
    ) -> Sql:
        """Return the query of a page: which accounts, and then all about them, in one go."""
        bounds = Sql(
            "" if limit is None and not offset else " LIMIT ?", () if limit is None and not offset else (limit,)
        )
        if offset:
            bounds = Sql(" LIMIT ? OFFSET ?", (_LAST_INDEX if limit is None else limit, offset))
        if query.select_users is not None and beyond is None:
            return Sql("{}{}").format(query.select_users.format(query.membership), bounds)
        where = Sql(" WHERE {}").format(beyond) if beyond else EMPTY
        order = query.order(backwards=backwards)
        return Sql(
            f"SELECT f.sort_value, {self.renderer.columns}"
            f" FROM (SELECT user_id, sort_value FROM ({{}}) m{{}} ORDER BY {order}{{}}) f"
            f" JOIN users u ON u.name = f.user_id{self.renderer.joins} ORDER BY {order.replace('user_id', 'f.user_id')}"
        ).format(query.matches, where, bounds)

    def _users(self, txn: Transaction, found: Sequence[tuple[Any, ...]]) -> list[Rendered]:
        """Return the Users of a page, in its order, as JSON: here, where the reactor need not wait for that."""
        users = self.renderer.read(txn, [row[1:] for row in found])
        return [users[row[1]] for row in found]


@attrs.frozen(kw_only=True)
class _Position:
    """Where a page by cursor starts: after an account, or before it."""

    key: tuple[Any, str]
    backwards: bool

    def write(self) -> Mapping[str, Any]:
        return {"d": "previous" if self.backwards else "next", "k": self.key[0], "i": self.key[1]}

    @classmethod
    def read(cls, position: Any) -> _Position | None:
        if position is None:
            return None
        match position:
            case {"d": "next" | "previous" as direction, "k": str() | int() | None as value, "i": str() as user_id}:
                return cls(key=(value, user_id), backwards=direction == "previous")
            case _:
                raise InvalidCursorException


def _key(row: Sequence[Any]) -> tuple[Any, str]:
    return row[0], row[1]
