"""What `plan` and `import` do about people who leave."""

from __future__ import annotations

import pytest

from tests.commands.line import CommandLine, counts
from tests.web.clients import Admin

STAYING = {"userName": "staying"}


async def make_people(admin: Admin, *names: str) -> None:
    """Make people whom SCIM manages, and one whom it does not."""
    for name in names:
        await admin.scim.create(name)
    await admin.homeserver.register("unmanaged")


async def test_people_whom_the_file_lacks_stay_by_default(line: CommandLine, admin: Admin) -> None:
    """A file may be an extract: nobody leaves unless that is asked for."""
    await make_people(admin, "staying", "leaving")

    assert counts(await line.run("import", line.write_lines([STAYING]))) == {"unchanged": 1}
    assert [user["active"] for user in await admin.scim.users()] == [True] * 4


async def test_people_whom_the_file_lacks_are_disabled(line: CommandLine, admin: Admin) -> None:
    """It concerns those whom SCIM manages and who can log in."""
    await make_people(admin, "staying", "leaving")
    path = line.write_lines([STAYING])

    planned = await line.run("plan", "--off-board", "disable", path)
    assert (planned.exit_code, counts(planned)) == (0, {"off-boarded": 1, "unchanged": 1})
    assert "off-boarded: leaving" in planned.output
    assert counts(await line.run("import", "--off-board", "disable", path)) == {"off-boarded": 1, "unchanged": 1}

    assert await admin.scim.names("active eq false") == ["leaving"]
    assert counts(await line.run("plan", "--off-board", "disable", path)) == {"unchanged": 1}


async def test_people_whom_the_file_lacks_are_deleted(line: CommandLine, admin: Admin) -> None:
    """It concerns those whom SCIM manages, disabled people included."""
    await make_people(admin, "staying", "leaving")
    await admin.scim.create("disabled", active=False)

    imported = await line.run("import", "--off-board", "delete", line.write_lines([STAYING]))

    assert (imported.exit_code, counts(imported)) == (0, {"off-boarded": 2, "unchanged": 1})
    assert await admin.scim.names(sortBy="userName") == ["admin", "staying", "unmanaged"]


async def test_people_whom_the_file_disables_are_disabled(line: CommandLine, admin: Admin) -> None:
    """They are counted on their own."""
    await admin.scim.create("leaving")

    imported = await line.run("import", line.write_lines([{"userName": "leaving", "active": False}]))

    assert counts(imported) == {"disabled": 1}
    assert await admin.scim.names("active eq false") == ["leaving"]


async def test_nobody_leaves_because_of_a_broken_line(line: CommandLine, admin: Admin) -> None:
    """The line that nobody can read may be about somebody who stays."""
    await make_people(admin, "staying", "leaving")
    path = line.write("people.jsonl", '{"userName": "staying"}\n{"userName": "lea\n')

    imported = await line.run("import", "--keep-going", "--off-board", "delete", path)

    assert imported.exit_code == 2
    assert "Nobody is off-boarded by a file with entries that cannot be used (1 here)" in imported.output
    assert len(await admin.scim.names()) == 4


@pytest.mark.homeserver(module_config={"guard": {"at_least": 2, "max": 0}, "limits": {"bulk_operations": 3}})
async def test_guard_holds_people_back(line: CommandLine, admin: Admin) -> None:
    """Whom the guard keeps is told, with what lets them go; everything else is done."""
    await make_people(admin, *(f"leaving{number}" for number in range(8)))

    imported = await line.run("import", "--off-board", "disable", line.write_lines([STAYING]))

    assert imported.exit_code == 1
    assert counts(imported) == {"created": 1, "off-boarded": 8}
    assert "The server's guard holds 6 people back" in imported.output
    assert "synapse-scim guard allow 6" in imported.output
    assert len(await admin.scim.names("active eq false")) == 2


async def test_many_who_leave_make_the_plan_speak_of_the_guard(line: CommandLine, admin: Admin) -> None:
    """By default it lets twenty people go in an hour, or a fifth of them."""
    await make_people(admin, *(f"leaving{number}" for number in range(22)))

    planned = await line.run("plan", "--off-board", "disable", line.write_lines([STAYING]))

    assert "would hold 2 of those back who leave" in planned.output


@pytest.mark.homeserver(module_config={"guard": {"at_least": 1, "max": 0, "window": "2s"}})
async def test_short_wait_is_waited_for(line: CommandLine, admin: Admin) -> None:
    """Where the server says when to come back, and that is soon, the import waits and goes on."""
    await make_people(admin, "leaving1", "leaving2", "leaving3")

    imported = await line.run("import", "--off-board", "disable", line.write_lines([STAYING]))

    assert (imported.exit_code, counts(imported)) == (0, {"created": 1, "off-boarded": 3})
    assert "The server asks to wait" in imported.output
    assert len(await admin.scim.names("active eq false")) == 3
