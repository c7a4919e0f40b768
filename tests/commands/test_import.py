"""What `plan` foresees and `import` does."""

from __future__ import annotations

import pytest

from tests.commands.line import CommandLine, counts
from tests.web.clients import ENTERPRISE, Admin, Scim

ANN = {
    "userName": "ann@corp.example",
    "externalId": "e-1",
    "displayName": "Ann Lee",
    "name": {"givenName": "Ann", "familyName": "Lee"},
    "emails": [{"value": "Ann@corp.example", "type": "work", "primary": True}],
    "phoneNumbers": [{"value": "+43 1 58858 0"}],
    "title": "Engineer",
    ENTERPRISE: {"department": "R&D", "manager": {"value": "somebody"}},
}
BOB = {"userName": "bob@corp.example", "active": True}


async def test_import_does_what_the_plan_says_once(line: CommandLine, admin: Admin) -> None:
    """What the plan foresees is done by the import, and then there is nothing left to do."""
    path = line.write_lines([ANN, BOB])

    planned = await line.run("plan", path)
    assert (planned.exit_code, counts(planned)) == (0, {"created": 2}), planned.output
    assert await admin.scim.names('userName co "corp"') == []

    imported = await line.run("import", path)
    assert (imported.exit_code, counts(imported)) == (0, {"created": 2}), imported.output
    assert await admin.scim.names('userName co "corp"') == ["ann@corp.example", "bob@corp.example"]
    again = await line.run("plan", path)
    assert (again.exit_code, counts(again)) == (0, {"unchanged": 2}), again.output
