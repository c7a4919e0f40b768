"""The keys that an issuer signs with (RFC 7517)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Protocol

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

from synapse_scim.config import KEY_TYPES, FileRefused, Issuer, secret_of
from synapse_scim.credentials.discovery import discover
from synapse_scim.credentials.files import Watched
from synapse_scim.credentials.remembered import Remembered
from synapse_scim.web import WebClient, WebUnavailable, json_object

MAX_KEYS = 50
"""How many keys an issuer may publish: reading them holds up everything else."""

RSA_BITS = range(2048, 4096 + 1)
"""How long an RSA key may be: a shorter one is not safe (RFC 7518 §3.3), a longer one takes its time."""

_MAX_EXPONENT = 2**32

_READ = frozenset({"kty", "use", "key_ops", "alg", "kid", "n", "e", "crv", "x", "y"})
"""What is read of a key. Certificates, and where they are, are nobody's word here."""

_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "Ed25519": "Ed25519"}
_TYPES: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


class KeySource(Protocol):
    """Where the keys of an issuer come from."""

    async def keys(self) -> Sequence[Key]:
        """Return the keys, as they are or were not long ago.

        Raises:
            Unavailable: They are not to be had at the moment.
        """

    async def renewed(self) -> Sequence[Key]:
        """Return the keys as they are, as far as they may be looked at again.

        Raises:
            Unavailable: They are not to be had at the moment.
        """


class KeysInFile:
    """Keys, or a secret, in a file. A change of the file counts at once."""

    def __init__(self, path: str, parse: Callable[[bytes], Sequence[Key]]) -> None:
        """Read a file.

        Raises:
            FileRefused: It cannot be used.
        """
        self._file = Watched(path, parse)

    async def keys(self) -> Sequence[Key]:
        """Return the keys in the file."""
        return self._file.current()

    renewed = keys


class PublishedKeys:
    """Keys that an issuer publishes."""

    def __init__(self, issuer: Issuer, web: WebClient, now: Callable[[], datetime]) -> None:
        """Fetch nothing yet.

        Args:
            issuer: The issuer.
            web: Fetches its keys, and its metadata if that says where the keys are.
            now: Returns the time.
        """
        self._issuer = issuer
        self._web = web
        remembered = Remembered(f"The key set of {issuer.issuer}", self._fetch, web, now)
        self.keys = remembered.get
        self.renewed = remembered.renewed

    async def _fetch(self) -> Sequence[Key]:
        url = self._issuer.jwks_uri or await discover(self._web, self._issuer.issuer, "jwks_uri")
        try:
            return published_keys(await self._web.get(url), self._issuer.algorithms)
        except ValueError as error:
            raise WebUnavailable(str(error)) from None


def keys_in_file(issuer: Issuer) -> KeysInFile | None:
    """Return the keys of an issuer that come from a file; `None` if it publishes them.

    Raises:
        FileRefused: The file cannot be used.
    """
    if issuer.secret_path is not None:
        return KeysInFile(issuer.secret_path, lambda content: shared_secret(content, issuer.algorithms))
    if issuer.jwks_path is not None:
        return KeysInFile(issuer.jwks_path, lambda content: _key_set(content, issuer.algorithms))
    return None


def suits(key: Key, algorithm: str) -> bool:
    """Tell whether a key is one for an algorithm, and is meant to verify (RFC 7517 §4.2 to §4.4)."""
    return (
        key.key_type == KEY_TYPES[algorithm]
        and (algorithm not in _CURVES or key.get("crv") == _CURVES[algorithm])
        and key.get("alg") in (None, algorithm)
        and key.get("use") in (None, "sig")
        and (key.get("key_ops") is None or "verify" in (key.get("key_ops") or ()))
    )


def published_keys(content: bytes, algorithms: Collection[str]) -> Sequence[Key]:
    """Return the keys of a JWK Set that some algorithm can use; the others are ignored (RFC 7517 §5).

    Raises:
        ValueError: It is no JWK Set, or a very large one, or no key in it will do. The message shows no value.
    """
    try:
        entries = json_object(content).get("keys")
    except WebUnavailable:
        entries = None
    if not isinstance(entries, list):
        raise ValueError("it is no JWK Set")  # noqa: TRY004 - what is wrong is the value
    if len(entries) > MAX_KEYS:
        raise ValueError(f"it has more than {MAX_KEYS} keys")
    keys = [key for key in map(_imported, entries) if key and any(suits(key, algorithm) for algorithm in algorithms)]
    if not keys:
        raise ValueError("it has no key for the algorithms that are configured")
    return keys


def shared_secret(content: bytes, algorithms: Collection[str]) -> Sequence[Key]:
    """Return the secret that a file holds, as a key.

    Raises:
        FileRefused: It is too short for an algorithm (RFC 7518 §3.2), or no secret at all.
    """
    shared = secret_of(content)
    if shared.startswith((b"-----BEGIN", b"ssh-", b"ecdsa-")):
        raise FileRefused("holds a key or a certificate, not a secret")
    needed = max(int(algorithm.removeprefix("HS")) // 8 for algorithm in algorithms)
    if len(shared) < needed:
        raise FileRefused(f"holds a secret of less than {needed} bytes")
    return (OctKey.import_key(shared),)


def _key_set(content: bytes, algorithms: Collection[str]) -> Sequence[Key]:
    try:
        return published_keys(content, algorithms)
    except ValueError as error:
        raise FileRefused(f"will not do: {error}") from None


def _imported(entry: Any) -> Key | None:
    """Return a key of a JWK Set; `None` if it is none that could verify anything."""
    if not isinstance(entry, dict):
        return None
    public = {name: value for name, value in entry.items() if name in _READ}
    try:
        key_type = _TYPES[public["kty"]]
        if key_type is RSAKey:
            modulus, exponent = (int.from_bytes(urlsafe_b64decode(public[name].encode())) for name in ("n", "e"))
            if modulus.bit_length() not in RSA_BITS or exponent >= _MAX_EXPONENT:
                return None
        return key_type.import_key(public)
    except (JoseError, ValueError, TypeError, LookupError, AttributeError):
        # What all is raised for what all can be wrong with a key is nowhere written down.
        return None
