"""Clients that want the same thing at the same time, at two processes of a homeserver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.support.client import Response
from tests.support.configuration import scim_module
from tests.support.runner import BlockingRunner
from tests.web.clients import (
    MATRIX,
    STABLE,
    UNSTABLE,
    USER,
    Admin,
    Scim,
    assert_error,
    bulk_of,
    new_user,
    until,
    url_of,
    without_meta,
)

# Two instances of the module in one process share their queue. Those of several processes share the database alone: see
# tests/process for those.
pytestmark = [
    pytest.mark.usefixtures("engine"),
    pytest.mark.homeserver(
        config={"modules": [scim_module({"unstable_prefix": False}), scim_module({"stable_prefix": False})]}
    ),
]

ANN = "@ann:example.org"
ROUNDS = range(3)

Request = Callable[[Scim], Awaitable[Response]]


class Race:
    """Four clients, two at each process."""

    def __init__(self, admin: Admin) -> None:
        """Take part as a server admin."""
        self.scim = admin.scim
        self.synapse = admin.synapse
        self.homeserver = admin.homeserver
        self._clients = [Scim(admin.homeserver.url, admin.token, prefix) for prefix in (STABLE, UNSTABLE) * 2]

    async def run(self, *requests: Request) -> list[Response]:
        """Send four requests at once, and check that none of them leaves a write unfinished.

        Args:
            requests: One for each client; if there are fewer, they go round.
        """
        turns = [requests[number % len(requests)] for number in range(len(self._clients))]
        answers: list[Response] = await gatherResults(
            [Deferred.fromCoroutine(_answer(turn(client))) for turn, client in zip(turns, self._clients, strict=True)]
        )
        assert self.rows("SELECT user_id FROM synapse_scim_writes") == []
        return answers

    async def is_ready(self) -> bool:
        """Tell whether both processes serve SCIM."""
        return all([(await client.get("/Me")).status == 200 for client in self._clients[:2]])

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Return rows of the database."""
        return self.homeserver._database.execute(statement)


async def _answer(request: Awaitable[Response]) -> Response:
    return await request


@pytest.fixture
def race(admin: Admin, runner: BlockingRunner) -> Race:
    """Who takes part. The other process of `admin` serves the unstable prefix, and is ready when it is."""
    race = Race(admin)
    runner.run(until(race.is_ready))
    return race


def creating(**attributes: Any) -> Request:
    """Return the request that creates somebody."""
    return lambda scim: scim.post("/Users", {"schemas": [USER], **attributes})


def changing(user_id: str, name: str, value: Any) -> Request:
    """Return the request that replaces one attribute."""
    return lambda scim: scim.patch(user_id, {"op": "replace", "path": name, "value": value})


def deleting(user_id: str) -> Request:
    """Return the request that deletes somebody."""
    return lambda scim: scim.delete(user_id)


def statuses(answers: list[Response]) -> Counter[int]:
    """Count the statuses of answers; each error must be one of SCIM's."""
    for answer in answers:
        if answer.status in {404, 412}:
            assert_error(answer, answer.status)
        elif answer.status >= 400:
            assert_error(answer, 409, "uniqueness")
    return Counter(answer.status for answer in answers)


@pytest.mark.parametrize(
    "people",
    [
        [{"userName": "ann"}],
        [{"userName": name} for name in ("ann", "Ann", "ANN", "aNN")],
        [{"userName": f"p{number}", "emails": [{"value": "Desk@corp.example"}]} for number in range(4)],
        [{"userName": f"p{number}", "externalId": "7"} for number in range(4)],
    ],
    ids=["userName", "userName of any case", "emails", "externalId"],
)
@pytest.mark.usefixtures("owner")
async def test_one_of_those_who_create_wins(race: Race, people: list[dict[str, Any]]) -> None:
    """What is unique goes to one of those who want it at the same time; the others get 409, and leave nothing."""
    answers = await race.run(*(creating(**person) for person in people))

    assert statuses(answers) == {201: 1, 409: 3}
    (winner,) = [answer.json for answer in answers if answer.status == 201]
    assert {user["id"] for user in await race.scim.users()} == {"@admin:example.org", winner["id"]}
    assert {name for (name,) in race.rows("SELECT name FROM users")} == {"@admin:example.org", winner["id"]}


async def test_people_whose_names_give_one_user_id_are_numbered(race: Race) -> None:
    """Those who come at the same time get accounts of their own."""
    answers = await race.run(*(creating(userName=f"jdoe@{number}.example") for number in range(4)))

    assert statuses(answers) == {201: 4}
    assert {answer.json["id"] for answer in answers} == {f"@jdoe{number}:example.org" for number in ("", 2, 3, 4)}


async def test_a_shared_phone_number_is_bound_to_one(race: Race) -> None:
    """A phone number that somebody has is kept as an attribute of the others, and no reason to refuse them."""
    phone = [{"value": "+49 30 123456"}]
    answers = await race.run(*(creating(userName=f"p{number}", phoneNumbers=phone) for number in range(4)))

    assert statuses(answers) == {201: 4}
    assert len(race.rows("SELECT user_id FROM user_threepids")) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("userName", "desk"), ("emails", [{"value": "desk@corp.example"}]), ("externalId", "7")],
)
async def test_one_of_those_who_change_wins(race: Race, name: str, value: Any) -> None:
    """A change of four accounts to what only one can have leaves three of them as they were."""
    people = [await race.scim.create(f"p{number}", title="Clerk") for number in range(4)]

    answers = await race.run(*(changing(person["id"], name, value) for person in people))

    assert statuses(answers) == {200: 1, 409: 3}
    for person, answer in zip(people, answers, strict=True):
        now = await race.scim.read(person["id"])
        assert (now == person) is (answer.status == 409)
        assert (now.get(name) == value) is (answer.status == 200)


async def test_a_new_name_and_a_changed_one(race: Race) -> None:
    """Whether a name is given at the creation or later, one of those who want it gets it."""
    bob = await race.scim.create("bob")
    answers = await race.run(creating(userName="ann"), changing(bob["id"], "userName", "ann"))

    assert sum(answer.status == 409 for answer in answers) >= 2
    statuses(answers)
    assert (await race.scim.names()).count("ann") == 1


async def test_one_of_those_who_know_the_version_wins(race: Race) -> None:
    """Of those who replace the same version, one gets 200 and the others 412 (RFC 7644 §3.14)."""
    await race.scim.create("ann")
    for _ in ROUNDS:
        headers = {"If-Match": (await race.scim.read(ANN))["meta"]["version"]}

        def replacing(title: str, headers: dict[str, str] = headers) -> Request:
            return lambda scim: scim.put(ANN, new_user("ann", title=title), headers=headers)

        answers = await race.run(*(replacing(f"{headers['If-Match']} {number}") for number in range(4)))

        assert statuses(answers) == {200: 1, 412: 3}
        (winner,) = [answer.json for answer in answers if answer.status == 200]
        assert without_meta(await race.scim.read(ANN)) == without_meta(winner)


async def test_changes_of_different_attributes_are_all_kept(race: Race) -> None:
    """Of changes to one account at the same time none is lost, though the attributes are kept together."""
    await race.scim.create("ann")
    for number in ROUNDS:
        wanted = {name: f"{name} {number}" for name in ("title", "nickName", "displayName", "userType")}

        answers = await race.run(*(changing(ANN, name, value) for name, value in wanted.items()))

        assert statuses(answers) == {200: 4}
        assert (await race.scim.read(ANN)).items() >= wanted.items()


async def test_disabling_and_enabling_end_in_one_of_the_two(race: Race) -> None:
    """What is published, the lock, and what is recorded of a leaver say the same, whoever came last."""
    await race.scim.create("ann")
    for _ in ROUNDS:
        answers = await race.run(changing(ANN, "active", value=False), changing(ANN, "active", value=True))

        assert statuses(answers) == {200: 4}
        ann = await race.scim.read(ANN)
        assert ann[MATRIX]["locked"] is not ann["active"]
        assert (await race.synapse.account(ANN))["locked"] is not ann["active"]
        assert race.rows("SELECT user_id FROM synapse_scim_departures") == ([] if ann["active"] else [(ANN,)])


async def test_a_deleted_user_is_deleted_once(race: Race) -> None:
    """Of those who delete a User one gets 204; a change comes before that or is 404."""
    for number in ROUNDS:
        user_id = (await race.scim.create(f"p{number}", title="Clerk"))["id"]

        answers = await race.run(deleting(user_id), changing(user_id, "title", "Boss"))

        assert statuses(answers[::2]) == {204: 1, 404: 1}
        assert statuses(answers[1::2]).keys() <= {200, 404}
        assert_error(await race.scim.get(url_of(user_id)), 404)
        assert (await race.synapse.account(user_id))["deactivated"] is True


@pytest.mark.usefixtures("owner")
async def test_a_deleted_person_comes_back_once(race: Race) -> None:
    """Of those who create a deleted person again, one gets the same account back; the others get 409."""
    await race.scim.create("ann", externalId="7")
    for _ in ROUNDS:
        assert (await race.scim.delete(ANN)).status == 204

        answers = await race.run(creating(userName="ann", externalId="7"))

        assert statuses(answers) == {201: 1, 409: 3}
        assert [answer.json["id"] for answer in answers if answer.status == 201] == [ANN]
        assert (await race.synapse.account(ANN))["deactivated"] is False
        assert await race.scim.names('externalId eq "7"') == ["ann"]


async def test_an_account_is_adopted_once(race: Race) -> None:
    """Of people whose names give the user ID of an account that SCIM did not make, one gets it."""
    await race.synapse.change(ANN)

    answers = await race.run(
        *(creating(userName=f"ann@{number}.example", externalId=f"{number}") for number in range(4))
    )

    assert statuses(answers) == {201: 4}
    assert {answer.json["id"] for answer in answers} == {f"@ann{number}:example.org" for number in ("", 2, 3, 4)}
    for number, answer in enumerate(answers):
        assert without_meta(await race.scim.read(answer.json["id"])) == without_meta(answer.json)
        assert answer.json["externalId"] == f"{number}"


async def test_an_account_that_is_never_found_is_said_to_be_busy(race: Race) -> None:
    """A deleted person whose account somebody took out of the database cannot be brought back, nor waited for."""
    await race.scim.create("ann", externalId="7")
    await race.scim.delete(ANN)
    race.rows(f"DELETE FROM synapse_scim_users WHERE user_id = '{ANN}'")  # noqa: S608

    assert_error(await creating(userName="ann", externalId="7")(race.scim), 503)


async def test_bulk_requests_race_like_others(race: Race) -> None:
    """An operation of a Bulk request wins or loses by itself."""
    operation = {"method": "POST", "path": "/Users", "bulkId": "1", "data": new_user("ann")}
    answers = await race.run(creating(userName="ann"), lambda scim: scim.post("/Bulk", bulk_of(operation)))

    results = [answer.status for answer in answers[::2]]
    results += [int(answer.json["Operations"][0]["status"]) for answer in answers[1::2]]
    assert sorted(results) == [201, 409, 409, 409]
