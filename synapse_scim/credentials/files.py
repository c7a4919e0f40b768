"""Reads keys and secrets from files, again when they change."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from synapse_scim.accounts import Unavailable
from synapse_scim.config import FileRefused, read_file

T = TypeVar("T")

logger = logging.getLogger(__name__)


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
        return self._parse(read_file(self._path))
