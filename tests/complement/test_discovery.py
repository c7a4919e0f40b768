"""MSC4098, "Endpoints": what a homeserver tells of its SCIM implementation (RFC 7644 §4)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.complement.client import USER, Scim, answer

MAPPED = {"userName", "password", "emails", "phoneNumbers", "displayName", "photos", "active"}
"""The rows of the MSC's table."""


def test_service_provider_config(scim: Scim) -> None:
    """It says of every optional feature whether there is one (RFC 7643 §5)."""
    config = answer(scim.request("GET", "/ServiceProviderConfig"), 200)

    for feature in ("patch", "bulk", "filter", "changePassword", "sort", "etag"):
        assert isinstance(config[feature]["supported"], bool)
    assert isinstance(config["authenticationSchemes"], list)


def test_users_are_a_resource_type(scim: Scim) -> None:
    """Users are at /Users (RFC 7643 §6)."""
    types = answer(scim.request("GET", "/ResourceTypes"), 200)

    (users,) = [found for found in types["Resources"] if found["endpoint"] == "/Users"]
    assert (users["name"], users["schema"]) == ("User", USER)


def test_schemas_have_the_mapped_attributes(scim: Scim) -> None:
    """Every attribute that the MSC maps is announced; `userName` must be there (RFC 7643 §4.1.1)."""
    schemas = answer(scim.request("GET", "/Schemas"), 200)

    (user,) = [schema for schema in schemas["Resources"] if schema["id"] == USER]
    attributes: dict[str, Any] = {attribute["name"]: attribute for attribute in user["attributes"]}
    assert attributes.keys() >= MAPPED
    assert attributes["userName"]["required"] is True
    assert attributes["password"]["returned"] == "never"


@pytest.mark.parametrize("path", ["/ServiceProviderConfig", "/ResourceTypes", "/Schemas"])
def test_discovery_needs_no_credentials(scim: Scim, path: str) -> None:
    """Whoever is to be configured asks before there are any (RFC 7644 §4)."""
    answer(scim.request("GET", path, token=None), 200)
