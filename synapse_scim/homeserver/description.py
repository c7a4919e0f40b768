"""What a homeserver's configuration says of it, without the homeserver: for commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
from synapse.config._base import ConfigError, format_config_error
from synapse.storage.engines import create_engine

from synapse_scim.config import Config
from synapse_scim.database import Transaction
from synapse_scim.homeserver.offline import load, run_offline

T = TypeVar("T")


class Unusable(Exception):
    """The configuration, or the database that it names, cannot be used; the message says why."""


@attrs.frozen(kw_only=True)
class Description:
    """A homeserver, as configured.

    Attributes:
        server_name: Its name.
        public_baseurl: Where clients reach it, with a slash at its end.
        module: The module's configuration; `None` if the module is not loaded.
        client_listeners: The listeners of its main process that serve clients, by tag or port.
        trusts_proxy: Whether one of these believes `X-Forwarded-For`.
    """

    server_name: str
    public_baseurl: str
    module: Config | None
    client_listeners: tuple[str, ...]
    trusts_proxy: bool


def describe(config_paths: Sequence[str]) -> Description:
    """Return what the configuration files say.

    Raises:
        Unusable: Synapse, or the module, refuses them.
    """
    try:
        config = load(config_paths)
    except ConfigError as error:
        raise Unusable("".join(format_config_error(error))) from None
    listeners = {
        listener.get_site_tag(): listener.http_options
        for listener in config.server.listeners
        if listener.http_options is not None
        and any("client" in resource.names for resource in listener.http_options.resources)
    }
    modules: list[tuple[type, Any]] = config.modules.loaded_modules
    return Description(
        server_name=config.server.server_name,
        public_baseurl=config.server.public_baseurl,
        module=next((module for _, module in modules if isinstance(module, Config)), None),
        client_listeners=tuple(listeners),
        trusts_proxy=any(options.x_forwarded for options in listeners.values()),
    )


def query_offline(config_paths: Sequence[str], function: Callable[[Transaction], T]) -> T:
    """Run a function in a transaction of the homeserver's database.

    Raises:
        Unusable: There is no such database, or it has not what the function asks for.
    """
    database = load(config_paths).database.get_single_database().config
    engine = create_engine(database)
    path = database["args"].get("database", "")
    if database["name"] == "sqlite3" and not Path(path).is_file():
        # SQLite would make it.
        raise Unusable(f"there is no file {path}")
    try:
        return run_offline(config_paths, "synapse_scim_check", function)
    except engine.module.Error as error:
        raise Unusable(str(error).strip().partition("\n")[0]) from None
