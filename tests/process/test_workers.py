"""One homeserver, three processes: whichever answers, the answer is the same (issue: workers)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from twisted.internet.threads import deferToThread

from synapse_scim.commands import main
from tests.process.table import OFF, ON, OUTCOMES, PASSWORD, Subject
from tests.process.trio import Trio, together
from tests.support.client import Response
from tests.support.cluster import EVENTS_ON_A_WORKER, SpawnCluster
from tests.support.hasty import HASTY
from tests.support.https import CertificateAuthority, HttpsServer, answer
from tests.support.runner import BlockingRunner
from tests.web.clients import Synapse, assert_error, assert_scim, new_user, until, without_meta
from tests.web.photos import data_url, image

pytestmark = pytest.mark.postgres

MODULE = {
    "module": HASTY,
    "config": {"profile_fields": {"m.tz": "timezone"}, "guard": {"max": 5, "at_least": 0, "window": "1h"}},
}
SHARED = {
    "refreshable_access_token_lifetime": "5m",
    "ip_range_whitelist": ["127.0.0.1"],
    "email": {"notif_from": "Synapse <synapse@example.org>", "enable_notifs": True, "notif_for_new_users": True},
}
TOPOLOGIES: dict[str, dict[str, Any]] = {
    "plain": {"config": SHARED},
    "events and media on workers": {
        "config": {**SHARED, **EVENTS_ON_A_WORKER, "enable_media_repo": False},
        "workers": {"w1": {}, "w2": {"enable_media_repo": True, "resources": ["client", "media"]}},
    },
}


@pytest.fixture(scope="module", params=TOPOLOGIES.values(), ids=list(TOPOLOGIES))
def trio(request: pytest.FixtureRequest, spawn_cluster: SpawnCluster) -> Trio:
    """Three processes. The guard lets five go; whoever needs more lets them pass."""
    return Trio(BlockingRunner().run(spawn_cluster(module=MODULE, **request.param)))


@pytest.fixture
def free_guard(trio: Trio) -> None:
    """Forget whom the guard has counted."""
    trio.cluster.rows("DELETE FROM synapse_scim_guard")


@pytest.mark.usefixtures("free_guard")
async def test_every_process_does_everything(trio: Trio) -> None:
    """Process, operation, outcome: the same at each, and after each operation every process says the same."""
    outcomes = {}
    for process in trio.names:
        subject = Subject(trio, process)
        for operation in OUTCOMES:
            outcomes[process, operation.__name__] = await operation(subject)
            await trio.seen(subject.user_id)

    assert outcomes == {
        (process, operation.__name__): status for process in trio.names for operation, status in OUTCOMES.items()
    }
    await trio.rest()
    assert trio.bugs() == []


async def test_one_of_twenty_gets_the_name(trio: Trio) -> None:
    """Of those who create the same person at the same time at three processes, one gets 201 and the others 409."""
    scims = list(trio.scim.values())

    def creating(number: int) -> Callable[[], Awaitable[Response]]:
        return lambda: scims[number % 3].post("/Users", new_user("race", title=f"{number}"))

    answers = await together(map(creating, range(20)))

    assert Counter(answered.status for answered in answers) == {201: 1, 409: 19}
    (winner,) = [answered.json for answered in answers if answered.status == 201]
    assert without_meta(await trio.seen("@race:example.org")) == without_meta(winner)
    await trio.rest()


async def test_no_change_is_lost(trio: Trio) -> None:
    """Changes of one account at the same time at three processes are all made."""
    await trio.scim["w1"].create("busy")
    names = ("title", "nickName", "displayName", "userType", "preferredLanguage", "profileUrl", "locale", "timezone")
    wanted = {name: f"https://example.org/{number}" for number, name in enumerate(names)}
    scims = list(trio.scim.values())

    def changing(turn: tuple[int, str]) -> Callable[[], Awaitable[Response]]:
        number, name = turn
        operation = {"op": "replace", "path": name, "value": wanted[name]}
        return lambda: scims[number % 3].patch("@busy:example.org", operation)

    answers = await together(map(changing, enumerate(names)))

    assert [answered.status for answered in answers] == [200] * len(names), [a.body for a in answers]
    assert (await trio.seen("@busy:example.org")).items() >= wanted.items()
    await trio.rest()


@pytest.mark.usefixtures("free_guard")
async def test_the_guard_counts_for_all(trio: Trio) -> None:
    """Whoever is let go at one process counts at the others: five at most, not five at each."""
    ids = [(await trio.scim["w1"].create(f"guarded{number}"))["id"] for number in range(20)]
    trio.cluster.rows("UPDATE synapse_scim_users SET created_ts = created_ts - 86400000")
    scims = list(trio.scim.values())

    def disabling(turn: tuple[int, str]) -> Callable[[], Awaitable[Response]]:
        number, user_id = turn
        return lambda: scims[number % 3].patch(user_id, OFF)

    answers = await together(map(disabling, enumerate(ids)))

    assert Counter(answered.status for answered in answers) == {200: 5, 429: 15}
    await trio.rest()


async def test_pages_go_from_process_to_process(trio: Trio) -> None:
    """A cursor that one process gave is taken by another one; together the pages have everybody, once."""
    for number in range(9):
        await trio.scim["w1"].create(f"listed{number}")
    everybody = sorted(await trio.scim["homeserver"].names(count=1000))
    found: list[str] = []
    cursor, turn = "", 0
    while True:
        page = (await trio.scim[trio.names[turn % 3]].get("/Users", params={"cursor": cursor, "count": 3})).json
        found += [user["userName"] for user in page["Resources"]]
        if "nextCursor" not in page:
            break
        cursor, turn = page["nextCursor"], turn + 1

    assert turn > 2
    assert sorted(found) == everybody


@pytest.mark.usefixtures("free_guard")
async def test_sessions_of_the_locked_end_everywhere(trio: Trio) -> None:
    """Whoever is disabled at one process has no session at any, nor can renew one; enabled, it goes on."""
    ann = await trio.scim["w1"].create("session", password=PASSWORD)
    identifier = {"type": "m.id.user", "user": "session"}
    body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD, "refresh_token": True}
    nobody = {"Authorization": None}
    login = (await trio.synapse["w1"].request("POST", "/_matrix/client/v3/login", body, headers=nobody)).json
    for synapse in trio.synapse.values():
        assert (await synapse.whoami(login["access_token"])).status == 200

    await trio.scim["w2"].patched(ann["id"], OFF)

    # At once, although the main process has the account in its cache as it was.
    refresh = {"refresh_token": login["refresh_token"]}
    refused = await trio.synapse["homeserver"].request("POST", "/_matrix/client/v3/refresh", refresh, headers=nobody)
    assert (refused.status, refused.json["errcode"]) == (401, "M_USER_LOCKED")

    async def is_out() -> bool:
        answers = [await synapse.whoami(login["access_token"]) for synapse in trio.synapse.values()]
        return all((a.status, a.json.get("errcode")) == (401, "M_USER_LOCKED") for a in answers)

    await until(is_out)
    await trio.scim["homeserver"].patched(ann["id"], ON)

    async def is_in() -> bool:
        return {(await s.whoami(login["access_token"])).status for s in trio.synapse.values()} == {200}

    await until(is_in)


async def test_new_people_are_notified_by_email(trio: Trio) -> None:
    """Whichever process creates a person, the e-mail pusher is there, and goes with the person's leaving."""
    for process in trio.names:
        user_id = (await trio.scim[process].create(f"mail-{process}", emails=[{"value": f"{process}@e.example"}]))["id"]
        pushers = f"SELECT pushkey FROM pushers WHERE user_name = '{user_id}'"  # noqa: S608
        assert trio.cluster.rows(pushers) == [(f"{process}@e.example",)]

        trio.cluster.rows("DELETE FROM synapse_scim_guard")
        await trio.scim[process].patched(user_id, OFF)

        assert trio.cluster.rows(pushers) == []


@pytest.fixture
def server(authority: CertificateAuthority) -> Iterator[HttpsServer]:
    """Where photos are."""
    server = HttpsServer(authority, ["127.0.0.1"])
    yield server
    BlockingRunner().run(server.stop())


async def test_photos_are_fetched_where_media_are(trio: Trio, server: HttpsServer) -> None:
    """Whichever process is told of a photo, one that has the media repository makes it the avatar, once."""
    for process in trio.names:
        server.answers[f"/{process}.png"] = answer(image("PNG"))
        photo = {"value": server.url(f"/{process}.png")}
        user_id = (await trio.scim[process].create(f"face-{process}", photos=[photo]))["id"]

        async def is_shown(user_id: str = user_id) -> bool:
            return bool((await trio.synapse["homeserver"].account(user_id))["avatar_url"])

        await until(is_shown)
        await trio.rest()
        assert (await trio.seen(user_id))["photos"] == [photo]
    assert sorted(server.requested) == sorted(server.url(path) for path in server.answers)


async def test_photos_within_requests_need_the_media_repository(trio: Trio) -> None:
    """A `data:` photo is stored by a process that has the media repository; the others say 503, and why."""
    everywhere = "enable_media_repo: false" not in (trio.cluster.main._folder / "homeserver.yaml").read_text()
    has_media = {"homeserver": everywhere, "w1": everywhere, "w2": True}
    for process, stores in has_media.items():
        refused_or_made = await trio.scim[process].post(
            "/Users", new_user(f"data-{process}", photos=[{"value": data_url(image("PNG"))}])
        )
        if stores:
            assert refused_or_made.json["photos"][0]["value"].startswith("mxc://example.org/")
        else:
            assert_error(refused_or_made, 503, naming="media repository")


async def test_processes_know_of_each_other(trio: Trio) -> None:
    """Each has a row, with the version and the settings that it runs; they agree, and one keeps the schedules."""
    rows = trio.cluster.rows("SELECT instance, version, settings, schedules FROM synapse_scim_processes ORDER BY 1")

    assert [(row[0], row[3]) for row in rows] == [("master", 1), ("w1", 0), ("w2", 0)]
    assert len({row[1:3] for row in rows}) == 1
    assert not any("different settings" in process.log() for process in trio.cluster.processes)


async def test_every_process_begins_a_trace(trio: Trio) -> None:
    """`trace start` reaches all of them while they run, and so does `trace stop`."""

    async def trace(*arguments: str) -> None:
        path = str(trio.cluster.main._folder / "homeserver.yaml")
        said = await deferToThread(CliRunner().invoke, main, ["trace", *arguments, "--config", path])
        assert said.exit_code == 0, said.output

    def lines(name: str) -> int:
        return trio.process(name).log().count("synapse_scim.trace")

    async def grows(name: str) -> bool:
        before = lines(name)
        assert_scim(await trio.scim[name].get("/Users", params={"count": 1}), 200)
        return lines(name) > before

    assert not any([await grows(name) for name in trio.names])
    await trace("start", "@admin:example.org")
    for name in trio.names:
        await until(partial(grows, name))
    await trace("stop")
    for name in trio.names:

        async def is_still(name: str = name) -> bool:
            return not await grows(name)

        await until(is_still)


@pytest.mark.usefixtures("free_guard")
async def test_rooms_are_given_back_by_any_process(trio: Trio) -> None:
    """Who is deleted at one process and created again at the next is back in the room, with the power level."""
    admin = trio.synapse["homeserver"]

    async def call(synapse: Synapse, token: str, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        answered = await synapse.request(method, f"/_matrix/client/v3{path}", body, headers=headers)
        assert answered.status == 200, answered.body
        return answered.json

    for process, other in zip(trio.names, (*trio.names[1:], trio.names[0]), strict=True):
        name = f"member-{process}"
        user_id = (await trio.scim[process].create(name, externalId=name, password=PASSWORD))["id"]
        token = await trio.synapse[process].token(name, PASSWORD)
        levels = {"users": {"@admin:example.org": 100, user_id: 50}}
        room = {"invite": [user_id], "power_level_content_override": levels, "room_version": "11"}
        room_id = (await call(admin, trio.token, "POST", "/createRoom", room))["room_id"]
        await call(trio.synapse[process], token, "POST", f"/join/{quote(room_id)}", {})

        assert (await trio.scim[process].delete(user_id)).status == 204
        revived = await trio.scim[other].post("/Users", new_user(name, externalId=name))

        assert (revived.status, revived.json["id"]) == (201, user_id), revived.body
        rooms = await admin.request("GET", f"/_synapse/admin/v1/users/{quote(user_id)}/joined_rooms")
        assert rooms.json["joined_rooms"] == [room_id]
        power = await call(admin, trio.token, "GET", f"/rooms/{quote(room_id)}/state/m.room.power_levels")
        assert power["users"][user_id] == 50
    await trio.rest()
    assert trio.bugs() == []
