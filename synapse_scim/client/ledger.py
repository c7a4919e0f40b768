"""What a command knows of the server's people and of a file's, on disk: either may be larger than the memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import attrs

from synapse_scim.client.server import Operation
from synapse_scim.client.trouble import Trouble
from synapse_scim.mapping.identifiers import fold
from synapse_scim.mapping.schema import MATRIX_SCHEMA

_TABLES = """
    CREATE TABLE users (
        id TEXT PRIMARY KEY, name TEXT, external_id TEXT, managed INTEGER, active INTEGER, entry INTEGER, user TEXT
    );
    CREATE INDEX users_name ON users (name);
    CREATE INDEX users_external_id ON users (external_id);
    CREATE TABLE addresses (address TEXT, id TEXT);
    CREATE INDEX addresses_address ON addresses (address);
    CREATE TABLE entries (
        number INTEGER PRIMARY KEY, place TEXT, id TEXT UNIQUE, name TEXT UNIQUE, external_id TEXT UNIQUE, wanted TEXT
    );
    CREATE TABLE steps (number INTEGER PRIMARY KEY, verdict TEXT, step TEXT);
    CREATE INDEX steps_verdict ON steps (verdict, number);
"""


NOTHING = Operation(method="", path="")
"""The change of a step that changes nothing."""


class Verdict(StrEnum):
    """What becomes of a person."""

    created = "created"
    adopted = "adopted"
    changed = "changed"
    disabled = "disabled"
    off_boarded = "off-boarded"
    unchanged = "unchanged"
    refused = "refused"


@attrs.frozen(kw_only=True)
class Step:
    """What a plan says of one person.

    Attributes:
        verdict: What becomes of them.
        place: Where the file speaks of them; empty if it does not.
        person: Their userName, as far as it is known.
        why: Why the server would refuse, in words.
        attributes: What changes.
        operation: The change to ask for.
    """

    verdict: Verdict
    place: str = ""
    person: str = ""
    why: str = ""
    attributes: tuple[str, ...] = ()
    operation: Operation = NOTHING

    def __str__(self) -> str:
        """Say whom and what it is about, in a line."""
        about = ", ".join(filter(None, (self.place, self.person)))
        more = self.why or ", ".join(self.attributes)
        return f"{about}: {more}" if more else about


@attrs.frozen(kw_only=True)
class Entry:
    """A person of the file.

    Attributes:
        number: Its number in the file's order.
        place: Where it stands.
        wanted: What it says.
    """

    number: int
    place: str
    wanted: dict[str, Any]


class Ledger:
    """The people of the server, those of a file, and what should be done about them.

    It is a database in a temporary file without a name, which goes with the process.
    """

    def __init__(self) -> None:
        """Make an empty one."""
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLES}")

    def __enter__(self) -> Self:
        """Keep it until the end of the block."""
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Remove it."""
        self._database.close()

    # -- The server's people ----------------------------------------------------

    def add_user(self, user: Mapping[str, Any]) -> None:
        """Keep a User of the server."""
        self._do(
            "INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?, ?, NULL, ?)",
            user["id"],
            fold(user["userName"]),
            user.get("externalId"),
            bool(user.get(MATRIX_SCHEMA, {}).get("managed")),
            bool(user.get("active")),
            json.dumps(user),
        )
        for address in addresses(user):
            self._do("INSERT INTO addresses VALUES (?, ?)", address, user["id"])

    def user(self, user_id: str) -> dict[str, Any] | None:
        """Return the User with an id."""
        return self._user("id = ?", user_id)

    def user_named(self, user_name: str) -> dict[str, Any] | None:
        """Return the User with a userName, in whatever case."""
        return self._user("name = ?", fold(user_name))

    def user_known_as(self, external_id: str) -> dict[str, Any] | None:
        """Return the User with an externalId."""
        return self._user("external_id = ?", external_id)

    def any_user_id(self) -> str | None:
        """Return the id of some User."""
        found: str | None = self._value("SELECT id FROM users LIMIT 1")
        return found

    def owner(self, address: str) -> str | None:
        """Return the id of the User that has an e-mail address."""
        found: str | None = self._value("SELECT id FROM addresses WHERE address = ?", address)
        return found

    def count_users(self, *, active: bool) -> int:
        """Return how many Users SCIM manages: all, or those who can log in."""
        return int(self._value("SELECT COUNT(*) FROM users WHERE managed AND active >= ?", active))

    def take(self, user_id: str, entry: Entry) -> bool:
        """Note that an entry of the file is about a User; tell whether none was before."""
        cursor = self._do("UPDATE users SET entry = ? WHERE id = ? AND entry IS NULL", entry.number, user_id)
        return cursor.rowcount > 0

    def untaken(self) -> Iterator[dict[str, Any]]:
        """Yield the Users that SCIM manages and the file does not name."""
        for (user,) in self._rows("SELECT user FROM users WHERE managed AND entry IS NULL ORDER BY id"):
            yield json.loads(user)

    # -- The file's people ------------------------------------------------------

    def add_entry(self, place: str, user_id: str | None, wanted: Mapping[str, Any]) -> str | None:
        """Keep a person of the file, unless it names them twice.

        Returns:
            Where it speaks of the same person, and by which attribute.
        """
        keys = {"id": user_id, "userName": fold(wanted["userName"]), "externalId": wanted.get("externalId")}
        for (attribute, key), column in zip(keys.items(), ("id", "name", "external_id"), strict=True):
            earlier = self._value(f"SELECT place FROM entries WHERE {column} = ?", key)  # noqa: S608 - a column's name
            if earlier is not None:
                return f"{earlier} has the same {attribute!r}"
        self._do("INSERT INTO entries VALUES (NULL, ?, ?, ?, ?, ?)", place, *keys.values(), json.dumps(wanted))
        return None

    def entries(self) -> Iterator[tuple[Entry, str | None]]:
        """Yield the people of the file, each with the id that it says they have."""
        for number, place, user_id, wanted in self._rows(
            "SELECT number, place, id, wanted FROM entries ORDER BY number"
        ):
            yield Entry(number=number, place=place, wanted=json.loads(wanted)), user_id

    # -- The plan -----------------------------------------------------------------

    def add_step(self, step: Step) -> None:
        """Keep what should be done about a person."""
        self._do("INSERT INTO steps VALUES (NULL, ?, ?)", step.verdict, json.dumps(attrs.asdict(step)))

    def steps(self, verdicts: Iterable[Verdict], most: int = -1) -> Iterator[Step]:
        """Yield the steps with some verdicts, one verdict after the other, and at most so many."""
        for verdict in verdicts:
            for (step,) in self._rows(
                "SELECT step FROM steps WHERE verdict = ? ORDER BY number LIMIT ?", verdict, most
            ):
                yield _step(json.loads(step))

    def count(self, *verdicts: Verdict) -> int:
        """Return how many steps have one of some verdicts."""
        return sum(int(self._value("SELECT COUNT(*) FROM steps WHERE verdict = ?", verdict)) for verdict in verdicts)

    def _user(self, condition: str, key: str) -> dict[str, Any] | None:
        found = self._value(f"SELECT user FROM users WHERE {condition}", key)  # noqa: S608 - conditions stand above
        return None if found is None else json.loads(found)

    def _do(self, sql: str, *values: Any) -> sqlite3.Cursor:
        try:
            return self._database.execute(sql, values)
        except sqlite3.OperationalError as error:
            raise Trouble(
                f"What the command has to remember does not fit into its temporary file: {error}. Name a folder with"
                " more room in the environment: TMPDIR"
            ) from None

    def _rows(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        with closing(self._do(sql, *values)) as cursor:
            yield from cursor

    def _value(self, sql: str, *values: Any) -> Any:
        row = self._do(sql, *values).fetchone()
        return None if row is None else row[0]


def addresses(user: Mapping[str, Any]) -> set[str]:
    """Return the e-mail addresses of a User, in the form in which they are compared."""
    return {fold(entry["value"]) for entry in user.get("emails") or () if entry.get("value")}


def _step(values: dict[str, Any]) -> Step:
    operation = values.pop("operation")
    return Step(
        **{
            **values,
            "verdict": Verdict(values["verdict"]),
            "attributes": tuple(values["attributes"]),
            "operation": Operation(**operation),
        }
    )
