"""The files that commands read and write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synapse_scim.client import plans
from synapse_scim.client.files import LARGEST_PERSON
from tests.commands.line import CommandLine, counts
from tests.web.clients import ENTERPRISE, Admin

HEADER = "userName,name.familyName,emails.value,active\n"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"

RICH = {
    "externalId": "e-1",
    "displayName": "Ann, Lee",
    "name": {"givenName": 'Ann "A"', "familyName": "Lée"},
    "emails": [{"value": "ann@corp.example", "type": "work"}, {"value": "ann@home.example"}],
    "roles": [{"value": "staff", "primary": True}, {"value": "boss"}],
    "active": False,
    ENTERPRISE: {"department": "R&D", "manager": {"value": "x"}},
}

COLUMNS = (
    *("userName", "externalId", "displayName", "name.givenName", "name.familyName", "emails.value", "emails.type"),
    *("roles.value", "roles.primary", "active", "title", f"{ENTERPRISE}:department", f"{ENTERPRISE}:manager.value"),
)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HEADER + "ann,Lee,a@corp.example,true\nbob,,,\n", id="commas"),
        pytest.param("\ufeff" + HEADER.replace(",", ";") + "ann;Lee;a@corp.example;TRUE\nbob;;;\n", id="excel"),
        pytest.param(HEADER.replace(",", "\t") + "ann\tLee\ta@corp.example\ttrue\n\nbob\t\t\t\n", id="tabs"),
        pytest.param((HEADER + 'ann,"Lee","a@corp.example",true\nbob,,,\n').replace("\n", "\r\n"), id="crlf"),
        pytest.param(
            '{"userName": "ann", "name": {"familyName": "Lee"}, "emails": [{"value": "a@corp.example"}]}\r\n\r\n'
            '{"userName": "bob"}',
            id="lines",
        ),
        pytest.param('\ufeff\n{"userName": "ann", "name": {"familyName": "Lee"}}\n{"userName": "bob"}\n', id="bom"),
        pytest.param('[{"userName": "ann", "name": {"familyName": "Lee"}}, {"userName": "bob"}]', id="array"),
        pytest.param(
            json.dumps(
                {
                    "schemas": [LIST],
                    "totalResults": 2,
                    "Resources": [{"userName": "ann", "name": {"familyName": "Lee"}}, {"userName": "bob"}],
                },
                indent=2,
            ),
            id="list",
        ),
    ],
)
async def test_formats_are_told_apart(content: str, line: CommandLine, admin: Admin) -> None:
    """The beginning of a file tells what it is; byte order marks and line ends of Windows do no harm."""
    imported = await line.run("import", line.write("people", content))

    assert (imported.exit_code, counts(imported)) == (0, {"created": 2}), imported.output
    assert (await admin.scim.read("@ann:example.org"))["name"] == {"familyName": "Lee"}


@pytest.mark.parametrize("file_format", ["jsonl", "list", "csv"])
async def test_export_can_be_imported(file_format: str, line: CommandLine, admin: Admin, tmp_path: Path) -> None:
    """What was exported differs in nothing from the server, and brings back what has changed since."""
    ann = await admin.scim.create("ann", **RICH)
    await admin.scim.create("bob", title="Cook")
    path = tmp_path / "export"
    attributes = ("--attributes", ",".join(COLUMNS)) if file_format == "csv" else ()

    exported = await line.run("export", "--format", file_format, "--output", path, *attributes)

    assert (exported.exit_code, exported.output) == (0, "")
    assert path.stat().st_mode & 0o777 == 0o600
    assert counts(await line.run("plan", path)) == {"unchanged": 3}
    await admin.scim.patched(ann["id"], {"op": "replace", "path": "name.familyName", "value": "Leigh"})
    assert counts(await line.run("import", path)) == {"changed": 1, "unchanged": 2}
    assert (await admin.scim.read(ann["id"]))["name"] == RICH["name"]


async def test_export_can_be_chosen(line: CommandLine, admin: Admin) -> None:
    """Whom and what to export is asked of the server."""
    await admin.scim.create("ann", title="Cook", nickName="Annie")
    await admin.scim.create("bob")

    enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
    names = f"userName, title, {enterprise}"
    lines = await line.run("export", "--filter", "title pr", "--attributes", names)
    table = await line.run("export", "--filter", 'userName ne "admin"', "--format", "csv")

    assert {name: value for name, value in json.loads(lines.stdout).items() if name not in {"schemas", "id"}} == {
        "userName": "ann",
        "title": "Cook",
    }
    assert table.stdout.splitlines()[:2] == [
        "id,userName,externalId,active,displayName,name.givenName,name.familyName,emails.value,phoneNumbers.value",
        "@ann:example.org,ann,,true,,,,,",
    ]


@pytest.mark.usefixtures("admin")
@pytest.mark.parametrize("file_format", ["jsonl", "list", "csv"])
async def test_export_of_attributes_that_do_not_exist(file_format: str, line: CommandLine) -> None:
    """A misspelt attribute, which the server would leave out in silence, is named, and nothing is exported."""
    path = line.folder / "export"

    exported = await line.run("export", "--format", file_format, "--output", path, "--attributes", "userName,titel")

    assert (exported.exit_code, path.exists()) == (2, False)
    assert "'titel' is no attribute of a User" in exported.output


async def test_export_of_what_does_not_fit_into_a_table_says_so(line: CommandLine, admin: Admin) -> None:
    """A value that holds the sign between values would be read as two; half an export is not left behind."""
    await admin.scim.create("ann", roles=[{"value": "a|b"}])

    path = line.folder / "export"

    exported = await line.run("export", "--format", "csv", "--attributes", "userName,roles.value", "--output", path)

    assert exported.exit_code == 2
    assert "'roles.value' of ann holds a '|'" in exported.output
    assert not path.exists()


async def test_export_overwrites_nothing(line: CommandLine) -> None:
    """A file that exists is kept."""
    path = line.write("export", "precious")

    exported = await line.run("export", "--output", path)

    assert (exported.exit_code, path.read_text()) == (2, "precious")
    assert f"{path} cannot be written: File exists" in exported.output


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "The file is empty"),
        (b"\xef\xbb\xbf \n", "The file is empty"),
        (b"userName,title\n", "There is nobody in the file"),
        (b'{"schemas": ["' + LIST.encode() + b'"], "Resources": []}', "There is nobody in the file"),
        (b"PK\x03\x04\x14\x00", "The file is a workbook of Excel or LibreOffice, or a ZIP archive. Save it as CSV"),
        (HEADER.encode("utf-16"), "The file is in UTF-16 or UTF-32. Save it in UTF-8"),
        (b'{"userName": "a"}\n{"userName": "Andr\xe9"}\n', "Line 2 is not in utf-8 (byte 19 of the line)"),
        (b"userName,title\nann,Caf\xe9\n", "--encoding latin-1"),
        (
            b'[{"userName": "a"},\n{"userName": "Andr\xe9"}]',
            "The list breaks off, or is no JSON in utf-8, somewhere behind entry 0",
        ),
        (
            b'[{"userName": "a"},\n{"userName": "b"',
            "The list breaks off, or is no JSON in utf-8, somewhere behind entry 1",
        ),
        (b"name.givenName,title\nAnn,Cook\n", "one of them must be userName"),
        (b"userName,titel\nann,Cook\n", "The column 'titel' is no attribute of a User"),
        (b"userName,username\nann,Ann\n", "There are two columns userName"),
        (b"\n\n\nuserName\n", "one of them must be userName"),
        (b'{"userName": "' + b"a" * LARGEST_PERSON, "Line 1 is longer than 16 MiB"),
        (b"\0" * LARGEST_PERSON, "Line 1 is longer than 16 MiB"),
        (b'[{"userName": "a"}, {"userName": "' + b"a" * 2 * LARGEST_PERSON + b'"}]', "More than 16 MiB follow entry 1"),
        (b'[{"userName": "a"}, {"userName": ' + b"[" * 100_000, "What follows entry 1 is nested too deep"),
    ],
)
async def test_unusable_file_is_named(content: bytes, said: str, line: CommandLine, admin: Admin) -> None:
    """What is wrong with a file is said in words for whoever wrote it, and nothing is done."""
    imported = await line.run("import", "--keep-going", line.write("people", content))

    assert imported.exit_code == 2
    assert said in imported.output
    assert await admin.scim.names() == ["admin"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("ann,Lee,a@corp.example", "it has 3 cells, and the header 4"),
        ("ann,Lee,a@corp.example,perhaps", "'active' must be true or false"),
        ('ann,Lee,"' + "a" * 200_000 + '",true', "field larger than field limit (131072)"),
    ],
)
async def test_wrong_row_is_named(row: str, said: str, line: CommandLine) -> None:
    """A row that cannot be read is refused with its line, and the others can be done."""
    path = line.write("people.csv", f"{HEADER}bob,,,\n{row}\ncarol,,,\n")

    planned = await line.run("plan", path)

    assert counts(planned) == {"created": 2, "refused": 1}
    assert f"refused: line 3: {said}" in planned.output


async def test_columns_of_one_attribute_have_as_many_values(line: CommandLine) -> None:
    """The values of an attribute and their types stand side by side."""
    path = line.write("people.csv", "userName,emails.value,emails.type\nann,a@b.example|c@d.example,work\n")

    assert "the columns of 'emails' do not have the same number of values" in (await line.run("plan", path)).output


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "list"])
async def test_encoding_can_be_named(file_format: str, line: CommandLine, admin: Admin) -> None:
    """Programs of old write Latin-1."""
    written = {
        "csv": "userName,title\nann,Café\n",
        "jsonl": '{"userName": "ann", "title": "Café"}\n',
        "list": '[{"userName": "ann", "title": "Café"}]',
    }
    path = line.write("people", written[file_format].encode("latin-1"))

    assert counts(await line.run("import", "--encoding", "latin-1", path)) == {"created": 1}

    assert (await admin.scim.read("@ann:example.org"))["title"] == "Café"


@pytest.mark.parametrize("encoding", ["utf-16", "klingon"])
async def test_encoding_must_have_lines(encoding: str, line: CommandLine) -> None:
    """Files are read line by line."""
    planned = await line.run("plan", "--encoding", encoding, line.write("people", "userName\nann\n"))

    assert planned.exit_code == 2
    assert "save the file in UTF-8" in planned.output


@pytest.mark.parametrize("broken", ["[" * 100_000, '{"userName": ' + "9" * 5000 + "}"], ids=["deep", "large number"])
async def test_json_that_nobody_can_hold_is_refused(broken: str, line: CommandLine) -> None:
    """It is one wrong line, and ends nothing."""
    path = line.write("people.jsonl", f'{{"userName": "ann"}}\n{broken}\n')

    planned = await line.run("plan", "--format", "jsonl", path)

    assert counts(planned) == {"created": 1, "refused": 1}
    assert "refused: line 2: it is no JSON that can be read" in planned.output


async def test_list_may_be_larger_than_what_may_be_about_one_person(line: CommandLine) -> None:
    """What is bounded is how much of it is held in memory."""
    photo = "data:image/png;base64," + "A" * (LARGEST_PERSON // 4)
    people = [{"userName": f"person{n}", "photos": [{"value": photo}]} for n in range(5)]

    planned = await line.run("plan", line.write("people.json", json.dumps(people)))

    assert counts(planned) == {"created": 5}


@pytest.mark.parametrize(
    ("content", "first"),
    [
        ("{\n" * 4, "line 1: it is no JSON: "),
        (HEADER + "ann\n" * 4, "line 2: it has 1 cells"),
        ('{"userName": "ann"}\n' * 5, "line 2, ann: line 1 has the same 'userName'"),
    ],
)
async def test_file_without_people_is_not_read_to_its_end(
    content: str, first: str, line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond so many entries that nobody can use, the file is the wrong one, and could fill the disk with errors."""
    monkeypatch.setattr(plans, "MOST_REFUSED", 4)
    assert counts(await line.run("plan", line.write("people", content))) in (
        {"refused": 4},
        {"created": 1, "refused": 4},
    )
    monkeypatch.setattr(plans, "MOST_REFUSED", 3)

    imported = await line.run("import", "--keep-going", line.write("people", content))

    assert imported.exit_code == 2
    assert f"More than 3 entries cannot be used: this is no file with people. The first is {first}" in imported.output


async def test_file_that_is_not_there_is_named(line: CommandLine) -> None:
    """A name is soon mistyped."""
    planned = await line.run("plan", "missing.csv")

    assert planned.exit_code == 2
    assert "missing.csv cannot be read: No such file or directory" in planned.output


async def test_person_may_be_named_twice_in_other_ways(line: CommandLine) -> None:
    """Each of id, userName and externalId is one person's."""
    people: list[dict[str, Any]] = [
        {"userName": "a", "externalId": "1", "id": "x"},
        {"userName": "b", "externalId": "1"},
        {"userName": "c", "id": "x"},
    ]

    planned = await line.run("plan", line.write_lines(people))

    assert counts(planned) == {"created": 1, "refused": 2}
    assert "line 2, b: line 1 has the same 'externalId'" in planned.output
    assert "line 3, c: line 1 has the same 'id'" in planned.output
