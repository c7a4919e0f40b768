"""People as rows of a table, whose columns are named like attributes in SCIM: `emails.value`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

from synapse_scim.client.attributes import COLUMNS, Column, InvalidPerson
from synapse_scim.client.trouble import Trouble

SEPARATOR = "|"
"""What stands between the values of an attribute that has several."""

_DELIMITERS = ",;\t"
_BOOLEANS = {"true": True, "false": False}

DEFAULT_COLUMNS = (
    "id",
    "userName",
    "externalId",
    "active",
    "displayName",
    "name.givenName",
    "name.familyName",
    "emails.value",
    "phoneNumbers.value",
)
"""What an export holds unless other columns are asked for."""


def columns_of(names: Iterable[str]) -> list[Column]:
    """Return the columns with some names.

    Raises:
        Trouble: There is no such attribute, or a name comes twice.
    """
    columns: list[Column] = []
    for name in names:
        column = COLUMNS.get(name.strip().lower())
        if column is None:
            raise Trouble(
                f"The column {name.strip()!r} is no attribute of a User. Columns are named as in SCIM:"
                " userName, name.givenName, emails.value, active and so on"
            )
        if column in columns:
            raise Trouble(f"There are two columns {column.path}")
        columns.append(column)
    return columns


def read_rows(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any] | InvalidPerson]]:
    """Yield the people of a table, each with the number of the line where its row ends.

    Args:
        lines: The lines of a CSV file with a header; commas, semicolons or tabs separate the cells.

    Raises:
        Trouble: The header is unusable.
    """
    remaining = iter(lines)
    header = next(remaining, "")
    delimiter = max(_DELIMITERS, key=header.count)
    columns = columns_of(next(csv.reader([header], delimiter=delimiter), []))
    if not any(column.path == "userName" for column in columns):
        raise Trouble("The first line must name the columns, and one of them must be userName")
    rows = csv.reader(remaining, delimiter=delimiter)
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield rows.line_num + 1, InvalidPerson(str(error))
            continue
        if cells:
            yield rows.line_num + 1, _person(columns, cells)


def _person(columns: Sequence[Column], cells: Sequence[str]) -> dict[str, Any] | InvalidPerson:
    if len(cells) != len(columns):
        return InvalidPerson(f"it has {len(cells)} cells, and the header {len(columns)}")
    person: dict[str, Any] = {}
    try:
        for column, cell in zip(columns, cells, strict=True):
            _put(person, column, cell)
    except InvalidPerson as error:
        return error
    return person


def _put(person: dict[str, Any], column: Column, cell: str) -> None:
    holder = person.setdefault(column.extension, {}) if column.extension else person
    if column.multi_valued:
        if cell:
            _put_values(holder, column, cell.split(SEPARATOR))
        else:
            holder.setdefault(column.attribute, [])
    elif column.sub_attribute is None:
        holder[column.attribute] = _value(column, cell)
    else:
        holder.setdefault(column.attribute, {})[column.sub_attribute] = _value(column, cell)


def _put_values(holder: dict[str, Any], column: Column, texts: Sequence[str]) -> None:
    entries = holder.setdefault(column.attribute, []) or [{} for _ in texts]
    if len(entries) != len(texts):
        raise InvalidPerson(f"the columns of {column.attribute!r} do not have the same number of values")
    for entry, text in zip(entries, texts, strict=True):
        if text:
            entry[column.sub_attribute] = _value(column, text)
    holder[column.attribute] = entries


def _value(column: Column, text: str) -> Any:
    if not text:
        return None
    if not column.boolean:
        return text
    if text.lower() not in _BOOLEANS:
        raise InvalidPerson(f"'{column.path}' must be true or false")
    return _BOOLEANS[text.lower()]


def write_row(cells: Iterable[str]) -> str:
    """Return a line of a table."""
    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def cells_of(columns: Iterable[Column], user: Mapping[str, Any]) -> list[str]:
    """Return what stands in the columns for a User.

    Raises:
        Trouble: A value has the sign that separates values.
    """
    return [_cell(column, user) for column in columns]


def _cell(column: Column, user: Mapping[str, Any]) -> str:
    holder = user.get(column.extension) or {} if column.extension else user
    value = holder.get(column.attribute)
    if not column.multi_valued:
        if column.sub_attribute is not None:
            value = (value or {}).get(column.sub_attribute)
        return _text(value)
    texts = [_text(entry.get(column.sub_attribute)) for entry in value or ()]
    if any(SEPARATOR in text for text in texts):
        raise Trouble(
            f"'{column.path}' of {user.get('userName')} holds a '{SEPARATOR}', which separates values in a table;"
            " export JSON lines instead"
        )
    return SEPARATOR.join(texts) if any(texts) else ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
