"""Files that hold a token each."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import stat
import tempfile
from pathlib import Path

import attrs

logger = logging.getLogger(__name__)

MIN_LENGTH = 32
"""The fewest characters of a token: shorter ones are words that somebody thought of."""

_MOST_BYTES = 4096
_TOKEN = re.compile(rb"[!-~]+")
_SYNAPSE_TOKENS = (b"syt_", b"mat_", b"mct_")
"""What access tokens of Synapse, and of Matrix Authentication Service, begin with."""

_OTHERS = stat.S_IRWXO


class UnusableToken(Exception):
    """A file holds no token that can be used; the message says why, and not what it holds."""


def new_token() -> str:
    """Return a token with 256 bits of chance, in the characters that any client can send (RFC 6750 §2.1)."""
    return f"scim_{secrets.token_urlsafe(32)}"


def digest_of(token: str) -> bytes:
    """Return what tokens are compared by: it gives away neither the token nor, by the time it takes, a part of it."""
    return hashlib.sha256(token.encode()).digest()


def read_token(path: Path) -> str:
    """Return the token that a file holds, without the white space around it.

    Raises:
        UnusableToken: There is none.
    """
    try:
        # Whoever opens a pipe waits for its other end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnusableToken("it is no regular file")
        with path.open("rb") as file:
            token = file.read(_MOST_BYTES + 1).strip()
    except OSError as error:
        raise UnusableToken(str(error.strerror)) from None
    if not token:
        raise UnusableToken("the file is empty")
    if len(token) > _MOST_BYTES or not _TOKEN.fullmatch(token):
        raise UnusableToken("the file must hold one token, in ASCII and without blanks")
    if len(token) < MIN_LENGTH:
        raise UnusableToken(f"the token has less than {MIN_LENGTH} characters, and can be guessed")
    if token.startswith(_SYNAPSE_TOKENS):
        raise UnusableToken("it holds an access token of Synapse, which opens more than SCIM")
    return token.decode()


def write_token(path: Path, token: str, *, like: os.stat_result | None = None) -> None:
    """Write a token into a file that did not exist, whole or not at all.

    Args:
        path: The file.
        token: The token.
        like: The file whose owner and group shall be able to read it too; by default only the caller is.

    Raises:
        OSError: It cannot be written, or exists already.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            if like is not None:
                os.fchown(file.fileno(), like.st_uid, like.st_gid)
                os.fchmod(file.fileno(), like.st_mode & (stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP))
            file.write(f"{token}\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a renaming, this fails where somebody else made the file meanwhile.
        os.link(name, path)
    finally:
        Path(name).unlink()


def next_path(path: Path) -> Path:
    """Return the file beside a token's file that holds the token which is to follow it."""
    return path.with_name(f"{path.name}.next")


@attrs.define(kw_only=True)
class TokenFile:
    """A file that holds a token, and may be changed at any time.

    Each request looks whether it was, by its status alone: that takes some microseconds, and a token that was taken
    away lets nobody in any more.

    Attributes:
        client: Whose token it is.
        path: The file.
        optional: Whether it may be missing.
    """

    client: str
    path: Path
    optional: bool = False
    _status: tuple[int, ...] | None = attrs.field(default=None, init=False)
    _digest: bytes | None = attrs.field(default=None, init=False, repr=False)

    def load(self) -> None:
        """Read the file for the first time.

        Raises:
            UnusableToken: It holds no token.
        """
        self._status = self._current_status()
        self._digest = self._read()

    def digest(self) -> bytes | None:
        """Return the digest of the token that the file holds now; `None`, which is logged, if it holds none."""
        status = self._current_status()
        if status != self._status:
            self._status, self._digest = status, None
            if status is None and self.optional:
                logger.info("The token of the SCIM client %s in %s is not valid any more", self.client, self.path)
                return None
            try:
                self._digest = self._read()
                logger.info("Read the token of the SCIM client %s from %s", self.client, self.path)
            except UnusableToken as error:
                logger.error(  # noqa: TRY400 - it says all there is to say
                    "A token of the SCIM client %s is lost; %s cannot be used: %s", self.client, self.path, error
                )
        return self._digest

    def _read(self) -> bytes:
        digest = digest_of(read_token(self.path))
        if self.path.stat().st_mode & _OTHERS:
            logger.warning(
                "Everybody on this machine has access to the token of the SCIM client %s in %s; mode 0600 keeps it",
                self.client,
                self.path,
            )
        return digest

    def _current_status(self) -> tuple[int, ...] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
