"""The configuration of homeservers under test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tests.support.databases import Database

SERVER_NAME = "example.org"
SHARED_SECRET = "registration"


def scim_module(config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return an entry of `modules` that loads this project's module with a configuration.

    By default it is empty, but for how often a server administrator may ask: some tests ask a thousand times.
    """
    base = {"limits": {"admin_rate": {"per_second": 1000, "burst_count": 10_000}}}
    return {"module": "synapse_scim.ScimModule", "config": merged(base, config or {})}


def http_listener(*resources: str, compress: bool = False, x_forwarded: bool = False) -> dict[str, Any]:
    """Return an entry of `listeners`: an HTTP listener on the loopback interface.

    Args:
        resources: What it serves: `client`, `federation`, `metrics`, `replication`...
        compress: Compress what clients accept compressed.
        x_forwarded: Trust `X-Forwarded-For`.
    """
    return {
        "type": "http",
        "port": 0,
        "bind_addresses": ["127.0.0.1"],
        "tls": False,
        "x_forwarded": x_forwarded,
        "resources": [{"names": list(resources), "compress": compress}],
    }


def homeserver_configuration(
    database: Database,
    *,
    log_config: Mapping[str, Any],
    module: Mapping[str, Any] | None,
    config: Mapping[str, Any] | None,
    listeners: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """Return a homeserver's configuration: Synapse's defaults, but for what a test cannot do with.

    Args:
        database: Its database, and where it writes its files; `log.yaml` is written there now.
        log_config: Its logging configuration.
        module: The one entry of `modules`, if any.
        config: What else the test wants, merged into the rest: mappings key by key, anything else replaced.
        listeners: Default: one that serves `client`.
    """
    folder = database.folder
    (folder / "log.yaml").write_text(yaml.safe_dump(dict(log_config)))
    configuration = {
        "server_name": SERVER_NAME,
        "public_baseurl": "https://matrix.example.org/",
        "pid_file": str(folder / "homeserver.pid"),
        "media_store_path": str(folder / "media"),
        "log_config": str(folder / "log.yaml"),
        "report_stats": False,
        "signing_key": "ed25519 a_test " + "A" * 43,
        "macaroon_secret_key": "macaroon",
        "form_secret": "form",
        "registration_shared_secret": SHARED_SECRET,
        # Nothing is asked of other servers.
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        # A password costs milliseconds, and many log in from one address.
        "bcrypt_rounds": 4,
        "rc_login": {
            limited: {"per_second": 1000, "burst_count": 1000} for limited in ("address", "account", "failed_attempts")
        },
        "database": database.configuration,
        "modules": [] if module is None else [module],
        # Listeners are known by their tags, which default to the port: not enough where each asks for port 0.
        "listeners": [
            {"tag": f"listener-{number}", **listener}
            for number, listener in enumerate(listeners or [http_listener("client")])
        ],
    }
    return merged(configuration, config or {})


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with changes: mappings are merged key by key, anything else is replaced."""
    return {
        **base,
        **{
            key: merged(base[key], value)
            if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
            else value
            for key, value in changes.items()
        },
    }
