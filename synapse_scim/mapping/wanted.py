"""The state of a User that a request asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from scim2_models import InvalidValueException, Resource

from synapse_scim.accounts import MAX_PASSWORD_LENGTH
from synapse_scim.mapping.identifiers import checked_external_id, checked_user_name
from synapse_scim.mapping.schema import ENTERPRISE_SCHEMA, MATRIX_SCHEMA

_NOT_KEPT = frozenset({"schemas", "id", "externalId", "meta", "userName", "active", "password", MATRIX_SCHEMA})


@attrs.frozen(kw_only=True)
class WantedUser:
    """The state that a request asks for, checked as far as it can be without the account.

    Attributes:
        user_name: In NFC.
        external_id: `None` for none.
        active: `None` where the request unassigns it, or does not say.
        states_active: Whether the request itself says what `active` shall be.
        removes_password: Whether the account shall have no password.
        password: `None` where it stays.
        attributes: What is kept as sent, by SCIM names.
        photo: What the avatar is made of, if `photos` does not say that.
    """

    user_name: str
    external_id: str | None
    active: bool | None
    password: str | None = attrs.field(repr=False)
    attributes: Mapping[str, Any]
    photo: str | None = None
    states_active: bool = True
    removes_password: bool = False

    @classmethod
    def from_resource(
        cls, resource: Resource[Any], *, states_active: bool = True, removes_password: bool = False
    ) -> WantedUser:
        """Read a validated User.

        Args:
            resource: The whole User.
            states_active: Whether the request itself says what `active` shall be.
            removes_password: Whether the request takes the password away; the resource cannot say that.

        Raises:
            InvalidValueException: A value is missing or too long.
        """
        user = resource.model_dump()
        password = user.get("password") or None
        if password is not None and len(password) > MAX_PASSWORD_LENGTH:
            raise InvalidValueException(detail=f"'password' must have at most {MAX_PASSWORD_LENGTH} characters")
        attributes = {name: value for name, value in user.items() if name not in _NOT_KEPT}
        enterprise = attributes.pop(ENTERPRISE_SCHEMA, {})
        manager = enterprise.pop("manager", {}).get("value")
        if manager:
            enterprise["manager"] = {"value": manager}
        if enterprise:
            attributes[ENTERPRISE_SCHEMA] = enterprise
        return cls(
            user_name=checked_user_name(user.get("userName")),
            external_id=checked_external_id(user.get("externalId")),
            active=user.get("active"),
            password=password,
            attributes=attributes,
            states_active=states_active,
            removes_password=removes_password and password is None,
        )

    def as_user(self) -> dict[str, Any]:
        """Return what templates see, as JSON by SCIM names."""
        return {"userName": self.user_name, "externalId": self.external_id, **self.attributes}
