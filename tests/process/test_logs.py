"""Logs hide what must not be read there: every homeserver of the tests is looked at, and here the looking itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.support.confidential import Leaked, check_log
from tests.support.configuration import scim_module
from tests.support.homeserver import StartHomeserver
from tests.support.process import SpawnHomeserver
from tests.web.clients import Admin, Scim, bulk_of, new_user
from tests.web.tokens import basic, client, token_of

LOGGER = logging.getLogger("synapse_scim.planted")

PASSWORD = "staple-battery-horse"
EMAIL = "ann.lee@people.example"
PHONE = "+49 30 7654321"
SECRETS = {
    "client token": token_of("okta"),
    "password": PASSWORD,
    "e-mail address": EMAIL,
    "phone number": PHONE,
    "body": '{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ann", "password": "staple-batt',
}
ANN = new_user("ann", password=PASSWORD, emails=[{"value": EMAIL}], phoneNumbers=[{"value": PHONE}])
CONFIG = {"clients": [client("okta", basic=True, adopt="any")]}


@pytest.mark.parametrize("kind", SECRETS)
async def test_a_secret_in_a_log_fails_the_test(start_homeserver: StartHomeserver, kind: str) -> None:
    """What a test sent and a homeserver logged is found, at whatever level the module logged it."""
    homeserver = await start_homeserver(module=scim_module(CONFIG))
    await Admin.of(homeserver)
    await Scim(homeserver.url, token_of("okta")).post("/Users", ANN)
    LOGGER.debug("planted: %s.", SECRETS[kind])

    with pytest.raises(Leaked) as raised:
        await homeserver.stop()
    assert SECRETS[kind] in str(raised.value)


async def test_a_secret_in_the_log_of_a_process_fails_the_test(spawn_homeserver: SpawnHomeserver) -> None:
    """What a homeserver in a process of its own logged is looked at too, when it is removed."""
    homeserver = await spawn_homeserver()
    (homeserver._folder / "homeserver.log").write_text(f"2020-01-01 - synapse_scim - DEBUG - - {token_of('okta')}\n")

    with pytest.raises(Leaked, match="scim_okta"):
        homeserver.remove()
    # The fixture removes it once more.
    homeserver._database.folder.mkdir()


async def test_a_query_string_in_the_access_log_is_synapses(start_homeserver: StartHomeserver) -> None:
    """The values of filters are in Synapse's access log (documentation), and nowhere else."""
    homeserver = await start_homeserver(module=scim_module())
    scim = (await Admin.of(homeserver)).scim
    await scim.create("ann", emails=[{"value": EMAIL}])
    await scim.names(f'emails.value eq "{EMAIL}"')
    access = [record for record in homeserver.log_records if record.name.startswith("synapse.access.")]
    assert any(EMAIL.replace("@", "%40") in record.getMessage() for record in access)

    check_log(f"2020-01-01 INFO synapse.access.http.8008: 127.0.0.1 - GET /_scim/Users?filter={EMAIL} HTTP/1.1")
    with pytest.raises(Leaked):
        check_log(f"2020-01-01 INFO synapse.access.http.8008: 127.0.0.1 - GET /_scim/Users/{EMAIL} HTTP/1.1")
    with pytest.raises(Leaked):
        check_log(f"2020-01-01 INFO synapse_scim: GET /_scim/Users?filter={EMAIL}")


class _Everything(logging.Handler):
    """Keeps what is logged at any level, by logger."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: dict[str, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a text."""
        self.texts.setdefault(record.name, []).append(logging.Formatter().format(record))


@pytest.fixture
def everything() -> Iterator[_Everything]:
    """All that is logged, DEBUG included."""
    root, handler = logging.getLogger(), _Everything()
    level = root.level
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


async def test_at_debug_only_synapses_own_loggers_show_what_they_handle(
    start_homeserver: StartHomeserver, everything: _Everything
) -> None:
    """With everything at DEBUG, no logger shows what requests said but the one of Synapse that the documentation names.

    Passwords and the tokens of clients it does not show either.
    """
    homeserver = await start_homeserver(module=scim_module(CONFIG))
    admin = await Admin.of(homeserver)
    logging.getLogger().setLevel(logging.DEBUG)
    scim = Scim(homeserver.url, token_of("okta"))

    assert (await scim.post("/Users", ANN)).status == 201
    for headers in ({}, basic("okta", token_of("okta")), basic("other", token_of("okta"))):
        await scim.post("/Users/.search", {"filter": f'emails.value eq "{EMAIL}"'}, headers=headers)
    await scim.patched("@ann:example.org", {"op": "replace", "path": "password", "value": f"{PASSWORD}-2"})
    await scim.replaced("@ann:example.org", {**ANN, "active": False})
    await scim.post("/Users", {**ANN, "userName": "bob"})
    await scim.post("/Users", {**ANN, "userName": "bob", "emails": EMAIL})
    await scim.post("/Bulk", bulk_of({"method": "POST", "path": "/Users", "bulkId": "1", "data": {**ANN, "title": 5}}))
    await scim.request("POST", "/Users", body=f'{{"password": "{PASSWORD}", '.encode())
    await scim.delete("@ann:example.org")
    logging.getLogger().setLevel(logging.INFO)

    secrets = {**SECRETS, "access token": admin.token}
    talkative = {
        name: kinds
        for name, texts in everything.texts.items()
        if (kinds := {kind for kind, secret in secrets.items() if any(secret in text for text in texts)})
    }
    assert set(talkative) == {"synapse.storage.SQL"}
    shown = {"e-mail address", "phone number"}
    # Synapse looks for an access token once, and remembers it.
    assert shown <= talkative["synapse.storage.SQL"] <= {*shown, "access token"}
    assert any(name.startswith("synapse_scim") for name in everything.texts)
