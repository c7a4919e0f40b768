"""Where SCIM answers, and where it does not."""

from __future__ import annotations

import gzip
from urllib.parse import urlsplit

import pytest

from tests.support.client import ScimClient
from tests.support.configuration import http_listener, scim_module
from tests.support.homeserver import StartHomeserver
from tests.web.clients import (
    ENTERPRISE,
    SERVER,
    STABLE,
    UNSTABLE,
    Admin,
    Scim,
    assert_error,
    assert_scim,
    new_user,
)


async def test_locations_follow_the_configuration_and_the_request(admin: Admin) -> None:
    """URLs are made of `public_baseurl` and the prefix of the request, `/v2` included, never of `Host`.

    Each of them can be requested as it stands (RFC 7644 §3.13, the documentation).
    """
    lies = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher"}
    boss = (await admin.scim.create("boss"))["id"]
    for number, prefix in enumerate((STABLE, UNSTABLE, f"{STABLE}/v2", f"{UNSTABLE}/v2")):
        scim, scim_root = Scim(admin.homeserver.url, admin.token, prefix), f"{SERVER}{prefix}"
        body = new_user(f"ann lee/ü{number}", **{ENTERPRISE: {"manager": {"value": boss}}})

        response = await scim.post("/Users", body, headers=lies)

        ann = assert_scim(response, 201)
        location = ann["meta"]["location"]
        assert location.startswith(f"{scim_root}/Users/")
        assert response.headers["location"] == location
        assert ann[ENTERPRISE]["manager"]["$ref"] == f"{scim_root}/Users/@boss:example.org"
        assert (await scim.get(urlsplit(location).path.removeprefix(prefix), headers=lies)).json == ann
        listed = await scim.get("/Users", params={"filter": f'id eq "{ann["id"]}"'}, headers=lies)
        assert listed.json["Resources"] == [ann]
        replaced = await scim.put(ann["id"], {**ann, "title": "Dr"}, headers=lies)
        assert replaced.json["meta"]["location"] == location
        for path in ("/ServiceProviderConfig", "/ResourceTypes/User", f"/Schemas/{ENTERPRISE}"):
            described = await scim.get(path, headers=lies)
            assert described.json["meta"]["location"] == f"{scim_root}{path}"
        for path in ("/ResourceTypes", "/Schemas"):
            for item in (await scim.get(path, headers=lies)).json["Resources"]:
                assert item["meta"]["location"] == f"{scim_root}{path}/{item['id']}"


async def test_prefixes_serve_the_same_resources(admin: Admin) -> None:
    """What is made under one prefix is found under the other, the same but for URLs (the documentation)."""
    stable, unstable = admin.scim, Scim(admin.homeserver.url, admin.token, UNSTABLE)
    boss = await stable.create("boss")
    ann = await stable.create("ann", **{ENTERPRISE: {"manager": {"value": boss["id"]}}})

    same = await unstable.read(ann["id"])

    assert same["meta"].pop("location") == f"{SERVER}{UNSTABLE}/Users/@ann:example.org"
    assert ann["meta"].pop("location") == f"{SERVER}{STABLE}/Users/@ann:example.org"
    assert same[ENTERPRISE]["manager"].pop("$ref").replace(UNSTABLE, STABLE) == ann[ENTERPRISE]["manager"].pop("$ref")
    assert same.pop("meta").keys() == ann.pop("meta").keys()
    assert same == ann


@pytest.mark.parametrize(
    ("key", "off", "on"), [("stable_prefix", STABLE, UNSTABLE), ("unstable_prefix", UNSTABLE, STABLE)]
)
async def test_each_prefix_can_be_turned_off(start_homeserver: StartHomeserver, key: str, off: str, on: str) -> None:
    """A prefix that is turned off is not there, and the other one is (the documentation)."""
    admin = await Admin.of(await start_homeserver(module=scim_module({key: False})))

    for path in ("/Users", "/v2/Users", "/ServiceProviderConfig"):
        assert (await Scim(admin.homeserver.url, admin.token, off).get(path)).status == 404
        assert_scim(await Scim(admin.homeserver.url, admin.token, on).get(path), 200)


async def test_listeners_may_compress(start_homeserver: StartHomeserver) -> None:
    """With `compress: true` and without, both prefixes answer the same, to clients that can unpack and others."""
    listeners = [http_listener("client", compress=True), http_listener("client", compress=False)]
    admin = await Admin.of(await start_homeserver(listeners=listeners))
    await admin.scim.create("ann")

    for port in admin.homeserver.ports:
        for prefix in (STABLE, UNSTABLE):
            scim = Scim(f"http://127.0.0.1:{port}", admin.token, prefix)
            plain = await scim.get("/Users")
            packed = await scim.get("/Users", headers={"Accept-Encoding": "gzip"})
            assert assert_scim(plain, 200)["totalResults"] == 2
            assert packed.headers["content-type"] == plain.headers["content-type"]
            unpacked = gzip.decompress(packed.body) if "content-encoding" in packed.headers else packed.body
            assert unpacked == plain.body
            # Writes and errors pass the same way.
            error = await scim.post("/Users", new_user("ann"), headers={"Accept-Encoding": "gzip"})
            assert error.status == 409


async def test_only_listeners_for_clients_answer(start_homeserver: StartHomeserver) -> None:
    """Listeners for federation, metrics or replication know no SCIM, whoever asks (the documentation)."""
    others = [http_listener(name) for name in ("federation", "metrics", "replication", "health")]
    listeners = [http_listener("client", "federation"), *others, http_listener("client")]
    admin = await Admin.of(await start_homeserver(listeners=listeners, config={"enable_metrics": True}))
    ports = admin.homeserver.ports
    urls = [f"http://127.0.0.1:{port}" for port in ports]

    for prefix in (STABLE, UNSTABLE):
        for path in ("/Users", "/v2/Users", "/ServiceProviderConfig", "/Me", ""):
            statuses = [(await Scim(url, admin.token, prefix).get(path)).status for url in urls]
            assert statuses == [200, 404, 404, 404, 404, 200]


async def test_head_is_get_without_a_body(admin: Admin) -> None:
    """HEAD tells what GET would (RFC 9110 §9.3.2)."""
    for prefix in (STABLE, UNSTABLE):
        scim = Scim(admin.homeserver.url, admin.token, prefix)
        for path in ("/Users/@admin:example.org", "/Users", "/Schemas"):
            told, head = await scim.get(path), await scim.request("HEAD", path)
            assert (head.status, head.body) == (200, b"")
            assert head.headers["content-type"] == told.headers["content-type"]
            assert head.headers.get("etag") == told.headers.get("etag")
        assert (await scim.request("HEAD", "/Users/@nobody:example.org")).status == 404


async def test_unknown_paths_are_scim_errors(admin: Admin) -> None:
    """What is not there is 404 in SCIM's form, Groups included (the documentation); the server itself goes on."""
    for prefix in (STABLE, UNSTABLE, f"{STABLE}/v2"):
        scim = Scim(admin.homeserver.url, admin.token, prefix)
        for path in ("/Nothing", "/Users/@ann:example.org/name", "/Groups", "/Groups/1", "/v3/Users", "/Users/a/b/c/d"):
            assert_error(await scim.get(path), 404)
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            path = "/Groups" if method == "POST" else "/Groups/1"
            assert_error(await scim.request(method, path, {"displayName": "Staff"}), 404)
        assert_error(await scim.post("/Groups/.search", {}), 404)
        assert_error(await scim.get("/Schemas/urn:example:unknown"), 404)
        assert_error(await scim.get("/ResourceTypes/Group"), 404)
    assert_error(await admin.scim.get("/v2/v2/Users"), 404)
    whole = ScimClient(admin.homeserver.url, admin.token, "")
    assert (await whole.request("GET", "/_scimmer/Users")).status == 404
    assert (await whole.request("GET", f"{UNSTABLE}mer/Users")).status == 404
    assert (await whole.request("GET", "/_matrix/client/versions")).status == 200


async def test_methods_that_an_endpoint_lacks(admin: Admin) -> None:
    """A method that an endpoint has not is 405, and `Allow` names those it has (RFC 9110 §15.5.6)."""
    wrong = [
        ("PUT", "/Users", {"GET", "POST"}),
        ("PATCH", "/Users", {"GET", "POST"}),
        ("DELETE", "/Users", {"GET", "POST"}),
        ("POST", "/Users/@ann:example.org", {"GET", "PUT", "PATCH", "DELETE"}),
        ("GET", "/Bulk", {"POST"}),
        ("POST", "/Schemas", {"GET"}),
        ("DELETE", "/ServiceProviderConfig", {"GET"}),
        ("PUT", "/ResourceTypes/User", {"GET"}),
        ("GET", "/.search", {"POST"}),
    ]
    for prefix in (STABLE, UNSTABLE):
        scim = Scim(admin.homeserver.url, admin.token, prefix)
        for method, path, allowed in wrong:
            response = await scim.request(method, path, None if method == "GET" else {})
            assert_error(response, 405)
            assert {name.strip() for name in response.headers["allow"].split(",")} >= allowed, (method, path)
        assert (await scim.request("PROPFIND", "/Users")).status == 405
    assert_error(await admin.scim.request("PROPFIND", "/Users"), 405)


async def test_requests_in_the_form_of_careless_clients(admin: Admin) -> None:
    """A trailing slash, any Accept, a Content-Type on GET, no User-Agent: identity providers send all that (IdP)."""
    await admin.scim.create("ann")
    for headers in (
        {"Accept": None},
        {"Accept": "*/*", "User-Agent": ""},
        {"Accept": "application/json", "Content-Type": "application/scim+json"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Accept": "application/scim+json; charset=utf-8", "Content-Type": ""},
    ):
        for path in ("/Users", "/Users/", "/Users/@ann:example.org", "/Users/@ann:example.org/", "/", "/Schemas/"):
            assert_scim(await admin.scim.get(path, headers=headers), 200)
    for content_type in ("application/json", "application/json; charset=utf-8", "application/scim+json;charset=UTF-8"):
        body = {"Content-Type": content_type}
        search = await admin.scim.request("POST", "/Users/.search", body=b'{"count": 1}', headers=body)
        assert assert_scim(search, 200)["itemsPerPage"] == 1


async def test_answers_are_not_for_caches(scim: Scim) -> None:
    """What is said of people is not for caches to keep (RFC 7644 §7.5.2)."""
    for path in ("/Users", "/Users/@admin:example.org", "/Me", "/Nothing"):
        assert (await scim.get(path)).headers["cache-control"] == "no-store"
