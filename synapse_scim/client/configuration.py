"""A homeserver's configuration and database, as its files name them: whatever is wrong with them is said in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import TypeVar

from synapse.module_api.errors import ConfigError
from yaml import YAMLError

from synapse_scim.client.trouble import Trouble
from synapse_scim.database import Transaction
from synapse_scim.homeserver.description import Description, Unusable, describe, query_offline

T = TypeVar("T")


def described(config_paths: Sequence[str]) -> Description:
    """Return what configuration files say.

    Raises:
        Unusable: Synapse, or the module, refuses them, or they cannot be read at all.
    """
    try:
        with _unwarned():
            return describe(config_paths)
    except YAMLError as error:
        raise Unusable(f"it is no YAML: {' '.join(str(error).split())}") from None
    except (AttributeError, ImportError) as error:
        raise Unusable(f"a module that it names cannot be loaded: {error}") from None


def query(config_paths: Sequence[str], function: Callable[[Transaction], T]) -> T:
    """Run a function in a transaction of the database that files name which can be read.

    Raises:
        Unusable: There is no such database, or it has not what the function asks for.
    """
    with _unwarned():
        return query_offline(config_paths, function)


@contextmanager
def configured(config_paths: Sequence[str]) -> Iterator[None]:
    """Let the block read configuration files, and the database that they name.

    Raises:
        Trouble: They cannot be used.
    """
    try:
        with _unwarned():
            yield
    except Unusable as error:
        raise Trouble(
            f"The database cannot be used: {error}. If it lacks a table, this version of the module has yet to start"
        ) from None
    except (AttributeError, ConfigError, ImportError, YAMLError) as error:
        raise Trouble(f"Synapse cannot use its configuration: {_problem(config_paths, error)}") from error


def _problem(config_paths: Sequence[str], error: Exception) -> str:
    """Return what is wrong with configuration files: Synapse's own error holds one half of it."""
    try:
        described(config_paths)
    except Unusable as unusable:
        return str(unusable).strip()
    return str(error)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Keep to itself what Synapse prints each time that it reads a configuration which could be better."""
    with redirect_stderr(StringIO()):
        yield
