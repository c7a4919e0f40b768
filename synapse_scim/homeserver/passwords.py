"""Hashes of passwords, and of none."""

from __future__ import annotations

import hashlib
import secrets


def digest(password_hash: str) -> str:
    """Return what is written down of a hash: enough to know it again, and of no use to anybody."""
    return hashlib.sha256(password_hash.encode()).hexdigest()


def nobodys_hash() -> str:
    """Return what looks like the bcrypt hash of a password, and is that of none.

    An account is registered with it and loses it at once: until then it tells whose registration made the account.
    """
    return f"$2b$12${secrets.token_hex(11)[:21]}.{secrets.token_hex(16)[:31]}"
