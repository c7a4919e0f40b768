"""The homeserver's configuration and database, without the homeserver: for commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TypeVar

from synapse.config._base import ConfigError
from synapse.config.homeserver import HomeServerConfig
from synapse.storage.database import make_conn
from synapse.storage.engines import create_engine

from synapse_scim.config import Config
from synapse_scim.database import Transaction

T = TypeVar("T")


def load(config_paths: Sequence[str]) -> HomeServerConfig:
    """Return a homeserver's configuration.

    Args:
        config_paths: The configuration files, as Synapse takes them.

    Raises:
        ConfigError: Synapse, or the module, refuses it.
    """
    arguments = [argument for path in config_paths for argument in ("--config-path", path)]
    return HomeServerConfig.load_config("synapse-scim", arguments)


def read_module_config(config_paths: Sequence[str]) -> Config:
    """Return the module's part of a homeserver's configuration.

    Args:
        config_paths: The configuration files, as Synapse takes them.

    Raises:
        ConfigError: Synapse cannot read the configuration, or loads no such module.
    """
    for _, config in load(config_paths).modules.loaded_modules:
        if isinstance(config, Config):
            return config
    raise ConfigError("it does not load synapse_scim.ScimModule")


def run_offline(config_paths: Sequence[str], name: str, function: Callable[[Transaction], T]) -> T:
    """Run a function in a transaction of the database that a homeserver's configuration names.

    Args:
        config_paths: The configuration files, as Synapse takes them.
        name: What the database's log calls the transaction.
        function: The function.

    Raises:
        ConfigError: Synapse cannot read the configuration.
    """
    config = load(config_paths)
    database = config.database.get_single_database()
    engine = create_engine(database.config)
    with closing(
        make_conn(db_config=database, engine=engine, default_txn_name=name, server_name=config.server.server_name)
    ) as connection:
        result = function(connection.cursor(txn_name=name))
        connection.commit()
        return result


def names_postgresql(config_paths: Sequence[str]) -> bool:
    """Tell whether the database that a homeserver's configuration names is PostgreSQL.

    Raises:
        ConfigError: Synapse cannot read the configuration.
    """
    return load(config_paths).database.get_single_database().config["name"] == "psycopg2"
