"""The module's configuration: names, defaults and rules."""

from synapse_scim.config.parsing import TEMPLATES, parse
from synapse_scim.config.schema import SCHEMA, ConfigurationError
from synapse_scim.config.settings import (
    DEFAULT_DOMAIN,
    Adopt,
    Client,
    Config,
    Deleted,
    Guard,
    Inactive,
    Limits,
    Network,
    Password,
    Photos,
    Rate,
    RoomSuccession,
    Scope,
    Sso,
    Threepids,
    Visibility,
)

__all__ = [
    "DEFAULT_DOMAIN",
    "SCHEMA",
    "TEMPLATES",
    "Adopt",
    "Client",
    "Config",
    "ConfigurationError",
    "Deleted",
    "Guard",
    "Inactive",
    "Limits",
    "Network",
    "Password",
    "Photos",
    "Rate",
    "RoomSuccession",
    "Scope",
    "Sso",
    "Threepids",
    "Visibility",
    "parse",
]
