"""What the service announces: resource types, schemas and capabilities. What is announced works."""

from __future__ import annotations

from typing import Any, cast

from scim2_models import (
    Bulk,
    ChangePassword,
    ETag,
    Filter,
    Pagination,
    Patch,
    Path,
    Resource,
    ResourceType,
    SCIMException,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
)

from synapse_scim.config import Config
from synapse_scim.mapping.schema import EnterpriseUser, MatrixUser, user_model
from synapse_scim.protocol.schemes import authentication_schemes

CURSOR_TIMEOUT_S = 24 * 60 * 60
"""How long a cursor can be used, at least (RFC 9865 §4)."""

DEFAULT_PAGE_SIZE = 100

POLICY = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)
"""What identity providers may do beyond the RFCs: send attributes that nobody declared, and patch as Entra ID does."""


def provider(config: Config, *, passwords: bool) -> ScimProvider:
    """Return the description of the service.

    Args:
        config: The module's configuration.
        passwords: Whether the homeserver keeps passwords.
    """
    user = user_model(passwords=passwords)
    user_type = ResourceType.from_resource(cast("Any", user)[EnterpriseUser | MatrixUser])
    user_type.description = "A person with an account on this Matrix homeserver"
    return ScimProvider(
        models=[user, EnterpriseUser, MatrixUser],
        resource_types=[user_type],
        config=_capabilities(config, passwords=passwords),
        policy=POLICY,
    )


def composed_user(description: ScimProvider) -> type[Resource[Any]]:
    """Return the model of a User with its extensions."""
    return cast("type[Resource[Any]]", description.model_for(description.resource_types[0]))


def is_attribute(model: type[Resource[Any]], path: str) -> bool:
    """Tell whether a path names an attribute, or a sub-attribute, of a User (RFC 7644 §3.10)."""
    try:
        return "[" not in path and Path[model](path).resolve() is not None  # type: ignore[valid-type]
    except SCIMException:
        return False


def _capabilities(config: Config, *, passwords: bool) -> ServiceProviderConfig:
    limits = config.limits
    writes = not config.read_only
    return ServiceProviderConfig(
        patch=Patch(supported=writes),
        bulk=Bulk(supported=writes, max_operations=limits.bulk_operations, max_payload_size=limits.bulk_body_size),
        filter=Filter(supported=True, max_results=limits.page_size),
        change_password=ChangePassword(supported=passwords and writes),
        sort=Sort(supported=True),
        etag=ETag(supported=True),
        pagination=Pagination(
            cursor=True,
            index=True,
            default_pagination_method=Pagination.DefaultPaginationMethod.index,
            default_page_size=min(DEFAULT_PAGE_SIZE, limits.page_size),
            max_page_size=limits.page_size,
            cursor_timeout=CURSOR_TIMEOUT_S,
        ),
        authentication_schemes=authentication_schemes(config),
    )
