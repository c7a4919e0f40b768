"""The SCIM User that this module serves: exactly the attributes that it keeps.

Where a class of scim2-models fits, it is used as it is. The ones below differ where its reading is stricter than what
identity providers send, or where it holds an attribute that is not kept, and so must not be announced.
"""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import core_schema
from scim2_models import (
    URN,
    Address,
    AnyExtension,
    CaseExact,
    ComplexAttribute,
    Entitlement,
    ExtensibleStringEnum,
    Extension,
    External,
    Im,
    Mutability,
    Name,
    PhoneNumber,
    Reference,
    Required,
    Resource,
    Returned,
    Role,
    Uniqueness,
    X509Certificate,
)

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE_SCHEMA = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
MATRIX_SCHEMA = "urn:matrix:params:scim:schemas:extension:1.0:User"


ManagerReference = Reference["User"]  # type: ignore[type-arg]


class Link(Reference[External]):
    """A reference that is kept whether or not it is a URL: Microsoft's validator sends none in `profileUrl`."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source_type: type[Any], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Take any string."""
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class Email(ComplexAttribute):
    """An e-mail address of a person, kept as the client wrote it (scim2-models would rewrite its domain)."""

    class Type(ExtensibleStringEnum):
        """What the address is for."""

        work = "work"
        home = "home"
        other = "other"

    value: str | None = None
    """The address. It is bound to the Matrix account in canonical form."""

    display: str | None = None
    """A name to show for the address."""

    type: Type | None = None
    """What the address is for, such as work or home."""

    primary: bool | None = None
    """Whether this is the preferred address. At most one is."""


class Photo(ComplexAttribute):
    """A picture of a person."""

    class Type(ExtensibleStringEnum):
        """How large the picture is."""

        photo = "photo"
        thumbnail = "thumbnail"

    value: Annotated[Link | None, CaseExact.true] = None
    """Where the picture is: a `https:` or `mxc:` URL, or a `data:` URL, which becomes an `mxc:` one."""

    display: str | None = None
    """A name to show for the picture."""

    type: Type | None = None
    """What the picture is: a photo or a thumbnail."""

    primary: bool | None = None
    """Whether this is the preferred picture. At most one is."""


class Manager(ComplexAttribute):
    """The person's manager, by the SCIM id, or by whatever identifier the client has."""

    value: Annotated[str | None, CaseExact.true] = None
    """The manager's id. That of a local account also gets a $ref."""

    ref: Annotated[ManagerReference | None, Mutability.read_only] = Field(
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    """Where the manager's SCIM resource is."""


class EnterpriseUser(Extension):
    """A person's place in the organisation (RFC 7643 §4.3)."""

    __schema__ = URN(ENTERPRISE_SCHEMA)

    employee_number: str | None = None
    """The organisation's identifier of the person."""

    cost_center: str | None = None
    """The cost centre that the person is booked on."""

    organization: str | None = None
    """The organisation that the person belongs to."""

    division: str | None = None
    """The division that the person belongs to."""

    department: str | None = None
    """The department that the person belongs to."""

    manager: Manager | None = None
    """The person's manager."""


class MatrixUser(Extension):
    """What the homeserver says of the account."""

    __schema__ = URN(MATRIX_SCHEMA)

    user_id: Annotated[str | None, Mutability.read_only, CaseExact.true] = None
    """The Matrix user ID. It never changes."""

    server_admin: Annotated[bool | None, Mutability.read_only] = None
    """Whether the account administers the homeserver. SCIM never writes to such an account."""

    locked: Annotated[bool | None, Mutability.read_only] = None
    """Whether the account is locked: no session works, and everything is kept."""

    suspended: Annotated[bool | None, Mutability.read_only] = None
    """Whether the account is suspended: it can read, and little else."""

    deactivated: Annotated[bool | None, Mutability.read_only] = None
    """Whether the account is deactivated."""

    user_type: Annotated[str | None, Mutability.read_only] = None
    """The homeserver's own type of the account, if it has one."""

    managed: Annotated[bool | None, Mutability.read_only] = None
    """Whether SCIM made or adopted the account."""


class PasswordlessUser(Resource[AnyExtension]):
    """A person with an account on this Matrix homeserver."""

    __schema__ = URN(USER_SCHEMA)

    user_name: Annotated[str | None, Uniqueness.server, Required.true] = None
    """The name by which the client knows the person, unique whatever its case. It decides the Matrix user ID of a
    new account, which later changes of the name leave alone."""

    name: Name | None = None
    """The parts of the person's name."""

    display_name: str | None = None
    """The name to show, which becomes the display name of the Matrix profile."""

    nick_name: str | None = None
    """What the person is called casually."""

    profile_url: Link | None = None
    """A page about the person."""

    title: str | None = None
    """The person's title, such as Vice President."""

    user_type: str | None = None
    """The relation between the person and the organisation, such as Contractor."""

    preferred_language: str | None = None
    """The language that the person prefers, such as de-AT."""

    locale: str | None = None
    """The person's locale, for currencies, dates and numbers."""

    timezone: str | None = None
    """The person's time zone, such as Europe/Vienna."""

    active: bool | None = None
    """Whether the person can log in. False locks the account and keeps everything."""

    emails: list[Email] | None = None
    """The person's e-mail addresses, bound to the Matrix account. An address of another account is refused."""

    phone_numbers: list[PhoneNumber] | None = None
    """The person's phone numbers. Those in international form that are nobody else's are bound to the account."""

    ims: list[Im] | None = None
    """The person's instant messaging addresses."""

    photos: list[Photo] | None = None
    """Pictures of the person. The primary one, else the first, becomes the avatar of the Matrix profile."""

    addresses: list[Address] | None = None
    """The person's postal addresses."""

    entitlements: list[Entitlement] | None = None
    """What the person is entitled to."""

    roles: list[Role] | None = None
    """The person's roles."""

    x509_certificates: list[X509Certificate] | None = None
    """The person's certificates."""


class User(PasswordlessUser[AnyExtension]):
    """A person with an account on this Matrix homeserver."""

    password: Annotated[str | None, Mutability.write_only, Returned.never, CaseExact.true] = None
    """The password to log in with. It is never returned."""


# /Schemas names a schema after its class, and both of them describe the one User.
PasswordlessUser.__name__ = "User"


def user_model(*, passwords: bool) -> type[Resource[Any]]:
    """Return the model of a User.

    Args:
        passwords: Whether the homeserver keeps passwords; otherwise the attribute is not announced.
    """
    return cast("type[Resource[Any]]", User if passwords else PasswordlessUser)
