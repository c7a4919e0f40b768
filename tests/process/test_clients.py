"""Clients of other people, run as they are: scim2-cli and scim2-client."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import PatchOp, SearchRequest

from synapse_scim.resources.request import STABLE_PREFIX
from tests.support.configuration import scim_module
from tests.support.process import SpawnedHomeserver, SpawnHomeserver
from tests.web.clients import STABLE, Scim, Synapse, assert_error
from tests.web.tokens import client, token_of


async def started(spawn: SpawnHomeserver) -> SpawnedHomeserver:
    """Return a homeserver with a client of the name `script`."""
    homeserver = await spawn(module=scim_module({"clients": [client("script")]}))
    homeserver.start()
    homeserver.wait_until_logged("SCIM is ready")
    return homeserver


def run_scim(homeserver: SpawnedHomeserver, *arguments: str) -> Any:
    """Run scim2-cli, as docs/guides/other.md names it, and return what it prints."""
    finished = subprocess.run(
        [Path(sys.executable).with_name("scim2"), *arguments],
        env={
            "SCIM_CLI_URL": homeserver.url + STABLE,
            "SCIM_CLI_HEADERS": f"Authorization: Bearer {token_of('script')}",
            "NO_PROXY": "*",
        },
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(finished.stdout or "null")


async def test_scim2_cli(spawn_homeserver: SpawnHomeserver) -> None:
    """It creates, finds, replaces and deletes a person."""
    homeserver = await started(spawn_homeserver)
    scim = Scim(homeserver.url, token_of("script"), STABLE)

    made = run_scim(homeserver, "create", "user", "--user-name", "ann", "--display-name", "Ann Lee")
    assert (made["id"], (await scim.read(made["id"]))["displayName"]) == ("@ann:example.org", "Ann Lee")
    found = run_scim(homeserver, "query", "user", "--filter", 'userName eq "ANN"')
    assert [user["id"] for user in found["Resources"]] == [made["id"]]
    options = ["--user-name", "ann", "--display-name", "Ann Miller", "--id", made["id"]]
    assert run_scim(homeserver, "replace", "user", *options)["displayName"] == "Ann Miller"
    run_scim(homeserver, "delete", "user", made["id"])

    assert_error(await scim.get("/Users/@ann:example.org"), 404)


async def test_scim2_client(spawn_homeserver: SpawnHomeserver) -> None:
    """It builds its classes from what is announced, and takes every answer for what it should be."""
    homeserver = await started(spawn_homeserver)
    synapse = Synapse(homeserver.url, homeserver.register_admin(), "")
    headers = {"Authorization": f"Bearer {token_of('script')}"}

    with Client(base_url=homeserver.url + STABLE_PREFIX, headers=headers, trust_env=False) as http:
        library: Any = SyncSCIMClient(http)
        library.discover()
        user_class: Any = library.get_resource_model("User")
        made = library.create(user_class(user_name="ann", display_name="Ann Lee"))
        made.display_name = "Ann Miller"
        assert library.replace(made).display_name == "Ann Miller"
        off = {"op": "replace", "path": "active", "value": False}
        patch = PatchOp[user_class].model_validate({"Operations": [off]})
        assert library.modify(user_class, made.id, patch).active is False
        search = SearchRequest[user_class].model_validate({"filter": "active eq false"})
        page = library.query(user_class, query_parameters=search)
        assert [user.id for user in page.resources] == ["@ann:example.org"]
        assert (await synapse.account("@ann:example.org"))["locked"] is True
        library.delete(user_class, made.id)

    assert (await synapse.account("@ann:example.org"))["deactivated"] is True
