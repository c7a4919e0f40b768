"""Pushers that a worker adds: the main process does it, as Synapse can only there."""

from __future__ import annotations

from typing import Any

import pytest
from synapse.api.errors import SynapseError
from synapse.config.workers import MAIN_PROCESS_INSTANCE_NAME, InstanceTcpLocationConfig

from synapse_scim.accounts import Unavailable
from synapse_scim.homeserver.pushers import PATH, Pushers
from tests.support.child import free_port
from tests.support.client import ScimClient
from tests.support.configuration import http_listener
from tests.support.homeserver import LocalHomeserver, StartHomeserver

SECRET = "between-the-processes"
SETTINGS = {
    "kind": "http",
    "app_id": "app",
    "app_display_name": "App",
    "device_display_name": "Phone",
    "pushkey": "key",
    "lang": "en",
    "data": {"url": "https://push.example/_matrix/push/v1/notify"},
}


async def main_process(start_homeserver: StartHomeserver, secret: str | None = SECRET) -> LocalHomeserver:
    """Start a main process that workers can talk to."""
    port = free_port()
    homeserver = await start_homeserver(
        listeners=[http_listener("client"), {**http_listener("replication"), "port": port}],
        config={"worker_replication_secret": secret},
    )
    know_main_process(homeserver, port)
    return homeserver


def know_main_process(homeserver: LocalHomeserver, port: int) -> None:
    """Let a homeserver know what its workers do: where the main process is."""
    location = InstanceTcpLocationConfig(host="127.0.0.1", port=port)
    homeserver.hs.config.worker.instance_map[MAIN_PROCESS_INSTANCE_NAME] = location


async def add(homeserver: LocalHomeserver, user_id: str, **changes: Any) -> None:
    """Add a pusher as a worker does, which has the same configuration but for its being one."""
    homeserver.hs.config.worker.worker_app = "synapse.app.generic_worker"
    try:
        with homeserver._context():
            await Pushers(homeserver.hs).add(user_id, {**SETTINGS, **changes})
    finally:
        homeserver.hs.config.worker.worker_app = None


@pytest.mark.parametrize("secret", [SECRET, None])
async def test_workers_ask_the_main_process(start_homeserver: StartHomeserver, secret: str | None) -> None:
    """What a worker adds is there as if the main process had; a refusal is a refusal."""
    homeserver = await main_process(start_homeserver, secret)
    user_id = await homeserver.register("ann")

    await add(homeserver, user_id)

    assert homeserver._database.execute("SELECT user_name, app_id, pushkey, device_id FROM pushers") == [
        (user_id, "app", "key", None)
    ]
    with pytest.raises(SynapseError, match="url") as refused:
        await add(homeserver, user_id, data={})
    assert refused.value.code == 400


@pytest.mark.expected_errors("Failed handle request")
async def test_a_main_process_that_cannot(start_homeserver: StartHomeserver) -> None:
    """Where the main process fails or is away, the worker tries again later."""
    homeserver = await main_process(start_homeserver)

    with pytest.raises(Unavailable, match="cannot add pushers"):
        await add(homeserver, "@ann:example.org", unheard_of=7)


async def test_a_main_process_that_is_away(start_homeserver: StartHomeserver) -> None:
    """Nobody listens there."""
    homeserver = await start_homeserver()
    know_main_process(homeserver, free_port())

    with pytest.raises(Unavailable, match="does not answer"):
        await add(homeserver, "@ann:example.org")


async def test_nobody_else_is_served(start_homeserver: StartHomeserver) -> None:
    """Only on the listener for replication, and only with its secret; everybody else sees nothing there."""
    homeserver = await main_process(start_homeserver)
    user_id = await homeserver.register("ann")
    body = {"user_id": user_id, "settings": SETTINGS}

    for port, token in ((homeserver.ports[0], SECRET), (homeserver.ports[1], "wrong"), (homeserver.ports[1], None)):
        client = ScimClient(f"http://127.0.0.1:{port}", token, "")
        assert (await client.request("POST", PATH, body)).status == 404

    assert homeserver._database.execute("SELECT user_name FROM pushers") == []
