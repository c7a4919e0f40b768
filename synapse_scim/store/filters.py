"""Compiles SCIM filters to SQL.

Every condition is either true or false, never NULL, so that `not` means what RFC 7644 §3.4.2.2 says. The compiled
filter keeps exactly the accounts whose Users `ScimFilter.match` of scim2-models keeps.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from scim2_models import AttributeBinding, BaseModel, InvalidFilterException, Resource, ScimFilter
from scim2_models.path import (
    AttrPath,
    CompareOperator,
    Comparison,
    FilterNode,
    FilterVisitor,
    LogicalExpr,
    LogicalOperator,
    Not,
    Present,
    ValuePath,
    coerce_value,
)

from synapse_scim.mapping.search_values import attribute_key, comparable_text
from synapse_scim.store.columns import Columns
from synapse_scim.store.sql import FALSE, TRUE, Sql, joined, negated, union_all
from synapse_scim.text import text_problem

_ORDERING = {
    CompareOperator.gt: ">",
    CompareOperator.ge: ">=",
    CompareOperator.lt: "<",
    CompareOperator.le: "<=",
}

_UNSEARCHABLE = frozenset({"meta.location", "meta.version", "EnterpriseUser:manager.$ref"})
"""What only an answer knows: URLs hold the request's prefix, versions are computed from the whole User."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MAX_TERMS = 200
"""How many comparisons a filter may have. SQLite joins 500 queries at most, and a comparison may take two of them."""

Condition = Callable[[str], Sql]
"""Returns what the SQL of a value, not NULL, must meet."""


class FilterCompiler(FilterVisitor[Sql]):
    """Compiles the filter of one search."""

    def __init__(self, scim_filter: ScimFilter[Any], model: type[Resource[Any]], columns: Columns) -> None:
        """Bind the filter to the model of a User."""
        self._filter = scim_filter if scim_filter.model is model else ScimFilter[model](scim_filter.ast)  # type: ignore[valid-type]
        self._columns = columns

    def compile(self) -> tuple[Sql, Sql | None]:
        """Return the condition that an account must meet.

        Returns:
            The condition, and a query, by indexes alone, of the few accounts that may meet it; `None` where there is no
            such query.

        Raises:
            InvalidFilterException: The filter asks for what cannot be searched, or for too much at once.
        """
        if _terms(self._filter.ast) > MAX_TERMS:
            raise InvalidFilterException(detail=f"The filter has more than {MAX_TERMS} comparisons; ask in steps")
        condition = self.visit(self._filter.ast)
        candidates = self._candidates(self._filter.ast)
        return condition, candidates and candidates[1]

    # -- Nodes ----------------------------------------------------------------

    def visit_not(self, node: Not) -> Sql:
        """Negate a condition."""
        return negated(self.visit(node.expr))

    def visit_logical_expr(self, node: LogicalExpr) -> Sql:
        """Join conditions."""
        word = " AND " if node.op == LogicalOperator.and_ else " OR "
        return joined(word, (self.visit(term) for term in node.terms))

    def visit_comparison(self, node: Comparison) -> Sql:
        """Compare an attribute with a value; for several values, any of them may match, and `ne` means none equals."""
        if node.op == CompareOperator.ne:
            return negated(self.visit_comparison(_as_eq(node)))
        binding = self._resolve(node.attr_path, comparison=True)
        condition = self.condition(binding, node)
        if binding.is_multivalued:
            return self._any_entry(binding, condition)
        return self._single(binding, condition)

    def visit_present(self, node: Present) -> Sql:
        """Tell whether an attribute has a value that is not empty."""
        binding = self._resolve(node.attr_path)
        if binding.is_multivalued:
            return self._exists(binding, self._entry_present(binding, binding.sub_field_name))
        if _is_complex(binding):
            return self._complex(attribute_key(binding), "v.value <> ''")
        return self._single(binding, _present)

    def visit_value_path(self, node: ValuePath) -> Sql:
        """Tell whether an entry meets a filter of its own."""
        binding = self._resolve(node.attr_path)
        return self._exists(binding, _EntryCompiler(self, node.attr_path).visit(node.val_filter))

    # -- Values ---------------------------------------------------------------

    def condition(self, binding: AttributeBinding, node: Comparison) -> Condition | None:
        """Return what a value must meet, for any operator but `ne`.

        Returns:
            `None` where the value must be absent.
        """
        value = coerce_value(binding, node.value, node.op)
        if value is None:
            return None if node.op == CompareOperator.eq else _never
        if binding.target_type is datetime:
            return _date_comparison(node.op, value)
        if _is_model(binding.target_type):
            return _never
        if isinstance(value, str) and (problem := text_problem(value)):
            raise InvalidFilterException(detail=f"A text of the filter {problem}")
        if isinstance(value, bytes):
            value = base64.b64encode(value).decode()
        return self._text_comparison(node.op, comparable_text(value, case_exact=binding.case_exact))

    def _text_comparison(self, op: CompareOperator, text: str) -> Condition:
        size = len(text)
        match op:
            case CompareOperator.eq:
                return lambda sql: Sql(f"{sql} = ?", (text,))
            case CompareOperator.co | CompareOperator.sw | CompareOperator.ew if not text:
                return lambda sql: Sql(f"{sql} IS NOT NULL")
            case CompareOperator.co:
                position = "strpos" if self._columns.database.is_postgresql else "instr"
                return lambda sql: Sql(f"{position}({sql}, ?) > 0", (text,))
            case CompareOperator.sw:
                return lambda sql: Sql(f"substr({sql}, 1, {size}) = ?", (text,))
            case CompareOperator.ew:
                return lambda sql: Sql(
                    f"length({sql}) >= {size} AND substr({sql}, length({sql}) - {size - 1}) = ?", (text,)
                )
            case _:
                return lambda sql: Sql(f"{sql} {_ORDERING[op]} ?", (text,))

    # -- Attributes -----------------------------------------------------------

    def _resolve(self, attr_path: AttrPath, *, comparison: bool = False) -> AttributeBinding:
        resolve = self._filter.resolve_comparison if comparison else self._filter.resolve
        binding = resolve(attr_path)
        if binding is None or attribute_key(binding) in _UNSEARCHABLE:
            raise InvalidFilterException(detail=f"'{attr_path}' cannot be used in a filter")
        return binding

    def _single(self, binding: AttributeBinding, condition: Condition | None) -> Sql:
        """Apply a condition to a single value; `None` asks for its absence."""
        expression = self._columns.single(binding)
        if expression is not None:
            if condition is None:
                return Sql("({}) IS NULL").format(expression)
            met = condition("({})")
            return Sql("({}) IS TRUE").format(met.format(*[expression] * met.text.count("{}")))
        key = attribute_key(binding)
        if condition is None:
            return negated(self._complex(key, "1 = 1") if _is_complex(binding) else self._kept(key, TRUE))
        return self._kept(key, condition("v.value"))

    @staticmethod
    def _kept(key: str, condition: Sql) -> Sql:
        return Sql(
            "EXISTS (SELECT 1 FROM synapse_scim_values v WHERE v.user_id = u.name AND v.attribute = ?"
            " AND v.value IS NOT NULL AND ({}))",
            (key,),
        ).format(condition)

    @staticmethod
    def _complex(key: str, condition: str) -> Sql:
        """Tell whether a sub-attribute of an attribute that has one value meets a condition."""
        if key == "meta":
            return TRUE
        return Sql(
            "EXISTS (SELECT 1 FROM synapse_scim_values v WHERE v.user_id = u.name"
            f" AND v.attribute >= ? AND v.attribute < ? AND {condition})",
            (f"{key}.", f"{key}/"),
        )

    def _any_entry(self, binding: AttributeBinding, condition: Condition | None) -> Sql:
        if condition is not None:
            return self._exists(binding, self.entry_value(binding, condition))
        absent = negated(self.entry_value(binding, lambda _: TRUE))
        return joined(" OR ", (negated(self._exists(binding, TRUE)), self._exists(binding, absent)))

    def _exists(self, binding: AttributeBinding, condition: Sql) -> Sql:
        """Tell whether an entry `e` of a multi-valued attribute meets a condition."""
        head = attribute_key(binding).partition(".")[0]
        parts = [
            Sql("SELECT 1 FROM ({}) e WHERE {}").format(entries, condition) for entries in self._columns.entries(head)
        ]
        return Sql("EXISTS ({})").format(union_all(parts))

    def entry_value(self, binding: AttributeBinding, condition: Condition) -> Sql:
        """Apply a condition to a sub-attribute of the entry `e`, or to the entry itself if it is no complex one."""
        if not _is_model(binding.field_type) or binding.sub_field_name == "value":
            return Sql("e.value IS NOT NULL AND ({})").format(condition("e.value"))
        if binding.sub_field_name is None:
            # An entry of several parts equals no value, and is not absent.
            return condition("e.entry")
        return Sql(
            "EXISTS (SELECT 1 FROM synapse_scim_values v WHERE v.user_id = e.user_id AND v.entry = e.entry"
            " AND v.attribute = ? AND v.value IS NOT NULL AND ({}))",
            (attribute_key(binding),),
        ).format(condition("v.value"))

    def _entry_present(self, binding: AttributeBinding, sub_field_name: str | None) -> Sql:
        if sub_field_name is not None or not _is_model(binding.field_type):
            return self.entry_value(binding, _present)
        key = attribute_key(binding)
        return Sql(
            "(e.value IS NOT NULL AND e.value <> '') OR EXISTS (SELECT 1 FROM synapse_scim_values v"
            " WHERE v.user_id = e.user_id AND v.entry = e.entry AND v.attribute >= ? AND v.attribute < ?"
            " AND v.value <> '')",
            (f"{key}.", f"{key}/"),
        )

    def resolve_entry(self, head: AttrPath, inner: AttrPath) -> AttributeBinding:
        """Return the sub-attribute that the filter within brackets names."""
        whole = self._resolve(head)
        if not _is_model(whole.field_type):
            if inner.attr.lower() != "value":
                raise InvalidFilterException(detail=f"'{head}' has no '{inner}'")
            return whole
        return self._resolve(AttrPath(attr=head.attr, sub_attr=inner.attr, uri=head.uri))

    # -- Candidates -----------------------------------------------------------

    def _candidates(self, node: FilterNode) -> tuple[int, Sql] | None:
        """Return a query, by indexes alone, that finds every account that can match, and how few those may be."""
        match node:
            case Comparison(attr_path, CompareOperator.eq, str(value)):
                return self._candidates_by(self._resolve(attr_path, comparison=True), value)
            case ValuePath(head, inner) if _is_model(self._resolve(head).field_type):
                return self._candidates(_outside(head, inner))
            case LogicalExpr(LogicalOperator.and_, terms):
                found = [candidates for term in terms if (candidates := self._candidates(term)) is not None]
                return min(found, key=lambda candidates: candidates[0], default=None)
            case LogicalExpr(LogicalOperator.or_, terms):
                every = [self._candidates(term) for term in terms]
                known = [candidates for candidates in every if candidates is not None]
                if len(known) < len(every):
                    return None
                text = " UNION ALL ".join(sql.text for _, sql in known)
                parameters = sum((sql.parameters for _, sql in known), ())
                return max(rank for rank, _ in known), Sql(text, parameters)
            case _:
                return None

    def _candidates_by(self, binding: AttributeBinding, value: str) -> tuple[int, Sql] | None:
        if binding.target_type is None or not issubclass(binding.target_type, str):
            return None
        return self._columns.candidates(binding, comparable_text(value, case_exact=binding.case_exact))


class _EntryCompiler(FilterVisitor[Sql]):
    """Compiles the filter within brackets, for the entry `e`."""

    def __init__(self, outer: FilterCompiler, head: AttrPath) -> None:
        self._outer = outer
        self._head = head

    def visit_not(self, node: Not) -> Sql:
        return negated(self.visit(node.expr))

    def visit_logical_expr(self, node: LogicalExpr) -> Sql:
        word = " AND " if node.op == LogicalOperator.and_ else " OR "
        return joined(word, (self.visit(term) for term in node.terms))

    def visit_comparison(self, node: Comparison) -> Sql:
        if node.op == CompareOperator.ne:
            return negated(self.visit_comparison(_as_eq(node)))
        binding = self._outer.resolve_entry(self._head, node.attr_path)
        condition = self._outer.condition(binding, node)
        if condition is None:
            return negated(self._outer.entry_value(binding, lambda _: TRUE))
        return self._outer.entry_value(binding, condition)

    def visit_present(self, node: Present) -> Sql:
        return self._outer.entry_value(self._outer.resolve_entry(self._head, node.attr_path), _present)


def _date_comparison(op: CompareOperator, value: Any) -> Condition:
    # A date without zone equals none and has no order among those with one.
    if not isinstance(value, datetime) or value.tzinfo is None:
        return _never
    microseconds = (value - _EPOCH) // timedelta(microseconds=1)
    symbol = "=" if op == CompareOperator.eq else _ORDERING[op]
    return lambda sql: Sql(f"({sql}) * 1000 {symbol} ?", (microseconds,))


def _never(_: str) -> Sql:
    return FALSE


def _present(sql: str) -> Sql:
    return Sql(f"CAST({sql} AS TEXT) <> ''")


def _as_eq(node: Comparison) -> Comparison:
    return Comparison(attr_path=node.attr_path, op=CompareOperator.eq, value=node.value)


def _outside(head: AttrPath, inner: FilterNode) -> FilterNode:
    """Return a filter on entries as one on their sub-attributes, which whoever meets the former meets too."""
    match inner:
        case Comparison(attr_path, op, value) if attr_path.sub_attr is None:
            return Comparison(AttrPath(attr=head.attr, sub_attr=attr_path.attr, uri=head.uri), op, value)
        case LogicalExpr(op, terms):
            return LogicalExpr(op=op, terms=tuple(_outside(head, term) for term in terms))
        case _:
            return Not(expr=inner)


def _terms(ast: FilterNode) -> int:
    """Count the comparisons of a filter."""
    count, left = 0, [ast]
    while left:
        match left.pop():
            case LogicalExpr(_, terms):
                left += terms
            case Not(inner) | ValuePath(_, inner):
                left.append(inner)
            case _:
                count += 1
    return count


def _is_model(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, BaseModel)


def _is_complex(binding: AttributeBinding) -> bool:
    return binding.sub_field_name is None and _is_model(binding.field_type)
