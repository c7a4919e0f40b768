"""The people of the benchmark: an enterprise of any size, in which everybody is known by a number."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import attrs

from tests.support.configuration import SERVER_NAME

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"

MODEL_NUMBER = 7_777_777
"""The person of whose rows those of all others are made. No benchmark has that many people."""

_GIVEN = ("Anna", "Ben", "Chloe", "David", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Katja", "Liam", "Mei")
_FAMILY = ("Andersson", "Bauer", "Costa", "Dubois", "Evans", "Fischer", "Garcia", "Hoffmann", "Ito", "Jansen", "Kovacs")
_TITLES = ("Engineer", "Senior Engineer", "Accountant", "Project Manager", "Nurse", "Sales Representative", "Director")
_DEPARTMENTS = ("Research", "Finance", "Human Resources", "Operations", "Sales", "Legal")
_PEOPLE_PER_MANAGER = 10


@attrs.frozen(kw_only=True)
class Person:
    """A person.

    Attributes:
        number: Who it is.
        manager_id: The user ID of the manager.
    """

    number: int
    given_name: str
    family_name: str
    title: str
    department: str
    manager_id: str

    @property
    def digits(self) -> str:
        """The number as it stands in names and addresses."""
        return f"{self.number:07d}"

    @property
    def localpart(self) -> str:
        """The localpart that the module makes of the userName."""
        return f"{self.given_name}.{self.family_name}{self.digits}".lower()

    @property
    def user_id(self) -> str:
        """The Matrix user ID."""
        return f"@{self.localpart}:{SERVER_NAME}"

    @property
    def user_name(self) -> str:
        """The userName, which is the e-mail address too."""
        return f"{self.localpart}@example.com"

    @property
    def phone(self) -> str:
        """A valid mobile number."""
        return f"+491511{self.digits}"

    @property
    def external_id(self) -> str:
        """An externalId as directories have them."""
        return str(uuid.UUID(bytes=hashlib.md5(self.digits.encode(), usedforsecurity=False).digest()))

    @property
    def display_name(self) -> str:
        """The display name."""
        return f"{self.given_name} {self.family_name}"

    def scim(self) -> dict[str, Any]:
        """Return the User that an identity provider sends."""
        return {
            "schemas": [USER, ENTERPRISE],
            "userName": self.user_name,
            "externalId": self.external_id,
            "displayName": self.display_name,
            "name": {
                "givenName": self.given_name,
                "familyName": self.family_name,
                "formatted": f"{self.given_name} {self.family_name}",
            },
            "title": self.title,
            "emails": [{"value": self.user_name, "type": "work", "primary": True}],
            "phoneNumbers": [{"value": self.phone, "type": "mobile"}],
            "active": True,
            ENTERPRISE: {
                "employeeNumber": f"E{self.digits}",
                "department": self.department,
                "manager": {"value": self.manager_id},
            },
        }


MODEL_PERSON = Person(
    number=MODEL_NUMBER,
    given_name="Zgiven",
    family_name="Zfamily",
    title="Ztitle",
    department="Zdepartment",
    manager_id=f"@zmanager:{SERVER_NAME}",
)
"""What differs between people are words of this person that stand nowhere else."""


def person(number: int) -> Person:
    """Return a person."""
    manager_id = ""
    if number:
        manager_id = person(number // _PEOPLE_PER_MANAGER).user_id
    own = Person(
        number=number,
        given_name=_GIVEN[number % len(_GIVEN)],
        family_name=_FAMILY[number % len(_FAMILY)],
        title=_TITLES[number % len(_TITLES)],
        department=_DEPARTMENTS[number % len(_DEPARTMENTS)],
        manager_id=manager_id,
    )
    return own if number else attrs.evolve(own, manager_id=own.user_id)
