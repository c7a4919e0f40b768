"""Reads keys and secrets from files, again when they change."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from synapse_scim.accounts import Unavailable

T = TypeVar("T")

MAX_SIZE = 256 * 1024
"""The largest file, in bytes."""

logger = logging.getLogger(__name__)


class FileRefused(Exception):
    """A file cannot be used; the message shows nothing of what is in it."""


class Watched(Generic[T]):
    """What is in a file, as it is now."""

    def __init__(self, path: str, parse: Callable[[bytes], T]) -> None:
        """Read a file.

        Args:
            path: The file.
            parse: Returns what its content means, or raises `FileRefused`.

        Raises:
            FileRefused: It cannot be read, or holds something else.
        """
        self._path = Path(path)
        self._parse = parse
        self._state = self._seen()
        self._value: T | None = self._read()

    def current(self) -> T:
        """Return what is in the file.

        Raises:
            Unavailable: It cannot be used any more. The log says why, once.
        """
        state = self._seen()
        if state != self._state:
            self._state = state
            try:
                self._value = self._read()
            except FileRefused as error:
                self._value = None
                logger.error("The file %s %s", self._path, error)  # noqa: TRY400 - a traceback says nothing more
        if self._value is None:
            raise Unavailable("The homeserver cannot read a file with keys at the moment")
        return self._value

    def _seen(self) -> tuple[int, ...]:
        """Return what differs when the file does; nothing of a file that is not there."""
        try:
            status = self._path.stat()
        except OSError:
            return ()
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode

    def _read(self) -> T:
        try:
            # Whoever opens a pipe waits for its other end.
            if not stat.S_ISREG(self._path.stat().st_mode):
                raise FileRefused("is no regular file")
            with self._path.open("rb") as file:
                content = file.read(MAX_SIZE + 1)
        except OSError as error:
            raise FileRefused(f"cannot be read: {error.strerror}") from None
        if len(content) > MAX_SIZE:
            raise FileRefused("is too large")
        return self._parse(content)


def secret(content: bytes) -> bytes:
    """Return the secret that a file holds: all of it but blanks and line ends around it.

    Raises:
        FileRefused: There is none.
    """
    stripped = content.strip()
    if not stripped:
        raise FileRefused("is empty")
    return stripped
