"""Reads the files that the configuration names."""

from __future__ import annotations

import stat
from pathlib import Path

from synapse_scim.config.schema import ConfigurationError

MAX_SIZE = 256 * 1024
"""The largest file, in bytes."""


class FileRefused(Exception):
    """A file cannot be used; the message shows nothing of what is in it."""


def read_file(path: Path) -> bytes:
    """Return what is in a file.

    Raises:
        FileRefused: It cannot be read.
    """
    try:
        # Whoever opens a pipe waits for its other end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileRefused("is no regular file")
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise FileRefused(f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_SIZE:
        raise FileRefused("is too large")
    return content


def secret_of(content: bytes) -> bytes:
    """Return the secret that a file holds: all of it but blanks and line ends around it.

    Raises:
        FileRefused: There is none.
    """
    stripped = content.strip()
    if not stripped:
        raise FileRefused("is empty")
    return stripped


def read_secret(path: str, *setting: str) -> bytes:
    """Return the secret in the file that a setting names.

    Raises:
        ConfigurationError: There is none.
    """
    try:
        return secret_of(read_file(Path(path)))
    except FileRefused as error:
        raise ConfigurationError(setting, f"names a file that {error}") from None
