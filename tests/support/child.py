"""Child processes that do not outlive the tests."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# The program takes the shell's place, so its process ID and exit code are the ones the test sees. Beside it, a reader
# of the pipe that is standard input: a line dismisses it; it closes without one when the test's process was killed.
_SCRIPT = 'signal=$1; shift; exec 3<&0; { read -r _ || kill -s "$signal" $$; } <&3 & exec "$@" 3<&- </dev/null'


def start_child(
    arguments: Sequence[str | Path],
    *,
    folder: Path,
    output: Path,
    last_signal: str = "KILL",
    environment: Mapping[str, str] | None = None,
    account: Mapping[str, Any] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program that gets a signal when this process ends, be it by SIGKILL.

    It runs in a session of its own, so that Ctrl-C in a terminal reaches the tests alone, which then stop it in order.

    Args:
        arguments: The program and its arguments.
        folder: Its working directory.
        output: The file to which it writes what it prints.
        last_signal: The signal's name, without `SIG`.
        environment: Its environment. Default: this process's own.
        account: The account to run it as: `user`, `group` and `extra_groups` of `subprocess.Popen`.
    """
    with output.open("ab") as printed:
        return subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "sh", last_signal, *arguments],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            **(account or {}),
        )


def end_child(child: subprocess.Popen[bytes], signal: int, seconds: float = 30) -> None:
    """Send a signal to a child and wait for its end.

    Raises:
        subprocess.TimeoutExpired: It did not end in time, and was killed.
    """
    if child.stdin is None:
        raise ValueError("Only for what start_child started.")
    with contextlib.suppress(BrokenPipeError), child.stdin:  # Broken: the child's whole session was killed.
        child.stdin.write(b"\n")
    child.send_signal(signal)
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        raise


def free_port() -> int:
    """Return a TCP port of the loopback interface on which nothing listens now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def tail(path: Path, lines: int = 60) -> str:
    """Return the last lines of a text file, to show in a failure."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
