"""What `check` says of configurations and databases."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands.deployment import Deployment, bad
from tests.commands.line import invoke
from tests.support.configuration import http_listener, scim_module
from tests.web.clients import UNSTABLE
from tests.web.tokens import client, token_of


async def test_prefix_that_is_turned_off_is_no_error(deployment: Deployment) -> None:
    """The configuration tells; without it, the command says that it may be so."""
    await deployment.homeserver.restart({"modules": [scim_module({"stable_prefix": False})]})
    deployment.proxy.target = deployment.homeserver.port
    deployment.line.url = deployment.proxy.url + UNSTABLE
    configuration = deployment.homeserver.write_configuration()

    assert (await deployment.check("--config", configuration))["prefix /_scim"]["said"] == "it is turned off"
    assert bad(await deployment.check()).keys() == {"prefix /_scim"}


async def test_listeners_that_believe_no_proxy_are_good(deployment: Deployment) -> None:
    """Where Synapse looks at connections alone, no header fools it."""
    await deployment.homeserver.restart({"listeners": [{"tag": "listener", **http_listener("client")}]})
    deployment.proxy.target = deployment.homeserver.port

    findings = await deployment.check("--config", deployment.homeserver.write_configuration(), appends_address=True)

    assert "no listener of the main process believes it" in findings["X-Forwarded-For"]["said"]


async def test_configuration_alone_can_be_looked_at(deployment: Deployment) -> None:
    """The URL is then the one that it says; without a token, nothing is asked that needs one."""
    configuration = deployment.homeserver.write_configuration()

    result = await invoke(["check", "--json", "--config", str(configuration)])
    findings = {finding["about"]: finding for finding in json.loads(result.stdout)}

    assert result.exit_code == 0
    assert findings["URL"]["said"] == f"SCIM answers at {deployment.proxy.url}/_scim"
    assert findings["token"]["outcome"] == "open"


@pytest.mark.parametrize(
    ("changes", "about", "said"),
    [
        ({"modules": [scim_module({"pasword": {}})]}, "configuration", "'pasword' is not a setting"),
        ({"modules": []}, "configuration", "the module is not loaded"),
        ({"listeners": [http_listener("federation")]}, "listeners", "none of the main process serves clients"),
        ({"database": {"name": "sqlite3", "args": {"database": "/nowhere/at.all"}}}, "database", "there is no file"),
        (
            {"database": {"name": "psycopg2", "args": {"host": "127.0.0.1", "port": 1, "dbname": "x"}}},
            "database",
            "it cannot be used: ",
        ),
    ],
)
async def test_wrong_configuration_is_named(
    changes: dict[str, Any], about: str, said: str, deployment: Deployment, tmp_path: Path
) -> None:
    """What Synapse would not start with, and what it would not serve SCIM with."""
    configuration = yaml.safe_load(deployment.homeserver.write_configuration().read_text())
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({**configuration, **changes}))

    result = await invoke(["check", "--json", "--config", str(path)])

    assert result.exit_code == 1
    found = {finding["about"]: finding["said"] for finding in json.loads(result.stdout) if finding["outcome"] == "bad"}
    assert said in found[about], found


async def test_tables_of_another_version_are_named(deployment: Deployment) -> None:
    """They are those of a module that was installed and not started, or started and taken away."""
    pool = deployment.homeserver.hs.get_datastores().main.db_pool
    await pool.simple_insert("synapse_scim_schema", {"version": 999})

    findings = await deployment.check("--config", deployment.homeserver.write_configuration())

    assert "the module's tables have version 999" in bad(findings)["database"]


@pytest.mark.parametrize(
    ("settings", "outcome", "said"),
    [
        ({}, "good", "its token is good for users:read, users:write, until it is taken away"),
        ({"expires": "2099-01-01T00:00:00Z"}, "good", "until 2099-01-01"),
        ({"expires": (datetime.now(UTC) + timedelta(days=20)).isoformat()}, "bad", "its token expires on"),
    ],
)
async def test_what_a_client_is_good_for_is_told(
    settings: dict[str, Any], outcome: str, said: str, deployment: Deployment
) -> None:
    """The configuration tells it; what becomes of addresses, Synapse tells its administrators alone."""
    await deployment.homeserver.restart({"modules": [scim_module({"clients": [client("entra", **settings)]})]})
    deployment.proxy.target = deployment.homeserver.port
    deployment.line.token_path.write_text(token_of("entra"))

    findings = await deployment.check("--config", deployment.homeserver.write_configuration())

    assert findings["client entra"]["outcome"] == outcome
    assert said in findings["client entra"]["said"]
    assert findings["X-Forwarded-For"]["outcome"] == "open"


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("clients", "clients.<item 0>.token_paths.<item 0>"),
        ("jwt", "jwt.<item 0>.secret_path"),
        ("introspection", "introspection.<item 0>.client_secret_path"),
        ("cursor_secret_path", "cursor_secret_path"),
    ],
)
async def test_files_that_settings_name_are_read(
    setting: str, key: str, deployment: Deployment, tmp_path: Path
) -> None:
    """One that is not there, or holds something else, stops Synapse at its next start."""
    secret = tmp_path / "secret"
    settings: dict[str, Any] = {
        "clients": [{"name": "entra", "token_paths": [str(secret)]}],
        "jwt": [
            {
                "issuer": "https://issuer.example",
                "audience": "scim",
                "algorithms": ["HS256"],
                "secret_path": str(secret),
                "allowed_clients": ["entra"],
            }
        ],
        "introspection": [
            {
                "issuer": "https://issuer.example",
                "client_id": "synapse",
                "client_secret_path": str(secret),
                "allowed_clients": ["entra"],
            }
        ],
        "cursor_secret_path": str(secret),
    }
    configuration = yaml.safe_load(deployment.homeserver.write_configuration().read_text())
    path = tmp_path / "homeserver.yaml"
    path.write_text(yaml.safe_dump({**configuration, "modules": [scim_module({setting: settings[setting]})]}))

    assert f"'{key}'" in bad(await deployment.check("--config", path))[setting]

    secret.write_text("a-secret-that-is-long-enough-for-everything")
    assert (await deployment.check("--config", path))[setting]["outcome"] == "good"


async def test_the_secret_for_matrix_authentication_service_is_read(tmp_path: Path, deployment: Deployment) -> None:
    """It is the client's as which the module calls."""
    secret = tmp_path / "mas.secret"
    mas = {"client_id": "01ADM1NC11ENT0000000000000", "client_secret_path": str(secret)}
    configuration = yaml.safe_load(deployment.homeserver.write_configuration().read_text())
    path = tmp_path / "homeserver.yaml"
    path.write_text(yaml.safe_dump({**configuration, "modules": [scim_module({"mas": mas})]}))

    assert "'mas.client_secret_path'" in bad(await deployment.check("--config", path))["mas"]
    secret.write_bytes(b"\xff")
    assert "holds no text" in bad(await deployment.check("--config", path))["mas"]
    secret.write_text("of the client")
    assert (await deployment.check("--config", path))["mas"]["outcome"] == "good"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"settings": '{"guard": "other"}'}, "master, worker do not agree on guard"),
        ({"version": "0.0.0"}, "master, worker run different versions of the module"),
    ],
)
async def test_processes_that_differ_are_named(row: dict[str, Any], said: str, deployment: Deployment) -> None:
    """Every process of the homeserver has to serve the same SCIM."""
    pool = deployment.homeserver.hs.get_datastores().main.db_pool
    columns = ["instance", "version", "settings", "schedules", "seen_ts"]
    (found,) = await pool.simple_select_list("synapse_scim_processes", None, columns)
    await pool.simple_insert(
        "synapse_scim_processes", {**dict(zip(columns, found, strict=True)), "instance": "worker", **row}
    )

    findings = await deployment.check("--config", deployment.homeserver.write_configuration())

    assert said in bad(findings)["processes"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schedules": 0}, "none of master keeps the schedules"),
        ({"seen_ts": 1}, "none that serves SCIM shows a sign of life"),
    ],
)
async def test_processes_that_lack_something_are_named(
    change: dict[str, Any], said: str, deployment: Deployment
) -> None:
    """One has to be there, and one has to keep the schedules."""
    pool = deployment.homeserver.hs.get_datastores().main.db_pool
    await pool.simple_update("synapse_scim_processes", {"instance": "master"}, change, desc="test")
    # The homeserver goes on, and would mend it each minute.
    keep = "CREATE TRIGGER keep BEFORE UPDATE ON synapse_scim_processes BEGIN SELECT RAISE(IGNORE); END"
    await pool.runInteraction("test", lambda txn: txn.execute(keep))

    findings = await deployment.check("--config", deployment.homeserver.write_configuration())

    assert said in bad(findings)["processes"]
