"""A real Synapse homeserver in a process of its own."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import attrs
import yaml

from tests.support.child import end_child, free_port, start_child, tail
from tests.support.confidential import check_log, keep_secret
from tests.support.configuration import SHARED_SECRET, homeserver_configuration, http_listener, scim_module
from tests.support.databases import Database, Databases, Engine

_SCIM_MODULE = scim_module()
_SECONDS = 60
# Whatever proxy the environment names: it could not reach the loopback interface.
_DIRECTLY = build_opener(ProxyHandler({}))


@attrs.frozen(kw_only=True)
class Exit:
    """How a process ended."""

    code: int
    output: str
    """What it printed, to standard output and standard error."""


class Process(Protocol):
    """A process that runs a homeserver."""

    def poll(self) -> int | None:
        """Return `None` while it runs."""

    def end(self, number: signal.Signals) -> None:
        """Send it a signal, and wait for its end."""


Launch = Callable[[Path, Path, str | None], Process]
"""Starts the homeserver whose `homeserver.yaml` is in a folder, or a worker of that name; the output goes to a file."""


def program(worker: str | None) -> list[str]:
    """Return the module and the arguments that run the homeserver, or a worker of that name."""
    if worker is None:
        return ["synapse.app.homeserver", "--config-path", "homeserver.yaml"]
    configuration = ["--config-path", "homeserver.yaml", "--config-path", f"{worker}.yaml"]
    return ["synapse.app.generic_worker", *configuration]


class Program:
    """A homeserver started as `python -m synapse.app.homeserver`, or a worker."""

    def __init__(self, folder: Path, output: Path, worker: str | None = None) -> None:
        """Start it."""
        module, *arguments = program(worker)
        self._child = start_child(
            [sys.executable, "-m", module, *arguments],
            folder=folder,
            output=output,
            # It sees the modules that the tests see.
            environment={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._child.pid

    def poll(self) -> int | None:
        """Return its exit code, or `None` while it runs."""
        return self._child.poll()

    def wait(self, seconds: float) -> int:
        """Wait for its end and return its exit code."""
        return self._child.wait(seconds)

    def end(self, number: signal.Signals) -> None:
        """Send it a signal, and wait for its end."""
        end_child(self._child, number)


class SpawnedHomeserver:
    """A homeserver in a process of its own. Made by `spawn_homeserver`.

    Its methods block: in an asynchronous test the reactor stands still while it starts, and nothing needs it then.
    """

    def __init__(
        self,
        configuration: Mapping[str, Any],
        database: Database,
        launch: Launch = Program,
        worker: str | None = None,
    ) -> None:
        """Describe a homeserver that does not run yet.

        Args:
            configuration: Synapse's configuration; a worker's own part of it.
            database: Its database and its files, removed by `remove`.
            launch: How its process is started.
            worker: The worker's name, if it is one; `homeserver.yaml` is there already.
        """
        listeners = configuration["listeners" if worker is None else "worker_listeners"]
        self.ports: tuple[int, ...] = tuple(listener["port"] for listener in listeners)
        """The port of each listener, in the order of the configuration."""
        self.name = worker or "homeserver"
        self._worker = worker
        self._database = database
        self._folder = database.folder
        self._output = self._folder / f"{self.name}.output"
        self._launch = launch
        self._process: Process | None = None
        (self._folder / f"{self.name}.yaml").write_text(yaml.safe_dump(dict(configuration)))

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return self.ports[0]

    @property
    def url(self) -> str:
        """The address of the first listener, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The ID of its process.

        Raises:
            TypeError: It does not run, or was forked.
        """
        if not isinstance(self._process, Program):
            raise TypeError("The homeserver does not run in a process that was started for it.")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until its first listener answers.

        Raises:
            RuntimeError: It did not; the text is what it printed and the end of its log.
        """
        self._output.unlink(missing_ok=True)
        self._process = process = self._launch(self._folder, self._output, self._worker)
        give_up = time.monotonic() + _SECONDS
        while process.poll() is None and time.monotonic() < give_up:
            try:
                _DIRECTLY.open(f"{self.url}/health", timeout=5).close()
            except (URLError, ConnectionError):
                time.sleep(0.02)
            else:
                return
        self.kill()
        raise RuntimeError(f"The homeserver did not start:\n{tail(self._output)}\n{self.log()}")

    def run_until_exit(self) -> Exit:
        """Start it in the belief that it will refuse to run, and wait for its end."""
        self._output.unlink(missing_ok=True)
        self._process = process = Program(self._folder, self._output, self._worker)
        try:
            code = process.wait(_SECONDS)
        finally:
            self.kill()
        return Exit(code=code, output=self._output.read_text())

    def stop(self) -> None:
        """Ask it to stop, and wait for its end. It can be started again."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it as a crash would. It can be started again."""
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        """Kill it if it runs, and remove its files and its database.

        Raises:
            Leaked: It logged what nobody may read in a log.
        """
        if self._process is not None:
            self.kill()
        log = self.log()
        self._database.drop()
        check_log(log)

    def log(self) -> str:
        """Return what it has logged so far, from INFO up, and from DEBUG up what the module logged."""
        log = self._folder / f"{self.name}.log"
        return log.read_text() if log.exists() else ""

    def wait_until_logged(self, text: str) -> None:
        """Wait until the log has a text.

        Raises:
            TimeoutError: It has not got it; the message is the log.
        """
        give_up = time.monotonic() + _SECONDS
        while text not in self.log():
            if time.monotonic() > give_up:
                raise TimeoutError(self.log())
            time.sleep(0.02)

    def register_admin(self, localpart: str = "admin", secret: str = SHARED_SECRET) -> str:
        """Register a server admin by the shared secret and return an access token of theirs."""
        url = f"{self.url}/_synapse/admin/v1/register"
        nonce = _json(url)["nonce"]
        fields = [nonce, localpart, "password", "admin"]
        mac = hmac.new(secret.encode(), "\0".join(fields).encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": localpart, "password": "password", "admin": True, "mac": mac}
        token: str = _json(url, json.dumps(body).encode())["access_token"]
        keep_secret(token)
        return token

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("The homeserver does not run.")
        process, self._process = self._process, None
        process.end(number)


SpawnHomeserver = Callable[..., Awaitable[SpawnedHomeserver]]
"""What the fixture `spawn_homeserver` is: the function below, given its first argument."""


async def spawn_homeserver(
    databases: Databases,
    *,
    engine: Engine = "sqlite",
    module: Mapping[str, Any] | None = _SCIM_MODULE,
    config: Mapping[str, Any] | None = None,
    listeners: Sequence[Mapping[str, Any]] | None = None,
    launch: Launch = Program,
) -> SpawnedHomeserver:
    """Return a homeserver that is ready to be started, with a database and a folder of its own.

    Args:
        databases: Where the database comes from.
        engine: Which database engine.
        module: The one entry of `modules`; None for no module.
        config: Changes to the configuration: mappings are merged key by key, anything else is replaced.
        listeners: Its listeners, see `http_listener`; those on port 0 get free ports. Default: one for `client`.
        launch: How its process is started.
    """
    database = await databases.create(engine)
    configuration = homeserver_configuration(
        database,
        log_config=log_configuration(database.folder / "homeserver.log"),
        module=module,
        config=config,
        listeners=[
            {**listener, "port": listener["port"] or free_port()} for listener in listeners or [http_listener("client")]
        ],
    )
    return SpawnedHomeserver(configuration, database, launch)


def log_configuration(path: Path) -> dict[str, Any]:
    """Return a logging configuration that writes to a file."""
    line = "%(asctime)s - %(name)s - %(lineno)d - %(levelname)s - %(request)s - %(message)s"
    return {
        "version": 1,
        "formatters": {"line": {"format": line}},
        "handlers": {"file": {"class": "logging.FileHandler", "formatter": "line", "filename": str(path)}},
        "root": {"level": "INFO", "handlers": ["file"]},
        "loggers": {"synapse_scim": {"level": "DEBUG"}},
        "disable_existing_loggers": False,
    }


def _json(url: str, body: bytes | None = None) -> Any:
    with _DIRECTLY.open(url, body, timeout=_SECONDS) as response:
        return json.load(response)
