"""A homeserver of several processes, which share PostgreSQL and Redis."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import attrs
import yaml

from tests.support.child import free_port
from tests.support.configuration import http_listener, merged, scim_module
from tests.support.databases import Databases
from tests.support.process import (
    Launch,
    Program,
    SpawnedHomeserver,
    log_configuration,
    spawn_homeserver,
)
from tests.support.redis import Redis

WORKERS: Mapping[str, Mapping[str, Any]] = {"w1": {}, "w2": {}}
"""Two generic workers."""

EVENTS_ON_A_WORKER: Mapping[str, Any] = {
    "stream_writers": {"events": ["w1"]},
    "include_profile_updates_in_sync": True,
}
"""What makes `w1` the process that writes profiles."""


@attrs.frozen(kw_only=True)
class Cluster:
    """A main process and its workers."""

    main: SpawnedHomeserver
    workers: Mapping[str, SpawnedHomeserver]
    redis: Redis

    @property
    def processes(self) -> tuple[SpawnedHomeserver, ...]:
        """All of them, the main process first."""
        return (self.main, *self.workers.values())

    def start(self) -> None:
        """Start all, the main process first."""
        for process in self.processes:
            process.start()

    def wait_until_ready(self) -> None:
        """Wait until every process that has the module serves SCIM."""
        for process in self.processes:
            process.wait_until_logged("SCIM is ready")

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute a statement beside Synapse, and return the rows that it finds."""
        return self.main._database.execute(statement)

    def remove(self) -> None:
        """End everything, and remove what it wrote."""
        for process in (*self.workers.values(), self.main):
            process.remove()
        self.redis.remove()


SpawnCluster = Callable[..., Coroutine[Any, Any, Cluster]]
"""What the fixture `spawn_cluster` is: the function below, given its first argument."""


async def spawn_cluster(
    databases: Databases,
    *,
    workers: Mapping[str, Mapping[str, Any]] = WORKERS,
    module: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    launch: Launch = Program,
) -> Cluster:
    """Return a homeserver of several processes that is ready to be started.

    Args:
        databases: Where the database comes from.
        workers: The workers by name, with what their own configuration has besides; `resources` is what a worker's
            listener serves, `client` by default.
        module: The one entry of `modules`. Default: this project's module.
        config: Changes to the configuration that all share.
        launch: How the processes are started.
    """
    redis = Redis()
    replication = {name: free_port() for name in ("main", *workers)}
    shared = {
        "redis": {"enabled": True, "host": "127.0.0.1", "port": redis.port},
        "worker_replication_secret": "between-the-processes",
        "instance_map": {name: {"host": "127.0.0.1", "port": port} for name, port in replication.items()},
    }
    main = await spawn_homeserver(
        databases,
        engine="postgres",
        module=module or scim_module(),
        config=merged(shared, config or {}),
        listeners=[http_listener("client"), {**http_listener("replication"), "port": replication["main"]}],
        launch=launch,
    )
    database = attrs.evolve(main._database, drop=lambda: None)
    spawned = {}
    for name, own in workers.items():
        resources = own.get("resources", ["client"])
        log_config = database.folder / f"{name}.log.yaml"
        log_config.write_text(yaml.safe_dump(log_configuration(database.folder / f"{name}.log")))
        configuration = {
            "worker_app": "synapse.app.generic_worker",
            "worker_name": name,
            "worker_log_config": str(log_config),
            "worker_listeners": [
                {**http_listener(*resources), "port": free_port()},
                {**http_listener("replication"), "port": replication[name]},
            ],
            **{key: value for key, value in own.items() if key != "resources"},
        }
        spawned[name] = SpawnedHomeserver(configuration, database, launch, name)
    return Cluster(main=main, workers=spawned, redis=redis)
