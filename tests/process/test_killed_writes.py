"""A homeserver that is killed at each step of each write, and started again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.web.client import ResponseFailed

from synapse_scim.steps import (
    AnnounceThreepids,
    DatabaseChange,
    Deactivate,
    Elsewhere,
    EndSessions,
    FinalChange,
    HandOver,
    ProfileChange,
    Reactivate,
    Rejoin,
    RemovePushers,
    RestorePushers,
    SetPassword,
    SetProfileField,
)
from tests.process.lives import HEIR, Person, Policy, World
from tests.support.databases import Engine
from tests.support.mas import AuthenticationService
from tests.support.mortal import CHANGES, FATAL, WATCHED
from tests.support.process import SpawnHomeserver
from tests.support.zygote import Zygote

REFUSED_TWICE = {"create": 409, "depict": 409, "revive": 409, "delete": 404}
"""How a request is refused that has happened already; the others succeed again."""


LATER = Policy(
    settings={"inactive": {"deactivate_after": "30d"}, "deleted": {"deactivate_after": "30d"}},
    kinds=(
        *get_args(DatabaseChange),
        SetProfileField,
        EndSessions,
        RemovePushers,
        RestorePushers,
        AnnounceThreepids,
    ),
)
AT_ONCE = Policy(
    settings={"inactive": {"deactivate_after": 0}, "deleted": {"deactivate_after": 0}},
    operations=("create", "disable", "enable", "delete", "revive"),
    kinds=(Deactivate, Reactivate, Rejoin, HandOver),
)

AT_MAS = Policy(
    settings={"inactive": {"deactivate_after": "30d"}, "deleted": {"deactivate_after": 0}},
    operations=("create", "change", "delete", "revive"),
    kinds=(Elsewhere, Reactivate, SetPassword, SetProfileField),
    at_mas=True,
)

CONFIGURATION: dict[str, Any] = {
    "sso": {"idp_id": "oidc"},
    "profile_fields": {"m.tz": "timezone"},
    "guard": {"max": None},
    "room_succession": {"enabled": True, "successor": HEIR},
}


@attrs.frozen(kw_only=True)
class Operation:
    """An operation that nothing disturbs.

    Attributes:
        name: Its name.
        old: The state before it.
        new: The state after it.
        steps: The names of its steps.
    """

    name: str
    old: str
    new: str
    steps: tuple[str, ...]

    def states(self, *, at_mas: bool) -> set[str]:
        """Return the states in which a life may end."""
        states = {self.old, self.new}
        if at_mas and self.name == "create":
            states.add("nobody")
        if at_mas and self.name == "change":
            seen = json.loads(self.old) | {"logins": [403, 200]}
            states.add(json.dumps(seen, sort_keys=True, indent=1))
        return states


async def observed(world: World, numbers: Iterator[int]) -> list[Operation]:
    """Run each operation once, and return what it does."""
    operations = []
    for name in world.policy.operations:
        person = Person(world, f"{name}-calm", next(numbers))
        await person.prepare(name)
        old = await person.state()
        answer = await getattr(person, name)({WATCHED: name})
        assert answer.status < 300, answer.body
        steps = (world.folder / name).read_text().split()
        new = await person.state()
        assert old != new
        operations.append(Operation(name=name, old=old, new=new, steps=tuple(steps)))
    taken = {*(world.folder / CHANGES).read_text().split(), *chain(*(operation.steps for operation in operations))}
    assert {kind.__name__ for kind in world.policy.kinds} <= taken
    return operations


@pytest.mark.parametrize("policy", [LATER, AT_ONCE], ids=["later", "at_once"])
async def test_killing_at_any_step_leaves_the_old_state_or_the_new_one(
    engine: Engine, policy: Policy, spawn_homeserver: SpawnHomeserver, zygote: Zygote
) -> None:
    """Whenever the process dies, the next start makes whole what it finds, and repeating the request succeeds.

    In each of its lives the homeserver is killed when every operation is about to take its step of the same number.
    """
    module = {"module": "tests.support.mortal.MortalScimModule", "config": {**CONFIGURATION, **policy.settings}}
    await kill_everywhere(
        World(await spawn_homeserver(engine=engine, module=module, launch=zygote.launch), policy, None)
    )


async def test_killing_at_any_step_is_mended_at_mas_too(
    mas: AuthenticationService, spawn_homeserver: SpawnHomeserver, zygote: Zygote, tmp_path: Path
) -> None:
    """What MAS was told before the process died is finished or taken back there as well.

    A password alone cannot be taken back: MAS may have the new one of a request that did not happen.
    """
    module = {"module": "tests.support.mortal.MortalScimModule", "config": {**CONFIGURATION, **AT_MAS.settings}}
    homeserver = await spawn_homeserver(
        module=mas.with_module(tmp_path, module), config=mas.synapse_configuration(), launch=zygote.launch
    )
    await kill_everywhere(World(homeserver, AT_MAS, mas))


async def kill_everywhere(world: World) -> None:
    """Kill a homeserver at each step of each operation."""
    await world.begin()
    numbers = count()
    operations = await observed(world, numbers)
    for step in range(max(len(operation.steps) for operation in operations) + 1):
        victims = [
            (operation, Person(world, f"{operation.name}-{step}", next(numbers)))
            for operation in operations
            if step <= len(operation.steps)
        ]
        for operation, person in victims:
            await person.prepare(operation.name)
        await cut_off(victims, step)
        await world.rise()
        for operation, person in victims:
            when = f"{operation.name}, killed before {[*operation.steps, 'its answer'][step]}"
            assert await person.state() in operation.states(at_mas=world.mas is not None), when
            answer = await getattr(person, operation.name)({})
            assert answer.status in {200, 201, 204, REFUSED_TWICE.get(operation.name)}, (when, answer.body)
            assert await person.state() == operation.new, when
        assert world.unfinished() == []


async def cut_off(victims: list[tuple[Operation, Person]], step: int) -> None:
    """Begin operations, and let the homeserver die when all of them are about to take a step."""
    dying = [(operation, person) for operation, person in victims if step < len(operation.steps)]
    for operation, person in victims:
        if (operation, person) not in dying:
            assert (await getattr(person, operation.name)({})).status < 300

    async def begin(operation: Operation, person: Person) -> None:
        with suppress(ConnectError, ConnectionClosed, ResponseFailed):
            answer = await getattr(person, operation.name)({FATAL: f"{step} {len(dying)}"})
            pytest.fail(f"{operation.name} was not cut off before step {step}: {answer.body!r}")

    await gatherResults([Deferred.fromCoroutine(begin(*victim)) for victim in dying])


def test_every_kind_of_step_is_among_them() -> None:
    """A new kind of step needs an operation that is killed at it."""
    kinds = {*get_args(DatabaseChange), *get_args(ProfileChange | FinalChange)}

    assert {kind for policy in (LATER, AT_ONCE, AT_MAS) for kind in policy.kinds} == kinds
