"""Homeservers forked from a process that has imported Synapse: they start in a fraction of the time.

Run as a program, this is that process. Each connection to its socket is the life of one homeserver: it begins with the
folder to run in, the answer is the process ID, and whoever is left sees by its end that the other one is gone.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.child import end_child, start_child, tail
from tests.support.process import program

_SECONDS = 60
_IMPORTED = ("synapse.app.homeserver", "synapse.app.generic_worker", "synapse_scim.module", "tests.support.mortal")


class Zygote:
    """The process, as the tests see it. It runs from construction to `stop`."""

    def __init__(self) -> None:
        """Start it. The first homeserver waits until it has imported everything."""
        self._folder = tempfile.TemporaryDirectory(prefix="zygote-")
        self._socket = Path(self._folder.name, "socket")
        self._output = Path(self._folder.name, "output")
        self._process = start_child(
            [sys.executable, "-m", __name__, self._socket],
            folder=Path(self._folder.name),
            output=self._output,
            environment={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))},
        )

    def launch(self, folder: Path, output: Path, worker: str | None = None) -> Forked:
        """Start the homeserver whose `homeserver.yaml` is in a folder.

        Args:
            folder: Its working directory.
            output: The file to which it writes what it prints.
            worker: Start this worker of it.

        Raises:
            RuntimeError: The process has not come up; the text is what it printed.
        """
        connection = socket.socket(socket.AF_UNIX)
        give_up = time.monotonic() + _SECONDS
        while True:
            try:
                connection.connect(os.fspath(self._socket))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if self._process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError(f"The zygote did not start:\n{tail(self._output)}") from None
                time.sleep(0.02)
        connection.sendall("\0".join([f"{folder}", f"{output}", *program(worker)]).encode() + b"\n")
        return Forked(connection)

    def stop(self) -> None:
        """Stop it, and remove its files."""
        with self._folder:
            end_child(self._process, signal.SIGKILL)


class Forked:
    """A homeserver that was forked. It dies with the tests."""

    def __init__(self, connection: socket.socket) -> None:
        """Learn its process ID."""
        self._connection = connection
        self._process_id = int(connection.makefile().readline())

    def poll(self) -> int | None:
        """Return `None` while it runs."""
        try:
            self._connection.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            pass
        return 0

    def end(self, number: signal.Signals) -> None:
        """Send it a signal if it runs, and wait for its end.

        Raises:
            TimeoutError: It did not end in time.
        """
        with self._connection:
            if self.poll() is None:
                # It may end by itself in this moment.
                with suppress(ProcessLookupError):
                    os.kill(self._process_id, number)
            self._connection.settimeout(_SECONDS)
            with suppress(ConnectionResetError):
                self._connection.recv(1)


def _serve(path: str) -> None:
    """Fork a homeserver for each connection."""
    # As Synapse's own forking launcher does: whatever is imported gets a reactor that each child fills in.
    from synapse.app.complement_fork_proxied_reactor import ProxiedReactor  # noqa: PLC0415 - before other imports
    from twisted.internet.main import installReactor  # noqa: PLC0415

    reactor = ProxiedReactor()
    installReactor(reactor)
    imported = {name: import_module(name) for name in _IMPORTED}
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            folder, output, module, *arguments = connection.makefile().readline().rstrip("\n").split("\0")
            if not os.fork():
                listener.close()
                sys.argv = ["synapse", *arguments]
                _become_homeserver(Path(folder), Path(output), connection, reactor, imported[module].main)
            connection.close()


def _become_homeserver(
    folder: Path, output: Path, connection: socket.socket, reactor: Any, main: Callable[[], None]
) -> None:
    """Be a homeserver, and never return."""
    os.setsid()
    os.chdir(folder)
    printed = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(printed, stream)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def die_with_the_tests() -> None:
        connection.recv(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die_with_the_tests, daemon=True).start()
    connection.sendall(f"{os.getpid()}\n".encode())
    try:
        from twisted.internet.epollreactor import EPollReactor  # noqa: PLC0415

        reactor._install_real_reactor(EPollReactor())
        main()
    except BaseException:  # noqa: BLE001 - whatever it is, it goes where this process prints
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    _serve(sys.argv[1])
