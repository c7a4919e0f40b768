"""MSC4098, "Endpoints": the life of an account at /Users, and as the client-server API shows it."""

from __future__ import annotations

import pytest

from tests.complement.client import PATCH, USER, Homeserver, Scim, answer, path_of
from tests.complement.conftest import STABLE, UNSTABLE

PASSWORD = "kHx3-vdW8-ooQn"
REFUSED = {404, 405, 501}
"""How what is not announced is answered."""


def test_life_of_an_account(scim: Scim, homeserver: Homeserver, name: str) -> None:
    """Created, read, replaced, disabled, enabled, deleted: a Matrix client sees each step at once."""
    user = scim.create(name, displayName="Ann", password=PASSWORD)
    token = homeserver.token(name, PASSWORD)
    assert scim.read(user) == user

    user = scim.replace(user, displayName="Anna")
    assert homeserver.profile(name)["displayname"] == "Anna"
    assert homeserver.whoami(token).status_code == 200

    user = scim.replace(user, active=False)
    assert homeserver.whoami(token).status_code == 401
    user = scim.replace(user, active=True, password=PASSWORD)
    token = homeserver.token(name, PASSWORD)

    scim.delete(user)
    assert homeserver.whoami(token).status_code == 401
    assert homeserver.login(name, PASSWORD).status_code in {401, 403}


def test_created_user_has_a_location(scim: Scim, homeserver: Homeserver, name: str) -> None:
    """201 with `Location`, which is `meta.location` and ends in the endpoints' own path (RFC 7644 §3.3)."""
    response = scim.request("POST", "/Users", {"schemas": [USER], "userName": name})

    user = answer(response, 201)
    assert response.headers["Location"] == user["meta"]["location"]
    assert f"{scim.prefix}/Users/" in user["meta"]["location"]
    assert user["meta"]["resourceType"] == "User"
    assert USER in user["schemas"]
    assert homeserver.profile(name) is not None


def test_name_is_taken(scim: Scim, name: str) -> None:
    """The same `userName`, in whatever case, is a 409 (RFC 7644 §3.3)."""
    scim.create(name)

    for again in (name, name.upper()):
        error = answer(scim.request("POST", "/Users", {"schemas": [USER], "userName": again}), 409)
        assert (error["scimType"], error["status"]) == ("uniqueness", "409")


@pytest.mark.parametrize(
    "body", [{"schemas": [USER]}, {"schemas": [USER], "userName": ""}, {"schemas": [USER], "userName": 5}, []]
)
def test_bad_body_is_refused(scim: Scim, body: object) -> None:
    """What is no User makes none (RFC 7644 §3.12)."""
    error = answer(scim.request("POST", "/Users", body), 400)

    assert error["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]


def test_deleted_user_is_gone(scim: Scim, name: str) -> None:
    """404 from then on, whatever is asked (RFC 7644 §3.6), and in no list."""
    user = scim.create(name)
    scim.delete(user)

    for method, body in (("GET", None), ("PUT", user), ("DELETE", None)):
        error = answer(scim.request(method, path_of(user), body), 404)
        assert error["status"] == "404"
    listed = answer(scim.request("GET", "/Users", params={"filter": f'userName eq "{name}"'}), 200)
    assert listed["totalResults"] == 0


def test_user_who_never_was(scim: Scim, homeserver: Homeserver, name: str) -> None:
    """404 (RFC 7644 §3.12)."""
    answer(scim.request("GET", path_of({"id": homeserver.user_id(name)})), 404)


def test_users_are_listed_in_pages(scim: Scim, name: str) -> None:
    """Pages of the size that was asked for, with the total of all (RFC 7644 §3.4.2.4)."""
    made = {scim.create(f"{name}-{number}")["id"] for number in range(3)}
    first = answer(scim.request("GET", "/Users", params={"startIndex": 1, "count": 2}), 200)
    assert (first["startIndex"], first["itemsPerPage"], len(first["Resources"])) == (1, 2, 2)
    total = first["totalResults"]
    assert total >= 3

    seen: list[str] = []
    while len(seen) < total:
        page = answer(scim.request("GET", "/Users", params={"startIndex": len(seen) + 1, "count": 50}), 200)
        assert page["totalResults"] == total
        assert page["Resources"], "a page before the last has somebody on it"
        seen += [user["id"] for user in page["Resources"]]

    assert len(set(seen)) == len(seen)
    assert made <= set(seen)


def test_both_prefixes_lead_to_the_same(homeserver: Homeserver, name: str) -> None:
    """Who is created below one is found below the other (MSC4098, "Unstable prefix")."""
    stable, unstable = (Scim(homeserver, prefix) for prefix in (STABLE, UNSTABLE))
    user = stable.create(name, displayName="Ann")

    assert unstable.read(user)["displayName"] == "Ann"
    unstable.replace(user, displayName="Anna")
    assert stable.read(user)["displayName"] == "Anna"
    unstable.delete(user)
    answer(stable.request("GET", path_of(user)), 404)


def test_patch_is_as_announced(scim: Scim, homeserver: Homeserver, name: str) -> None:
    """PATCH is optional: where it is announced it works (RFC 7644 §3.5.2), elsewhere it is refused."""
    config = answer(scim.request("GET", "/ServiceProviderConfig"), 200)
    user = scim.create(name, displayName="Ann")
    operations = [{"op": "replace", "path": "displayName", "value": "Anna"}]

    response = scim.request("PATCH", path_of(user), {"schemas": [PATCH], "Operations": operations})

    works = config["patch"]["supported"]
    assert response.status_code in ({200, 204} if works else REFUSED), response.text
    assert homeserver.profile(name)["displayname"] == ("Anna" if works else "Ann")


def test_filter_is_as_announced(scim: Scim, name: str) -> None:
    """Filters are optional: where they are announced they find somebody by name, whatever its case."""
    config = answer(scim.request("GET", "/ServiceProviderConfig"), 200)
    user = scim.create(name)

    response = scim.request("GET", "/Users", params={"filter": f'userName eq "{name.upper()}"'})

    if config["filter"]["supported"]:
        found = answer(response, 200)
        assert [found["totalResults"], [person["id"] for person in found["Resources"]]] == [1, [user["id"]]]
    else:
        assert response.status_code in {400, *REFUSED}, "a filter that is not understood must not find everybody"


def test_etag_is_as_announced(scim: Scim, name: str) -> None:
    """Versions are optional: where they are announced, a write to another version than the present is refused."""
    config = answer(scim.request("GET", "/ServiceProviderConfig"), 200)
    user = scim.create(name)

    if config["etag"]["supported"]:
        headers = {"If-Match": 'W/"another"'}
        response = scim.homeserver.request(
            "PUT",
            scim.prefix + path_of(user),
            {**user, "displayName": "Anna"},
            headers={**headers, "Content-Type": "application/scim+json"},
            token=scim.homeserver.admin_token,
        )
        assert response.status_code == 412, response.text
        assert scim.read(user) == user
    else:
        assert "version" not in user["meta"]
