"""The one place that speaks Synapse: everything else sees the protocols of `accounts` and `database`."""

from synapse.server import HomeServer

__all__ = ["HomeServer"]
