"""What `plan` foresees, `import` does and `drift` finds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.commands.line import CommandLine, counts
from tests.web.clients import ENTERPRISE, Admin

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


def person(number: int, **attributes: Any) -> dict[str, Any]:
    """Return one of many people."""
    return {"userName": f"p{number}@corp.example", **attributes}


def created(user: dict[str, Any]) -> dict[str, Any]:
    """Return a person as the arguments of `Scim.create`."""
    return {{"userName": "user_name"}.get(name, name): value for name, value in user.items()}


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


async def test_what_the_file_names_changes_and_nothing_else(line: CommandLine, admin: Admin) -> None:
    """A value is replaced, an empty one removed; what the file does not speak of stays, within lists too."""
    ann = await admin.scim.create(**created(ANN), nickName="Annie")
    changed = {
        "userName": "ann@corp.example",
        "name": {"familyName": "Leigh", "givenName": ""},
        "emails": [{"value": "Ann@corp.example"}, {"value": "leigh@corp.example"}],
        "phoneNumbers": [],
        "title": None,
        "addresses": [{"country": "AT"}],
        "ims": [],
        "active": None,
        ENTERPRISE: {"department": "Sales", "manager": None, "division": ""},
    }
    path = line.write_lines([changed])

    planned = await line.run("plan", path)
    assert planned.exit_code == 0, planned.output
    names = "name.familyName, name.givenName, emails, addresses"
    assert f"changed: line 1, ann@corp.example: {names}" in planned.output
    assert (await line.run("import", path)).exit_code == 0

    user = await admin.scim.read(ann["id"])
    assert user["name"] == {"familyName": "Leigh"}
    assert user["emails"] == [
        {"value": "Ann@corp.example", "type": "work", "primary": True},
        {"value": "leigh@corp.example"},
    ]
    assert user["addresses"] == [{"country": "AT"}]
    assert user[ENTERPRISE] == {"department": "Sales"}
    assert (user["nickName"], user["externalId"], user["active"]) == ("Annie", "e-1", True)
    assert not {"phoneNumbers", "title"} & user.keys()
    assert counts(await line.run("plan", path)) == {"unchanged": 1}


async def test_person_without_a_name_gets_one(line: CommandLine, admin: Admin) -> None:
    """What has parts is given as a whole where there is none yet; a part that is empty stays away."""
    await admin.scim.create("ann")
    path = line.write_lines([{"userName": "ann", "name": {"familyName": "Lee", "givenName": None}}])

    assert counts(await line.run("import", path)) == {"changed": 1}

    assert (await admin.scim.read("@ann:example.org"))["name"] == {"familyName": "Lee"}
    nothing = line.write_lines([{"userName": "ann", ENTERPRISE: {"manager": {"value": None}}}])
    assert counts(await line.run("plan", nothing)) == {"unchanged": 1}


async def test_people_are_found_by_id_external_id_and_user_name(line: CommandLine, admin: Admin) -> None:
    """An id of the server's decides, and so does an externalId; a renamed person stays the same person."""
    await admin.scim.create("one", externalId="e-1")
    two = await admin.scim.create("two")
    path = line.write_lines([{"userName": "uno", "externalId": "e-1"}, {"userName": "due", "id": two["id"]}])

    assert counts(await line.run("import", path)) == {"changed": 2}
    assert await admin.scim.names('userName ne "admin"', sortBy="userName") == ["due", "uno"]


async def test_accounts_that_scim_did_not_make_are_adopted(line: CommandLine, admin: Admin) -> None:
    """They are found by their userName, or as the server finds them, and adopted even if nothing changes."""
    for localpart in ("carol", "dave"):
        await admin.homeserver.register(localpart)
    path = line.write_lines([{"userName": "carol"}, {"userName": "dave@corp.example", "title": "Cook"}])

    planned = await line.run("plan", path)
    assert (planned.exit_code, counts(planned)) == (0, {"adopted": 2}), planned.output
    assert counts(await line.run("import", path)) == {"adopted": 2}

    users = await admin.scim.users(filter='userName ne "admin"')
    assert {user["id"]: user.get("title") for user in users} == {
        "@carol:example.org": None,
        "@dave:example.org": "Cook",
    }
    assert counts(await line.run("plan", path)) == {"unchanged": 2}


async def test_what_would_be_refused_is_told_with_the_reason(line: CommandLine, admin: Admin) -> None:
    """Each entry that the server would refuse is named, with where it stands, and then nothing is imported."""
    await admin.scim.create("eve", externalId="e-5", emails=[{"value": "eve@corp.example"}])
    await admin.scim.create("fred", externalId="e-6")
    path = line.write_lines(
        [
            {"userName": "good"},
            {"userName": "GOOD"},
            {"userName": "new", "emails": [{"value": "EVE@corp.example"}]},
            {"userName": "eve", "externalId": "e-6"},
            {"userName": "admin", "title": "Boss"},
            {"userName": "wrong", "active": "perhaps"},
            ["no person"],
            {"userName": " "},
            {"userName": "fred"},
            {"userName": "fred2", "id": "@fred:example.org"},
            {"userName": "x", "emails": [{"value": "\ud800"}]},
        ]
    )

    planned = await line.run("plan", path)

    assert planned.exit_code == 1
    assert [row.removeprefix("refused: ") for row in planned.output.splitlines() if row.startswith("refused: ")] == [
        "line 2, GOOD: line 1 has the same 'userName'",
        "line 6: Input should be a valid boolean, unable to interpret input: active",
        "line 7: it is no JSON object",
        "line 8: 'userName' is required and must not be empty",
        "line 11: 'emails.value' holds half of a surrogate pair, which is no character",
        "line 3, new: the e-mail address eve@corp.example belongs to @eve:example.org",
        "line 4, eve: its id, externalId and userName are those of several people: @fred:example.org, @eve:example.org",
        "line 5, admin: @admin:example.org is a server administrator, whom SCIM does not change",
        "line 10, fred2: another entry of the file is about @fred:example.org, too",
    ]
    imported = await line.run("import", path)
    assert imported.exit_code == 2
    assert "Nothing was done: 9 refused" in imported.output
    assert await admin.scim.names('userName eq "good"') == []

    kept_going = await line.run("import", "--keep-going", path)
    assert (kept_going.exit_code, counts(kept_going)) == (1, {"created": 1, "unchanged": 1, "refused beforehand": 9})
    assert await admin.scim.names('userName eq "good"') == ["good"]


async def test_broken_line_in_the_middle_leaves_all_undone(line: CommandLine, admin: Admin) -> None:
    """Everything is read before anything is done; the line is named, and what is wrong with it."""
    lines = [f'{{"userName": "p{number}"}}\n' for number in range(1, 10_001)]
    lines[5000] = '{"userName": "p5001"\n'

    imported = await line.run("import", line.write("people.jsonl", "".join(lines)))

    assert imported.exit_code == 2
    assert "refused: line 5001: it is no JSON: Expecting ',' delimiter (column 21)" in imported.output
    assert await admin.scim.names() == ["admin"]


async def test_what_the_server_refuses_is_told(line: CommandLine, admin: Admin) -> None:
    """What no plan foresees is told after the import, and the rest is done."""
    await admin.restart({"password_config": {"policy": {"enabled": True, "minimum_length": 15}}})
    line = CommandLine(f"{admin.homeserver.url}/_scim", admin.token, line.folder)
    path = line.write_lines([person(1, password="too short"), person(2, password="as long as it has to be")])

    imported = await line.run("import", path)

    assert imported.exit_code == 1
    assert "refused: line 1, p1@corp.example: " in imported.output
    assert "(HTTP 400)" in imported.output
    assert "created" in counts(imported)
    assert counts(await line.run("plan", path)) == {"created": 1, "unchanged": 1}


@pytest.mark.homeserver(module_config={"read_only": True})
async def test_server_that_changes_nothing_refuses_everything(line: CommandLine) -> None:
    """Where there are no bulk requests, there are single ones; each refusal is told."""
    imported = await line.run("import", line.write_lines([person(1), person(2)]))

    assert imported.exit_code == 1
    assert imported.output.count("The server's configuration allows no changes ('read_only') (HTTP 403)") == 2


@pytest.mark.homeserver(module_config={"visibility": "managed"})
async def test_server_that_shows_nobody_takes_everybody(line: CommandLine) -> None:
    """Where the token sees no account at all, all are new."""
    assert counts(await line.run("import", line.write_lines([person(1), person(2)]))) == {"created": 2}


async def test_attributes_that_nobody_knows_are_named(line: CommandLine) -> None:
    """The server ignores them, and whoever misspelt one wants to hear of it."""
    path = line.write_lines([person(1, emial="x", **{ENTERPRISE: {"depratment": "y"}})])

    assert f"The server ignores emial, {ENTERPRISE}:depratment" in (await line.run("plan", path)).output


async def test_photo_that_became_another_url_is_no_difference(line: CommandLine, admin: Admin) -> None:
    """A photo that stands in the file is stored once: the server then shows where."""
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    path = line.write_lines([person(1, photos=[{"value": pixel}])])

    assert counts(await line.run("import", path)) == {"created": 1}

    assert (await admin.scim.users(filter='userName sw "p1"'))[0]["photos"][0]["value"].startswith("mxc:")
    assert counts(await line.run("plan", path)) == {"unchanged": 1}


async def test_drift_tells_where_file_and_server_differ(line: CommandLine, admin: Admin) -> None:
    """People of one side alone are named, and the attributes that differ; passwords cannot be compared."""
    await admin.scim.create("same", title="Cook", password="correct horse")
    path = line.write_lines([{"userName": "same", "title": "Cook", "password": "another horse"}])
    agreeing = await line.run("drift", path)
    assert (agreeing.exit_code, counts(agreeing)) == (0, {"the same": 1})

    await admin.scim.create("server")
    await admin.scim.create("changed", title="Cook")
    path = line.write_lines([{"userName": "same"}, {"userName": "changed", "title": "Chef"}, {"userName": "file"}])
    differing = await line.run("drift", path)

    assert differing.exit_code == 1
    assert counts(differing) == {"the same": 1, "different": 1, "only in the file": 1, "only on the server": 1}
    assert differing.output.splitlines()[-3:] == [
        "only in the file: line 3, file",
        "different: line 2, changed: title",
        "only on the server: server",
    ]


async def test_long_lists_are_cut_short(line: CommandLine) -> None:
    """Twenty people are shown of each kind, and all if somebody asks."""
    path = line.write_lines([person(number) for number in range(25)])

    assert "created: and 5 more" in (await line.run("plan", path)).output
    assert (await line.run("plan", "--all", path)).output.count("created: line") == 25
