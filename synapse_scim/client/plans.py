"""What a file would change on the server, found by comparing the two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import attrs

from synapse_scim.client.attributes import InvalidPerson, unknown_names, wanted_user
from synapse_scim.client.differences import Difference, differences
from synapse_scim.client.files import Person
from synapse_scim.client.ledger import NOTHING, Entry, Ledger, Step, Verdict, addresses
from synapse_scim.client.server import Operation, Server
from synapse_scim.client.trouble import Trouble
from synapse_scim.config import Guard
from synapse_scim.homeserver.settings import to_localpart
from synapse_scim.mapping.identifiers import quoted_id, wanted_localpart
from synapse_scim.mapping.schema import MATRIX_SCHEMA

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
OffBoard = Literal["none", "disable", "delete"]

LEAVING = (Verdict.disabled, Verdict.off_boarded)
"""Whom the server's guard counts."""

MOST_REFUSED = 100_000
"""With how many entries that cannot be used a file is read on."""

_GUARD = Guard()


def read_file(people: Iterable[Person], ledger: Ledger, tell: Callable[[], None]) -> set[str]:
    """Check everything that a file says, and keep it in the ledger; what is wrong becomes a refused step.

    Args:
        people: The people of the file.
        ledger: Where they go.
        tell: Called for each, for a progress bar.

    Returns:
        The names of the attributes that the server would ignore.

    Raises:
        Trouble: There is nobody in it, or too much that is nobody.
    """
    ignored: set[str] = set()
    any_person = False
    refused = 0

    def refuse(step: Step) -> None:
        nonlocal refused
        refused += 1
        if refused > MOST_REFUSED:
            first = next(ledger.steps((Verdict.refused,), 1))
            raise Trouble(
                f"More than {MOST_REFUSED} entries cannot be used: this is no file with people. The first is {first}"
            )
        ledger.add_step(step)

    for person in people:
        any_person = True
        tell()
        try:
            if isinstance(person.said, InvalidPerson):
                raise person.said
            wanted = wanted_user(person.said)
        except InvalidPerson as error:
            refuse(Step(verdict=Verdict.refused, place=person.place, why=str(error)))
            continue
        ignored.update(unknown_names(person.said))
        user_id = next((value for name, value in person.said.items() if name.lower() == "id" and value), None)
        twice = ledger.add_entry(person.place, user_id, wanted)
        if twice is not None:
            refuse(Step(verdict=Verdict.refused, place=person.place, person=wanted["userName"], why=twice))
    if not any_person:
        raise Trouble("There is nobody in the file")
    return ignored


def read_server(server: Server, ledger: Ledger, tell: Callable[[], None]) -> None:
    """Keep all that the token sees in the ledger."""
    for user in server.users():
        ledger.add_user(user)
        tell()


@attrs.frozen(kw_only=True)
class Planner:
    """Decides what becomes of each person.

    Attributes:
        ledger: The people of the server and of the file.
        is_administrator: Whether the token is a server administrator's, who may adopt any account.
    """

    ledger: Ledger
    is_administrator: bool

    def plan(self, off_board: OffBoard) -> None:
        """Write into the ledger what becomes of the file's people, and of those whom it lacks.

        Raises:
            Trouble: Somebody would be off-boarded although the file has entries that nobody can read.
        """
        unreadable = self.ledger.count(Verdict.refused)
        for entry, user_id in self.ledger.entries():
            self.ledger.add_step(self._step(entry, user_id))
        if off_board == "none":
            return
        if unreadable:
            raise Trouble(
                f"Nobody is off-boarded by a file with entries that cannot be used ({unreadable} here): they may be"
                " about people who stay. 'plan' without --off-board shows them"
            )
        for step in self._leavers(off_board):
            self.ledger.add_step(step)

    def _step(self, entry: Entry, user_id: str | None) -> Step:
        wanted = entry.wanted
        try:
            user = self._matching(wanted, user_id)
            self._ensure_free(entry, user)
            if user is None:
                verdict, found, operation = self._creation(wanted)
            else:
                verdict, found, operation = self._change(wanted, user)
        except InvalidPerson as error:
            return Step(verdict=Verdict.refused, place=entry.place, person=wanted["userName"], why=str(error))
        return Step(
            verdict=verdict,
            place=entry.place,
            person=wanted["userName"],
            attributes=tuple(difference.path for difference in found),
            operation=operation,
        )

    def _matching(self, wanted: Mapping[str, Any], user_id: str | None) -> dict[str, Any] | None:
        """Return the User that an entry is about: by its id, else its externalId, else its userName."""
        external_id = wanted.get("externalId")
        known = (
            self.ledger.user(user_id) if user_id else None,
            self.ledger.user_known_as(external_id) if external_id else None,
            self.ledger.user_named(wanted["userName"]),
        )
        found = {user["id"]: user for user in known if user}
        if len(found) > 1:
            raise InvalidPerson(f"its id, externalId and userName are those of several people: {', '.join(found)}")
        return next(iter(found.values()), None)

    def _ensure_free(self, entry: Entry, user: Mapping[str, Any] | None) -> None:
        """Check that neither the User nor one of the addresses is somebody else's."""
        if user is not None and not self.ledger.take(user["id"], entry):
            raise InvalidPerson(f"another entry of the file is about {user['id']}, too")
        for address in sorted(addresses(entry.wanted)):
            owner = self.ledger.owner(address)
            if owner is not None and (user is None or owner != user["id"]):
                raise InvalidPerson(f"the e-mail address {address} belongs to {owner}")

    def _creation(self, wanted: Mapping[str, Any]) -> tuple[Verdict, tuple[Difference, ...], Operation]:
        body = {name: value for name, value in wanted.items() if value is not None}
        operation = Operation(method="POST", path="/Users", data=body)
        waiting = self._waiting_for(wanted)
        if waiting is None:
            return Verdict.created, (), operation
        self._ensure_adoptable(wanted, waiting)
        return Verdict.adopted, differences(wanted, waiting), operation

    def _waiting_for(self, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the account that SCIM did not make and whose localpart a new user gets by the server's default."""
        some_id = self.ledger.any_user_id()
        if some_id is None:
            return None
        user = self.ledger.user(f"@{wanted_localpart(wanted, None, to_localpart)}:{some_id.partition(':')[2]}")
        return None if user is None or _matrix(user, "managed") else user

    def _change(
        self, wanted: Mapping[str, Any], user: Mapping[str, Any]
    ) -> tuple[Verdict, tuple[Difference, ...], Operation]:
        found = differences(wanted, user)
        managed = _matrix(user, "managed")
        if not found and (managed or _matrix(user, "serverAdmin")):
            return Verdict.unchanged, found, NOTHING
        if _matrix(user, "serverAdmin"):
            raise InvalidPerson(f"{user['id']} is a server administrator, whom SCIM does not change")
        operations = [difference.as_operation() for difference in found]
        if not managed:
            self._ensure_adoptable(wanted, user)
            # It is adopted even if nothing changes, and the request has to say what proves whose it is.
            named = {operation["path"] for operation in operations}
            operations += [
                {"op": "replace", "path": path, "value": wanted[path]}
                for path in ("userName", "externalId", "emails")
                if path not in named and wanted.get(path)
            ]
        leaves = any(difference.path == "active" and difference.value is False for difference in found)
        verdict = Verdict.disabled if leaves else Verdict.changed if managed else Verdict.adopted
        return verdict, found, _patch(user, *operations)

    def _ensure_adoptable(self, wanted: Mapping[str, Any], user: Mapping[str, Any]) -> None:
        if self.is_administrator:
            return
        same_person = bool(addresses(wanted) & addresses(user)) or (
            wanted.get("externalId") is not None and wanted["externalId"] == user.get("externalId")
        )
        if not same_person:
            raise InvalidPerson(
                f"the account {user['id']} was not made by SCIM, and nothing proves that it is this person's; a server"
                " administrator's token may adopt it"
            )

    def _leavers(self, off_board: OffBoard) -> Iterator[Step]:
        for user in self.ledger.untaken():
            if _matrix(user, "serverAdmin") or (off_board == "disable" and not user.get("active")):
                continue
            operation = _patch(user, {"op": "replace", "path": "active", "value": False})
            if off_board == "delete":
                operation = Operation(method="DELETE", path=operation.path)
            yield Step(verdict=Verdict.off_boarded, person=user["userName"], operation=operation)


def held_back(ledger: Ledger) -> int:
    """Return how many people the guard would keep from leaving, if it has its default settings and has seen nobody."""
    allowed = max(_GUARD.at_least, int((_GUARD.share or 0) * ledger.count_users(active=True)))
    return max(0, ledger.count(*LEAVING) - allowed)


def _patch(user: Mapping[str, Any], *operations: Mapping[str, Any]) -> Operation:
    return Operation(
        method="PATCH",
        path=f"/Users/{quoted_id(user['id'])}",
        data={"schemas": [PATCH], "Operations": list(operations)},
    )


def _matrix(user: Mapping[str, Any], attribute: str) -> bool:
    return bool(user.get(MATRIX_SCHEMA, {}).get(attribute))
