"""MSC4098, "User attributes matching": each row of the table, as the client-server API shows it."""

from __future__ import annotations

from tests.complement.client import Homeserver, Scim

PASSWORD, ANOTHER = "kHx3-vdW8-ooQn", "wRt9-ppL2-zzKm"
# The smallest GIF there is.
GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")


def test_user_name_is_the_username(scim: Scim, homeserver: Homeserver, name: str) -> None:
    """`userName` | username: whoever is created can log in by that name, and is found by the user ID."""
    user = scim.create(name, password=PASSWORD)

    token = homeserver.token(name, PASSWORD)

    assert user["userName"] == name
    assert homeserver.whoami(token).json()["user_id"] == homeserver.user_id(name)


def test_password_is_the_password(scim: Scim, homeserver: Homeserver, name: str) -> None:
    """`password` | password: it opens the account, a new one takes its place, and none is ever returned."""
    user = scim.create(name, password=PASSWORD)
    assert homeserver.login(name, PASSWORD).status_code == 200

    replaced = scim.replace(user, password=ANOTHER)

    assert homeserver.login(name, PASSWORD).status_code == 403
    assert homeserver.login(name, ANOTHER).status_code == 200
    for answered in (user, replaced, scim.read(user)):
        assert "password" not in answered


def test_emails_are_threepids(scim: Scim, homeserver: Homeserver, name: str) -> None:
    """`emails` | 3pid email: they are bound to the account, and released when they go."""
    address, another = f"{name}@corp.example", f"{name}@home.example"
    user = scim.create(name, password=PASSWORD, emails=[{"value": address, "type": "work", "primary": True}])
    token = homeserver.token(name, PASSWORD)
    assert [email["value"] for email in user["emails"]] == [address]
    assert homeserver.threepids(token) == {("email", address)}

    user = scim.replace(user, emails=[{"value": another, "type": "home"}])
    assert homeserver.threepids(token) == {("email", another)}

    scim.replace(user, emails=None)
    assert homeserver.threepids(token) == set()


def test_phone_numbers_are_threepids(scim: Scim, homeserver: Homeserver, name: str, number: str) -> None:
    """`phoneNumbers` | 3pid msisdn: the number without the plus."""
    user = scim.create(name, password=PASSWORD, phoneNumbers=[{"value": f"+{number}", "type": "mobile"}])
    token = homeserver.token(name, PASSWORD)
    assert homeserver.threepids(token) == {("msisdn", number)}

    scim.replace(user, phoneNumbers=None)
    assert homeserver.threepids(token) == set()


def test_display_name_is_the_display_name(scim: Scim, homeserver: Homeserver, name: str) -> None:
    """`displayName` | display name: in both directions."""
    user = scim.create(name, password=PASSWORD, displayName="Zoë Ōta")
    assert homeserver.profile(name)["displayname"] == "Zoë Ōta"

    user = scim.replace(user, displayName="Zoë Ōta-Lee")
    assert homeserver.profile(name)["displayname"] == "Zoë Ōta-Lee"

    path = f"/_matrix/client/v3/profile/{homeserver.user_id(name)}/displayname"
    changed = homeserver.request("PUT", path, {"displayname": "Zoë"}, token=homeserver.token(name, PASSWORD))
    assert changed.status_code == 200
    assert scim.read(user)["displayName"] == "Zoë"


def test_photos_are_the_avatar(scim: Scim, homeserver: Homeserver, name: str) -> None:
    """`photos` | avatar_url: shown, exchanged and taken away."""
    photo, another = (homeserver.upload(GIF, "image/gif") for _ in range(2))
    user = scim.create(name, photos=[{"value": photo, "type": "photo", "primary": True}])
    assert homeserver.profile(name)["avatar_url"] == photo

    user = scim.replace(user, photos=[{"value": another, "type": "photo", "primary": True}])
    assert homeserver.profile(name)["avatar_url"] == another

    scim.replace(user, photos=None)
    assert not homeserver.profile(name).get("avatar_url")


def test_inactive_is_deactivated(scim: Scim, homeserver: Homeserver, name: str) -> None:
    """`active` | deactivate: sessions end, nobody can log in, the User can still be read; active again, they can."""
    user = scim.create(name, password=PASSWORD)
    assert user["active"] is True
    token = homeserver.token(name, PASSWORD)

    user = scim.replace(user, active=False)
    assert user["active"] is False
    assert scim.read(user)["active"] is False
    assert homeserver.whoami(token).status_code == 401
    assert homeserver.login(name, PASSWORD).status_code in {401, 403}

    # Where deactivation takes the password, it is set anew.
    user = scim.replace(user, active=True, password=ANOTHER)
    assert user["active"] is True
    assert homeserver.login(name, ANOTHER).status_code == 200


def test_whoever_is_made_inactive_never_was(scim: Scim, homeserver: Homeserver, name: str) -> None:
    """An account can be made before its owner may use it."""
    user = scim.create(name, password=PASSWORD, active=False)

    assert user["active"] is False
    assert homeserver.login(name, PASSWORD).status_code in {401, 403}
