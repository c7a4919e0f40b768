"""SCIM 2.0 provisioning for Synapse, the Matrix homeserver."""

from synapse_scim.module import ScimModule

__all__ = ["ScimModule"]
__version__ = "0.1.0"
