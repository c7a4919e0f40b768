"""The homeserver's database, without the homeserver: for commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TypeVar

from synapse.config.homeserver import HomeServerConfig
from synapse.storage.database import make_conn
from synapse.storage.engines import create_engine

from synapse_scim.database import Transaction

T = TypeVar("T")


def run_offline(config_paths: Sequence[str], name: str, function: Callable[[Transaction], T]) -> T:
    """Run a function in a transaction of the database that a homeserver's configuration names.

    Args:
        config_paths: The configuration files, as Synapse takes them.
        name: What the database's log calls the transaction.
        function: The function.

    Raises:
        ConfigError: Synapse cannot read the configuration.
    """
    arguments = [argument for path in config_paths for argument in ("--config-path", path)]
    config = HomeServerConfig.load_config("synapse-scim", arguments)
    database = config.database.get_single_database()
    engine = create_engine(database.config)
    with closing(
        make_conn(db_config=database, engine=engine, default_txn_name=name, server_name=config.server.server_name)
    ) as connection:
        result = function(connection.cursor(txn_name=name))
        connection.commit()
        return result
