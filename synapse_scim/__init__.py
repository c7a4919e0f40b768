"""SCIM 2.0 provisioning for Synapse, the Matrix homeserver."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synapse_scim.module import ScimModule

__all__ = ["ScimModule"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the module when Synapse asks for it: that takes seconds, in which no command could say a word."""
    if name in __all__:
        return getattr(import_module("synapse_scim.module"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
