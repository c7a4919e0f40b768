"""The configuration: its defaults, and what each wrong value is told."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
import yaml
from jinja2.exceptions import SecurityError
from synapse.module_api.errors import ConfigError

from synapse_scim import ScimModule
from synapse_scim.config import Client, Config, ConfigurationError, Rate, Scope, parse
from synapse_scim.homeserver.settings import parse_duration_ms, parse_size

SECRET = "hunter2"
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
OKTA: dict[str, Any] = {"name": "okta", "token_sha256": [DIGEST]}


def parsed(**raw: Any) -> Config:
    """Return what a configuration means."""
    return parse(raw, parse_size=parse_size, parse_duration_ms=parse_duration_ms)


def test_an_empty_configuration_gives_the_defaults() -> None:
    """Every key is optional, and its default is the documented one."""
    config = parsed()

    assert (config.stable_prefix, config.unstable_prefix, config.read_only) == (True, True, False)
    assert (config.admin_tokens, config.clients) == (True, ())
    assert (config.localpart, config.localpart_taken, config.display_name) == (None, "number", None)
    assert (config.threepids.email, config.threepids.msisdn, config.threepids.phone_region) == (True, True, None)
    assert (config.visibility, config.adopt, config.protected) == ("all", "verified", ())
    assert config.sso.providers == {}
    assert config.password.end_sessions is True
    assert (config.limits.page_size, config.limits.bulk_operations) == (1000, 1000)
    assert (config.limits.body_size, config.limits.bulk_body_size, config.limits.filter_length) == (
        1024 * 1024,
        4 * 1024 * 1024,
        8 * 1024,
    )
    assert config.cursor_secret_path is None
    assert config.trace is None
    assert config.profile_fields == {}
    assert (config.inactive.deactivate_after, config.inactive.end_sessions) == (timedelta(days=30), False)
    assert (config.deleted.deactivate_after, config.deleted.erase) == (timedelta(0), False)
    assert (config.deleted.revive_within, config.deleted.forget_after) == (timedelta(days=90), timedelta(days=365))
    guard = config.guard
    assert (guard.window, guard.share, guard.count, guard.at_least) == (timedelta(hours=1), 0.2, None, 20)
    assert (config.room_succession.enabled, config.room_succession.successor) == (False, None)
    assert (config.photos.fetch, config.photos.max_size) == (True, 5 * 1024 * 1024)
    assert config.reconcile == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("most", "share", "count"),
    [("5%", 0.05, None), ("12.5 %", 0.125, None), (7, None, 7), (0, None, 0), (None, None, None)],
)
def test_the_guard_counts_or_shares(most: object, share: float | None, count: int | None) -> None:
    """`guard.max` is a number of accounts, a share of them, or no guard at all."""
    guard = parsed(guard={"max": most, "window": "2h", "at_least": 3}).guard

    assert (guard.share, guard.count, guard.window, guard.at_least) == (share, count, timedelta(hours=2), 3)


def test_durations_are_read_as_synapse_reads_them() -> None:
    """With a unit, or in milliseconds; who is disabled may be left so."""
    config = parsed(
        inactive={"deactivate_after": "never", "end_sessions": True},
        deleted={"deactivate_after": "1w", "erase": True, "revive_within": 0, "forget_after": 1500},
        reconcile="30s",
    )

    assert (config.inactive.deactivate_after, config.inactive.end_sessions) == (None, True)
    assert (config.deleted.deactivate_after, config.deleted.erase) == (timedelta(days=7), True)
    assert (config.deleted.revive_within, config.deleted.forget_after) == (timedelta(0), timedelta(seconds=1.5))
    assert config.reconcile == timedelta(seconds=30)


def test_nulls_that_stand_for_the_defaults() -> None:
    """The documentation writes `null` for what is not set."""
    assert (
        parsed(
            localpart=None,
            display_name=None,
            cursor_secret_path=None,
            threepids={"phone_region": None},
            sso={"idp_id": None, "domains": {}},
        )
        == parsed()
    )


def test_every_setting_is_read() -> None:
    """Whatever is written is what counts."""
    config = parsed(
        stable_prefix=False,
        unstable_prefix=False,
        read_only=True,
        admin_tokens=False,
        localpart="{{ user.externalId }}",
        localpart_taken="refuse",
        display_name="{{ user.userName }}",
        threepids={"email": False, "msisdn": False, "phone_region": "AT"},
        visibility="own",
        adopt="never",
        protected=["@boss:.*", "@ceo"],
        password={"end_sessions": False},
        limits={"page_size": 5, "bulk_operations": 6, "body_size": 7, "bulk_body_size": "2K", "filter_length": "1M"},
        cursor_secret_path="cursor.key",
        profile_fields={"m.tz": "timezone"},
        room_succession={"enabled": True, "successor": "@boss:example.org"},
        photos={"fetch": False, "max_size": "1K"},
    )

    assert (config.stable_prefix, config.unstable_prefix, config.read_only) == (False, False, True)
    assert config.admin_tokens is False
    assert config.localpart is not None
    assert config.localpart.render(user={"externalId": "7"}) == "7"
    assert config.localpart_taken == "refuse"
    assert config.display_name is not None
    assert config.display_name.render(user={"userName": None}) == ""
    assert (config.threepids.email, config.threepids.msisdn, config.threepids.phone_region) == (False, False, "AT")
    assert (config.visibility, config.adopt) == ("own", "never")
    assert config.protected == (re.compile("@boss:.*"), re.compile("@ceo"))
    assert config.password.end_sessions is False
    assert (config.limits.page_size, config.limits.bulk_operations) == (5, 6)
    assert (config.limits.body_size, config.limits.bulk_body_size, config.limits.filter_length) == (7, 2048, 1024**2)
    assert config.cursor_secret_path == "cursor.key"
    assert config.profile_fields == {"m.tz": "timezone"}
    assert (config.room_succession.enabled, config.room_succession.successor) == (True, "@boss:example.org")
    assert (config.photos.fetch, config.photos.max_size) == (False, 1024)


@pytest.mark.parametrize(
    ("sso", "providers"),
    [
        ({"idp_id": "oidc-corp"}, {"default": "oidc-corp"}),
        ({"domains": {"hr": "oidc-hr"}}, {"hr": "oidc-hr"}),
        ({"idp_id": "oidc-corp", "domains": {"hr": "oidc-hr"}}, {"default": "oidc-corp", "hr": "oidc-hr"}),
        ({"idp_id": "oidc-corp", "domains": {"default": "oidc-other"}}, {"default": "oidc-other"}),
    ],
)
def test_single_sign_on_providers_by_domain(sso: dict[str, Any], providers: dict[str, str]) -> None:
    """`idp_id` is the provider of the domain `default`, unless `domains` says otherwise."""
    assert parsed(sso=sso).sso.providers == providers


ISSUED: dict[str, Any] = {
    "issuer": "https://idp.example",
    "jwks_path": "keys.json",
    "audience": "scim",
    "algorithms": ["RS256"],
    "allowed_clients": ["hr"],
}
INTROSPECTED: dict[str, Any] = {"issuer": "https://iam.example", "client_id": "iam", "client_secret_path": "iam.secret"}


@pytest.mark.parametrize("name", ["okta", "hr@idp.example", "iam@iam.example", "@admin:example.org", None])
def test_whoever_may_call_can_be_traced(name: str | None) -> None:
    """Clients, issuers' clients and server administrators, by the names that logs give them."""
    assert parsed(trace=name, clients=[OKTA], jwt=[ISSUED], introspection=[INTROSPECTED]).trace == name


@pytest.mark.parametrize("name", ["octa", "Okta", "hr", "okta@idp.example", "@admin:example.org"])
def test_a_trace_of_nobody_is_refused(name: str) -> None:
    """A name with a typo would trace nothing, and nobody would see why."""
    with pytest.raises(ConfigurationError, match="must be the name of a client") as refused:
        parsed(trace=name, admin_tokens=False, clients=[OKTA], jwt=[ISSUED], introspection=[INTROSPECTED])
    assert refused.value.path == ("trace",)


def test_a_client_needs_a_name_and_a_token() -> None:
    """Everything else has a default; what it sees and adopts is what the settings for all say."""
    (client,) = parsed(clients=[OKTA]).clients
    assert client == Client(name="okta", token_sha256=(bytes.fromhex(DIGEST),))
    assert client.scopes == {Scope.users_read, Scope.users_write}
    assert (client.expires, client.networks, client.basic, client.domain) == (None, (), False, "default")
    assert (client.visibility, client.adopt, client.rate) == ("all", "verified", Rate())
    assert DIGEST not in repr(client)

    first, second = parsed(
        visibility="managed", adopt="never", clients=[OKTA, {"name": "hr", "token_paths": ["a", "b"], "adopt": "any"}]
    ).clients
    assert (first.visibility, first.adopt) == ("managed", "never")
    assert (second.visibility, second.adopt, second.token_paths) == ("managed", "any", ("a", "b"))


def test_every_setting_of_a_client_is_read() -> None:
    """Whatever is written is what counts; a time may be YAML's or ISO 8601's."""
    written = """
        - name: entra
          scopes: [users:read]
          token_paths: [entra.token]
          token_sha256: [%s]
          expires: 2027-06-30T02:00:00+02:00
          networks: [192.0.2.0/24, 198.51.100.7, "2001:db8::/32"]
          basic: true
          domain: hr
          visibility: own
          adopt: never
          rate: {per_second: 0.5, burst_count: 7}
        - {name: hr, token_paths: [hr.token], expires: "2027-06-30T00:00:00Z", rate: {burst_count: 1}}
        - {name: x.y_z-1, token_paths: [x.token], expires: null}
    """

    entra, human_resources, _ = parsed(clients=yaml.safe_load(written % DIGEST.upper())).clients

    assert entra == Client(
        name="entra",
        scopes=frozenset({Scope.users_read}),
        token_paths=("entra.token",),
        token_sha256=(bytes.fromhex(DIGEST),),
        expires=datetime(2027, 6, 30, tzinfo=UTC),
        networks=tuple(ip_network(network) for network in ("192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32")),
        basic=True,
        domain="hr",
        visibility="own",
        adopt="never",
        rate=Rate(per_second=0.5, burst_count=7),
    )
    assert (human_resources.expires, human_resources.rate) == (entra.expires, Rate(burst_count=1))


def test_templates_cannot_reach_into_the_program() -> None:
    """A template runs in Jinja2's sandbox, as Synapse's own do."""
    template = parsed(localpart="{{ user.__class__.__mro__ }}").localpart

    assert template is not None
    with pytest.raises(SecurityError):
        template.render(user={})


WRONG: list[tuple[dict[Any, Any], tuple[str, ...], str]] = [
    # Keys.
    ({"visibilty": SECRET}, ("visibilty",), "did you mean 'visibility'?"),
    ({"zzzz": SECRET}, ("zzzz",), "known here are admin_tokens, adopt, "),
    ({5: SECRET}, ("5",), "not a setting"),
    ({"tracing": {"client": SECRET}}, ("tracing",), "not a setting that this version knows"),
    ({"threepids": {"mail": SECRET}}, ("threepids", "mail"), "did you mean 'email'?"),
    ({"sso": {"provider": SECRET}}, ("sso", "provider"), "known here are domains, idp_id"),
    ({"limits": {"page_sise": SECRET}}, ("limits", "page_sise"), "did you mean 'page_size'?"),
    # Types.
    ({"stable_prefix": SECRET}, ("stable_prefix",), "must be true or false"),
    ({"read_only": "yes"}, ("read_only",), "must be true or false"),
    ({"localpart": [SECRET]}, ("localpart",), "must be a string or null"),
    ({"threepids": SECRET}, ("threepids",), "must be a mapping of keys to values"),
    ({"threepids": None}, ("threepids",), "must be a mapping of keys to values"),
    ({"protected": SECRET}, ("protected",), "must be a list"),
    ({"protected": ["ok", {"x": SECRET}]}, ("protected", "<item 1>"), "must be a string"),
    ({"limits": {"page_size": SECRET}}, ("limits", "page_size"), "must be a whole number"),
    ({"limits": {"page_size": True}}, ("limits", "page_size"), "must be a whole number"),
    ({"limits": {"page_size": None}}, ("limits", "page_size"), "must be a whole number"),
    ({"limits": {"body_size": 1.5}}, ("limits", "body_size"), "must be a whole number or a string"),
    ({"sso": {"domains": {"hr": 5}}}, ("sso", "domains", "hr"), "must be a string"),
    ({"cursor_secret_path": 5}, ("cursor_secret_path",), "must be a string or null"),
    # Values.
    ({"localpart_taken": SECRET}, ("localpart_taken",), "must be one of number, refuse"),
    ({"visibility": SECRET}, ("visibility",), "must be one of all, managed, own"),
    ({"adopt": None}, ("adopt",), "must be one of verified, any, never"),
    ({"limits": {"bulk_operations": 0}}, ("limits", "bulk_operations"), "must be at least 1"),
    ({"limits": {"body_size": 0}}, ("limits", "body_size"), "must be at least 1"),
    ({"localpart": ""}, ("localpart",), "must not be empty"),
    ({"protected": [""]}, ("protected", "<item 0>"), "must not be empty"),
    ({"sso": {"idp_id": ""}}, ("sso", "idp_id"), "must not be empty"),
    ({"sso": {"domains": {"hr": ""}}}, ("sso", "domains", "hr"), "must not be empty"),
    ({"threepids": {"phone_region": SECRET}}, ("threepids", "phone_region"), "the two capital letters of a country"),
    ({"threepids": {"phone_region": "de"}}, ("threepids", "phone_region"), "such as DE"),
    ({"threepids": {"phone_region": "UK"}}, ("threepids", "phone_region"), "such as DE"),
    # What the schema cannot tell.
    ({"localpart": "{{ hunter2 "}, ("localpart",), "is not a valid Jinja2 template"),
    ({"display_name": "{{ 1 | hunter2 }}"}, ("display_name",), "is not a valid Jinja2 template"),
    ({"protected": ["@ann:.*", "(hunter2"]}, ("protected", "<item 1>"), "is not a valid regular expression"),
    ({"protected": ["hunter2{99999999999}"]}, ("protected", "<item 0>"), "is not a valid regular expression"),
    *(
        ({section: {key: size}}, (section, key), "must be a size in bytes, such as 65536 or 4M")
        for section, key in (
            ("limits", "body_size"),
            ("limits", "bulk_body_size"),
            ("limits", "filter_length"),
            ("photos", "max_size"),
        )
        for size in (SECRET, "", "M", "1.5M", "0", "0K", "-4M")
    ),
    *(
        ({section: {key: duration}}, (section, key), "must be a duration of at most 100 years, such as 30d, 12h or 10m")
        for section, key in (
            ("inactive", "deactivate_after"),
            ("deleted", "revive_within"),
            ("deleted", "forget_after"),
            ("guard", "window"),
        )
        for duration in (SECRET, "", "d", "1.5h", "-1s", "9" * 30)
    ),
    ({"reconcile": SECRET}, ("reconcile",), "must be a duration"),
    ({"deleted": {"deactivate_after": "never"}}, ("deleted", "deactivate_after"), "must be a duration"),
    ({"inactive": {"deactivate_after": -1}}, ("inactive", "deactivate_after"), "must be at least 0"),
    *(
        ({"guard": {"max": most}}, ("guard", "max"), "must be a number of accounts, a share such as 20%, or null")
        for most in (SECRET, "", "20", "101%", "-5%", "%")
    ),
    ({"guard": {"max": -1}}, ("guard", "max"), "must be at least 0"),
    ({"profile_fields": {"m.tz": ""}}, ("profile_fields", "m.tz"), "must not be empty"),
    # Clients.
    ({"clients": {"okta": SECRET}}, ("clients",), "must be a list"),
    ({"clients": [SECRET]}, ("clients", "<item 0>"), "must be a mapping of keys to values"),
    ({"clients": [OKTA, {"token_sha256": [DIGEST]}]}, ("clients", "<item 1>", "name"), "must be given"),
    ({"clients": [OKTA | {"token": SECRET}]}, ("clients", "<item 0>", "token"), "did you mean 'token_paths'?"),
    ({"clients": [{"name": "okta"}]}, ("clients", "<item 0>"), "has no token"),
    ({"clients": [{"name": "okta", "token_paths": []}]}, ("clients", "<item 0>"), "has no token"),
    ({"clients": [OKTA | {"token_paths": ["a", "b"]}]}, ("clients", "<item 0>"), "more than two tokens"),
    ({"clients": [OKTA, OKTA | {"name": "Okta"}]}, ("clients", "<item 1>", "name"), "name of another client"),
    ({"clients": [OKTA, OKTA | {"name": "hr"}]}, ("clients", "<item 1>", "token_sha256"), "token of another client"),
    (
        {"clients": [{"name": name, "token_paths": ["hunter2"]} for name in ("okta", "hr")]},
        ("clients", "<item 1>", "token_paths"),
        "a file of another client",
    ),
    *(
        ({"clients": [OKTA | {"name": name}]}, ("clients", "<item 0>", "name"), "must be at most 64 letters, digits")
        for name in ("hunter2 ", "-hunter2", "hunter2:", "@hunter2", "hunter2\n", "h\u00fcnter2", "a" * 65)
    ),
    *(
        ({"clients": [OKTA | {key: value}]}, ("clients", "<item 0>", *path), message)
        for key, value, path, message in (
            ("name", 5, ("name",), "must be a string"),
            ("name", "", ("name",), "must not be empty"),
            ("scopes", [], ("scopes",), "must not be empty"),
            ("scopes", ["users:read", SECRET], ("scopes", "<item 1>"), "must be one of users:read, users:write"),
            ("token_paths", SECRET, ("token_paths",), "must be a list"),
            ("token_paths", [""], ("token_paths", "<item 0>"), "must not be empty"),
            ("token_sha256", [SECRET], ("token_sha256", "<item 0>"), "must be a SHA-256 digest: 64 hexadecimal"),
            ("token_sha256", [DIGEST + "\n"], ("token_sha256", "<item 0>"), "must be a SHA-256 digest"),
            ("token_sha256", [DIGEST, DIGEST.upper()], ("token_sha256",), "names a token twice"),
            ("expires", SECRET, ("expires",), "must be a date and a time with its zone"),
            ("expires", "2027-06-30T00:00:00", ("expires",), "must be a date and a time with its zone"),
            ("expires", yaml.safe_load("2027-06-30T00:00:00"), ("expires",), "with its zone"),
            ("expires", yaml.safe_load("2027-06-30"), ("expires",), "with its zone"),
            ("expires", 1814313600, ("expires",), "with its zone"),
            ("networks", [SECRET], ("networks", "<item 0>"), "must be an address, or a network such as 192.0.2.0/24"),
            ("networks", ["192.0.2.1/24"], ("networks", "<item 0>"), "no bits set behind it"),
            ("basic", "yes", ("basic",), "must be true or false"),
            ("domain", "", ("domain",), "must not be empty"),
            ("visibility", SECRET, ("visibility",), "must be one of all, managed, own"),
            ("adopt", SECRET, ("adopt",), "must be one of verified, any, never"),
            ("rate", 5, ("rate",), "must be a mapping"),
            ("rate", {"per_second": 0}, ("rate", "per_second"), "must be more than 0"),
            ("rate", {"per_second": SECRET}, ("rate", "per_second"), "must be a number"),
            ("rate", {"per_second": float("inf")}, ("rate", "per_second"), "must be a number"),
            ("rate", {"burst_count": 0}, ("rate", "burst_count"), "must be at least 1"),
        )
    ),
]


@pytest.mark.parametrize(("raw", "path", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_setting_is_named_and_its_value_is_not(
    raw: dict[str, Any], path: tuple[str, ...], message: str
) -> None:
    """The error has the path of the setting and what is wrong with it, and never a value: that may be a secret."""
    with pytest.raises(ConfigurationError) as refused:
        parse(raw, parse_size=parse_size, parse_duration_ms=parse_duration_ms)

    assert refused.value.path == path
    assert message in str(refused.value)
    assert SECRET not in str(refused.value)


def test_synapse_is_told_as_it_wants_to_be() -> None:
    """The module's hook returns the configuration, or raises Synapse's own error with path, message and no value."""
    assert ScimModule.parse_config({}) == Config()

    with pytest.raises(ConfigError) as refused:
        ScimModule.parse_config({"limits": {"page_size": SECRET}})

    assert refused.value.path == ("limits", "page_size")
    assert refused.value.msg == "'limits.page_size' must be a whole number"
    assert refused.value.__suppress_context__
