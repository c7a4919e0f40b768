"""What is measured: each operation through SCIM, as bare work, and through Synapse's own admin API."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Literal
from urllib.parse import quote

import attrs
import requests
from scim2_server.cursor import HEADER_SIZE, SALT_SIZE, VERSION, Cursors

from benchmarks.floor import PATH as FLOOR
from benchmarks.floor import PROVIDER
from benchmarks.people import Person, person
from benchmarks.storage import CURSOR_SECRET

Variant = Literal["ours", "floor", "admin"]
VARIANTS: tuple[Variant, ...] = ("ours", "floor", "admin")

INDEXED = "indexed"
"""The operation that is measured on a homeserver whose administrator allows an index on Synapse's own table."""

PROMISES: Mapping[str, tuple[str, float | None]] = {
    "read": ("read one", 2),
    "userName": ("eq on userName", 2),
    "externalId": ("eq on externalId", 2),
    "email": ("eq on emails.value", 2),
    "phone": ("eq on phoneNumbers.value", 2),
    "page": ("first page of 100, with total", 2),
    "cursor": ("page of 100 by cursor, anywhere", 2),
    "contains": ("userName co, ten found", 1.5),
    "total": ("total only (count=0)", 1.5),
    "displayName": ("change displayName", 1.5),
    "title": ("change title (no profile)", 1.5),
    "put": ("PUT that changes nothing", None),
    "create": ("create", 1.5),
    INDEXED: ("create, with `allow_synapse_indexes`", 1.5),
}
"""What is measured, in this order: its title, and how many times the bare work it may cost, if that is promised."""

SCIM = "/_scim"
_ADMIN = "/_synapse/admin"
_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_PAGE = 100
_READY_S = 120
_POLL_S = 0.1
_FIRST_NEW = 8_000_000
"""The number of the first person that the benchmark creates."""


@attrs.frozen
class Call:
    """A request."""

    method: str
    path: str
    body: Any = None


Calls = Sequence[Call]
"""The requests of one operation, sent one after the other."""


@attrs.frozen(kw_only=True)
class Operation:
    """What is measured.

    Attributes:
        name: How it is called on the command line, and in `PROMISES`.
        writes: It changes accounts.
        calls: What makes the requests of one operation.
    """

    name: str
    writes: bool = False
    calls: Mapping[Variant, Callable[[Random], Calls]]


class Operations:
    """The operations on a homeserver with some people."""

    def __init__(self, url: str, token: str, size: int) -> None:
        """Learn what makes a cursor, so that pages at any depth can be asked for.

        Args:
            url: The homeserver.
            token: An access token of a server admin.
            size: How many people there are.
        """
        self._size = size
        self._run = secrets.randbelow(1000) * 1000
        self._created = 0
        self._cursors = Cursors(CURSOR_SECRET)
        first = _first_page(url, token)
        self._query = _opened(self._cursors, first["nextCursor"])["q"] if "nextCursor" in first else ""

    def all(self) -> tuple[Operation, ...]:
        """Return all, in the order in which they are measured and shown: those that add accounts last."""
        return (
            Operation(
                name="read",
                calls={
                    "ours": self._each(lambda p: Call("GET", f"{SCIM}/Users/{p.user_id}")),
                    "floor": self._each(lambda p: Call("GET", f"{FLOOR}/one?user_id={quote(p.user_id)}")),
                    "admin": self._each(_admin_read),
                },
            ),
            self._lookup("userName", "userName", lambda p: p.user_name, _admin_read),
            self._lookup(
                "externalId",
                "externalId",
                lambda p: p.external_id,
                lambda p: Call("GET", f"{_ADMIN}/v1/auth_providers/{PROVIDER}/users/{p.external_id}"),
                _admin_read,
            ),
            self._lookup(
                "email",
                "emails.value",
                lambda p: p.user_name,
                lambda p: Call("GET", f"{_ADMIN}/v1/threepid/email/users/{p.user_name}"),
                _admin_read,
            ),
            self._lookup(
                "phone",
                "phoneNumbers.value",
                lambda p: p.phone,
                lambda p: Call("GET", f"{_ADMIN}/v1/threepid/msisdn/users/{p.phone.removeprefix('+')}"),
                _admin_read,
            ),
            Operation(
                name="page",
                calls={
                    "ours": lambda _: [Call("GET", f"{SCIM}/Users?count={_PAGE}")],
                    "floor": lambda _: [Call("GET", f"{FLOOR}/page?total=1")],
                    "admin": lambda _: [Call("GET", f"{_ADMIN}/v2/users?limit={_PAGE}")],
                },
            ),
            Operation(
                name="cursor",
                calls={"ours": self._page, "floor": self._floor_page, "admin": self._admin_page},
            ),
            Operation(
                name="contains",
                calls={
                    "ours": lambda r: [
                        Call("GET", f"{SCIM}/Users?{_filter('userName', self._part(r), 'co')}&count=100")
                    ],
                    "floor": lambda r: [Call("GET", f"{FLOOR}/contains?text={self._part(r)}")],
                    "admin": lambda r: [Call("GET", f"{_ADMIN}/v2/users?name={self._part(r)}&limit={_PAGE}")],
                },
            ),
            Operation(
                name="total",
                calls={
                    "ours": lambda _: [Call("GET", f"{SCIM}/Users?count=0")],
                    "floor": lambda _: [Call("GET", f"{FLOOR}/count")],
                    "admin": lambda _: [Call("GET", f"{_ADMIN}/v2/users?limit=1")],
                },
            ),
            Operation(
                name="displayName",
                writes=True,
                calls={
                    "ours": self._each_new(lambda p, new: _patch(p, "displayName", new)),
                    "floor": self._each_new(_floor_change),
                    "admin": self._each_new(_admin_change),
                },
            ),
            Operation(
                name="title",
                writes=True,
                calls={
                    "ours": self._each_new(lambda p, new: _patch(p, "title", new)),
                    "floor": self._each_new(_floor_change),
                    "admin": self._each_new(_admin_change),
                },
            ),
            Operation(
                name="put",
                writes=True,
                # From the end, whose names no other operation has changed.
                calls={
                    "ours": lambda r: [_unchanged(person(self._size - 1 - r.randrange(self._size // 10)))],
                    "admin": lambda r: [_admin_unchanged(person(self._size - 1 - r.randrange(self._size // 10)))],
                },
            ),
            *(Operation(name=name, writes=True, calls=self._creations()) for name in ("create", INDEXED)),
        )

    def _creations(self) -> Mapping[Variant, Callable[[Random], Calls]]:
        return {
            "ours": lambda _: [Call("POST", f"{SCIM}/Users", self._new().scim())],
            "floor": lambda _: [_floor_create(self._new())],
            "admin": lambda _: [_admin_create(self._new())],
        }

    def _each(self, *calls: Callable[[Person], Call]) -> Callable[[Random], Calls]:
        """Return what makes requests about anybody."""
        return lambda random: [call(found) for found in [self._anybody(random)] for call in calls]

    def _each_new(self, call: Callable[[Person, str], Call]) -> Callable[[Random], Calls]:
        """Return what makes requests about anybody, with a text that is new."""
        return lambda random: [call(self._anybody(random, 0.9), f"New {random.randrange(10**9)}")]

    def _lookup(
        self, name: str, attribute: str, value: Callable[[Person], str], *admin: Callable[[Person], Call]
    ) -> Operation:
        by = {"email": "email", "phone": "msisdn"}.get(name, name)
        return Operation(
            name=name,
            calls={
                "ours": self._each(lambda p: Call("GET", f"{SCIM}/Users?{_filter(attribute, value(p))}")),
                "floor": self._each(
                    lambda p: Call("GET", f"{FLOOR}/lookup?by={by}&value={quote(value(p).removeprefix('+'))}")
                ),
                "admin": self._each(*admin),
            },
        )

    def _anybody(self, random: Random, share: float = 1) -> Person:
        """Return a person, of the first share of all."""
        return person(random.randrange(max(1, int(self._size * share))))

    def _new(self) -> Person:
        """Return a person of whom nobody has heard."""
        self._created += 1
        return attrs.evolve(person(_FIRST_NEW + self._run + self._created), manager_id=person(0).user_id)

    def _page(self, random: Random) -> Calls:
        position = {"d": "next", "k": None, "i": self._depth(random)}
        cursor = self._cursors.seal(self._query, _PAGE, position)
        return [Call("GET", f"{SCIM}/Users?count={_PAGE}&cursor={cursor}")]

    def _floor_page(self, random: Random) -> Calls:
        return [Call("GET", f"{FLOOR}/page?after={quote(self._depth(random))}")]

    def _admin_page(self, random: Random) -> Calls:
        offset = random.randrange(max(1, self._size - _PAGE))
        return [Call("GET", f"{_ADMIN}/v2/users?from={offset}&limit={_PAGE}")]

    def _depth(self, random: Random) -> str:
        """Return somebody after whom there is a whole page: two thirteenths of all come after Katja."""
        found = self._anybody(random)
        return found.user_id if found.given_name <= "Katja" else person(0).user_id

    def _part(self, random: Random) -> str:
        """Return digits that ten people have in their names."""
        return f"{random.randrange(max(1, self._size // 10)):06d}"


def _first_page(url: str, token: str) -> Any:
    """Return the first page by cursor, once the module is ready: it looks at every account when it starts."""
    give_up = time.monotonic() + _READY_S
    while True:
        answer = requests.get(
            f"{url}{SCIM}/Users?cursor=&count={_PAGE}", headers={"Authorization": f"Bearer {token}"}, timeout=60
        )
        if answer.ok or time.monotonic() > give_up:
            answer.raise_for_status()
            return answer.json()
        time.sleep(_POLL_S)


def _opened(cursors: Cursors, cursor: str) -> Any:
    """Return what a cursor holds."""
    token = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    salt = token[len(VERSION) : len(VERSION) + SALT_SIZE]
    nonce = token[len(VERSION) + SALT_SIZE : HEADER_SIZE]
    return json.loads(cursors._aead(salt).decrypt(nonce, token[HEADER_SIZE:], VERSION))


def _filter(attribute: str, value: str, operator: str = "eq") -> str:
    return "filter=" + quote(f'{attribute} {operator} "{value}"')


def _patch(found: Person, path: str, value: str) -> Call:
    operations = [{"op": "replace", "path": path, "value": value}]
    return Call("PATCH", f"{SCIM}/Users/{found.user_id}", {"schemas": [_PATCH], "Operations": operations})


def _unchanged(found: Person) -> Call:
    return Call("PUT", f"{SCIM}/Users/{found.user_id}", found.scim())


def _floor_change(found: Person, new: str) -> Call:
    return Call("POST", f"{FLOOR}/change", {"user_id": found.user_id, "displayname": new})


def _floor_create(new: Person) -> Call:
    body = {
        "localpart": new.localpart,
        "displayname": new.display_name,
        "threepids": _threepids(new),
        "external_id": new.external_id,
    }
    return Call("POST", f"{FLOOR}/create", body)


def _admin_read(found: Person) -> Call:
    return Call("GET", f"{_ADMIN}/v2/users/{found.user_id}")


def _admin_change(found: Person, new: str) -> Call:
    return Call("PUT", f"{_ADMIN}/v2/users/{found.user_id}", {"displayname": new})


def _admin_unchanged(found: Person) -> Call:
    return Call("PUT", f"{_ADMIN}/v2/users/{found.user_id}", _admin_body(found))


def _admin_create(new: Person) -> Call:
    return Call("PUT", f"{_ADMIN}/v2/users/{new.user_id}", _admin_body(new))


def _admin_body(found: Person) -> Any:
    return {
        "displayname": found.display_name,
        "threepids": [{"medium": medium, "address": address} for medium, address in _threepids(found)],
        "external_ids": [{"auth_provider": PROVIDER, "external_id": found.external_id}],
    }


def _threepids(found: Person) -> list[tuple[str, str]]:
    return [("email", found.user_name), ("msisdn", found.phone.removeprefix("+"))]
