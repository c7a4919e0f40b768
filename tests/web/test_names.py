"""userName and externalId, and the localpart that a new account gets."""

from __future__ import annotations

import pytest

from tests.web.clients import Scim, Synapse, assert_error, new_user

pytestmark = pytest.mark.usefixtures("owner")


async def test_localpart_comes_from_the_user_name(scim: Scim) -> None:
    """An e-mail address gives what is before the `@`, anything else the whole, escaped as single sign-on does it.

    `/` is escaped as well, and userName is kept as sent (the documentation).
    """
    localparts = {
        "jdoe@corp.example": "jdoe",
        "Jane.Doe+x@Corp.Example": "jane.doe+x",
        "JSmith": "jsmith",
        "x_y#EXT#@z.onmicrosoft.com": "x_y=23ext=23",
        "René": "ren=c3=a9",
        "山田太郎": "=e5=b1=b1=e7=94=b0=e5=a4=aa=e9=83=8e",
        "a/b": "a=2fb",
        "Anna Maria": "anna=20maria",
        "_hidden": "=5fhidden",
        "a=b": "a=3db",
        "O'Brien": "o=27brien",
        'the "boss"': "the=20=22boss=22",
        "corp\\smith": "corp=5csmith",
        "@handle": "=40handle",
        "a@b@c": "a=40b=40c",
        "tail@": "tail=40",
        "100%": "100=25",
        "x:y": "x=3ay",
        "😀": "=f0=9f=98=80",
        "!!!": "=21=21=21",
    }
    for user_name, localpart in localparts.items():
        made = await scim.create(user_name)
        assert (made["id"], made["userName"]) == (f"@{localpart}:example.org", user_name)
        assert await scim.read(made["id"]) == made
        assert (await scim.users(filter=f"userName eq {user_name_literal(user_name)}")) == [made]


def user_name_literal(text: str) -> str:
    """Return a string as filters write it (RFC 7644 §3.4.2.2, RFC 8259 §7)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


async def test_localparts_that_others_have_are_numbered(scim: Scim) -> None:
    """Two people of one name get `@jdoe` and `@jdoe2`, and nobody another's account (the documentation)."""
    names = ("jdoe@one.example", "jdoe@two.example", "JDOE@three.example", "jdoe2", "jdoe22")

    assert [(await scim.create(name))["id"] for name in names] == [
        "@jdoe:example.org",
        "@jdoe2:example.org",
        "@jdoe3:example.org",
        "@jdoe22:example.org",
        "@jdoe222:example.org",
    ]


async def test_names_that_give_no_user_id_are_refused(scim: Scim) -> None:
    """A localpart that Matrix does not allow is 400, and the detail names userName (the documentation)."""
    for user_name in ("12345", "7@corp.example", "x" * 250, "é" * 100):
        assert_error(await scim.post("/Users", new_user(user_name)), 400, "invalidValue", "userName")
    for wrong in ("", " ", "\t\n", "x" * 256, "x" * 300, None):
        assert_error(await scim.post("/Users", new_user(wrong)), 400, "invalidValue", "userName")
    assert_error(await scim.post("/Users", {"schemas": new_user("")["schemas"]}), 400, "invalidValue", "userName")

    assert await scim.names() == ["admin"]


@pytest.mark.homeserver(
    module_config={"localpart": "{{ user.name.givenName | lower }}.{{ user.name.familyName | lower }}"}
)
async def test_localpart_by_template(scim: Scim) -> None:
    """A template decides the localpart from the whole User; one that cannot be filled is 400 (the documentation)."""
    made = await scim.create("u1", name={"givenName": "Ann", "familyName": "O'Neil"})
    again = await scim.create("u2", name={"givenName": "ann", "familyName": "o'neil"})

    assert (made["id"], made["userName"]) == ("@ann.o=27neil:example.org", "u1")
    assert again["id"] == "@ann.o=27neil2:example.org"
    assert_error(await scim.post("/Users", new_user("u3")), 400, "invalidValue", "template")
    assert await scim.names('userName eq "u3"') == []


@pytest.mark.homeserver(module_config={"localpart": "{{ user.externalId }}"})
async def test_template_that_gives_nothing(scim: Scim) -> None:
    """A template that gives nothing for a User refuses it, and says so (the documentation)."""
    assert (await scim.create("ann", externalId="E/7"))["id"] == "@e=2f7:example.org"

    assert_error(await scim.post("/Users", new_user("bob")), 400, "invalidValue", "template")


@pytest.mark.usefixtures("engine")
async def test_user_names_are_unique_whatever_their_case(scim: Scim) -> None:
    """A userName that differs in case or in Unicode form alone is taken: 409 (RFC 7643 §4.1.1, RFC 7644 §3.3.1)."""
    await scim.create("jdoe@corp.example")
    await scim.create("\u00c4nne")
    bob = await scim.create("bob")
    before = await scim.users()

    for taken in ("jdoe@corp.example", "JDOE@Corp.Example", "\u00e4nne", "A\u0308NNE"):
        assert_error(await scim.post("/Users", new_user(taken)), 409, "uniqueness", "userName")
        assert_error(await scim.put(bob["id"], {**bob, "userName": taken}), 409, "uniqueness", "userName")
        rename = {"op": "replace", "path": "userName", "value": taken}
        assert_error(await scim.patch(bob["id"], rename), 409, "uniqueness", "userName")

    assert await scim.users() == before


@pytest.mark.usefixtures("engine")
async def test_external_ids_are_unique_with_their_case(scim: Scim) -> None:
    """An externalId counts its case, and nobody else's is taken (RFC 7643 §3.1)."""
    await scim.create("ann", externalId="aB1")
    bob = await scim.create("bob", externalId="Ab1")
    before = await scim.users()

    assert_error(await scim.post("/Users", new_user("cat", externalId="aB1")), 409, "uniqueness", "externalId")
    assert_error(await scim.put(bob["id"], {**bob, "externalId": "aB1"}), 409, "uniqueness", "externalId")
    change = {"op": "replace", "path": "externalId", "value": "aB1"}
    assert_error(await scim.patch(bob["id"], change), 409, "uniqueness", "externalId")
    assert_error(await scim.post("/Users", new_user("cat", externalId="x" * 10_000)), 400, "invalidValue", "externalId")

    assert await scim.users() == before
    assert await scim.names('externalId eq "ab1"') == []
    assert "externalId" not in await scim.patched(bob["id"], {"op": "remove", "path": "externalId"})
    assert (await scim.create("cat", externalId="Ab1"))["externalId"] == "Ab1"


async def test_user_name_is_kept_as_sent_but_composed(scim: Scim) -> None:
    """A userName is normalised to NFC and otherwise kept as sent (the documentation, RFC 7644 §5)."""
    made = await scim.create("Jose\u0301 Mari\u0301a@corp.example")

    assert made["userName"] == "Jos\u00e9 Mar\u00eda@corp.example"
    assert await scim.names('userName eq "JOSE\u0301 MARI\u0301A@CORP.EXAMPLE"') == [made["userName"]]


async def test_renaming_changes_the_name_alone(scim: Scim, synapse: Synapse) -> None:
    """A new userName leaves id, Matrix account and profile, and frees the old name (the documentation, IdP)."""
    ann = await scim.create(
        "ann@corp.example", displayName="Ann", externalId="7", emails=[{"value": "ann@corp.example"}]
    )
    before = await synapse.account(ann["id"])

    renamed = await scim.patched(ann["id"], {"op": "replace", "path": "userName", "value": "lee@corp.example"})

    assert {**renamed, "userName": "ann@corp.example", "meta": {}} == {**ann, "meta": {}}
    assert renamed["meta"]["version"] != ann["meta"]["version"]
    assert await synapse.account(ann["id"]) == before
    assert await scim.names('userName eq "ann@corp.example"') == []
    assert await scim.names('userName eq "lee@corp.example"') == ["lee@corp.example"]
    replaced = await scim.replaced(ann["id"], {**renamed, "userName": "LEE@corp.example"})
    assert replaced["userName"] == "LEE@corp.example"
    assert (await scim.create("ann@corp.example"))["id"] == "@ann2:example.org"


async def test_who_is_managed_keeps_the_name(scim: Scim, synapse: Synapse) -> None:
    """An account that SCIM did not make gives way with its whole user ID as userName (the documentation)."""
    await synapse.change("@bob:example.org", displayname="Bob")
    assert await scim.names('userName eq "BOB"') == ["bob"]
    ann = await scim.create("ann")

    await scim.patched(ann["id"], {"op": "replace", "path": "userName", "value": "Bob"})

    assert (await scim.read("@bob:example.org"))["userName"] == "@bob:example.org"
    assert (await scim.users(filter='userName eq "bob"'))[0]["id"] == ann["id"]
    assert await scim.names('userName eq "@Bob:example.org"') == ["@bob:example.org"]
    assert sorted(await scim.names()) == ["@bob:example.org", "Bob", "admin"]
    await scim.patched(ann["id"], {"op": "replace", "path": "userName", "value": "ann"})
    assert (await scim.read("@bob:example.org"))["userName"] == "bob"
