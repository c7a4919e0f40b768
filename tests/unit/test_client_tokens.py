"""Which client a credential is, where that depends on the time and on addresses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from synapse_scim.config import Client, Rate, Scope
from synapse_scim.credentials.clients import ClientTokens, _Tokens
from synapse_scim.credentials.token_files import digest_of, new_token, next_path, write_token
from synapse_scim.subject import Credential, CredentialKind, Forbidden, Subject, Unauthenticated

END = datetime(2027, 6, 30, tzinfo=UTC)
TOKEN = "scim_okta"


async def test_tokens_end_when_they_expire() -> None:
    """The last moment of a token is the one before `expires`."""
    now = END - timedelta(milliseconds=1)
    tokens = ClientTokens([Client(name="okta", token_sha256=(digest_of(TOKEN),), expires=END)], lambda: now)

    assert await tokens.subject(None, Credential(token=TOKEN)) is not None
    now = END
    with pytest.raises(Unauthenticated, match="expired"):
        await tokens.subject(None, Credential(token=TOKEN))


@pytest.mark.parametrize(
    ("network", "address", "within"),
    [
        ("192.0.2.0/24", "192.0.2.255", True),
        ("192.0.2.0/24", "192.0.3.0", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.0/24", "::ffff:192.0.2.7", True),
        ("192.0.2.0/24", "::ffff:c000:207", True),
        ("192.0.2.0/24", "::192.0.2.7", False),
        ("::ffff:192.0.2.0/120", "::ffff:192.0.2.7", True),
        ("2001:db8::/32", "2001:DB8:0:0::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "::1", False),
        ("0.0.0.0/0", "", False),
        ("0.0.0.0/0", "unknown", False),
        ("0.0.0.0/0", "192.0.2.07", False),
    ],
)
async def test_an_address_is_within_a_network(network: str, address: str, within: bool) -> None:  # noqa: FBT001
    """Both families count, an IPv4 address in IPv6's clothes as well; what is no address is nowhere."""
    client = Client(
        name="okta", token_sha256=(digest_of(TOKEN),), networks=(ip_network("198.51.100.1"), ip_network(network))
    )
    tokens = ClientTokens([client], lambda: END)
    credential = Credential(token=TOKEN, address=address)

    if within:
        assert await tokens.subject(None, credential) is not None
    else:
        with pytest.raises(Forbidden, match="may not call from"):
            await tokens.subject(None, credential)


async def test_a_caller_has_the_rights_of_its_client() -> None:
    """Whatever the configuration says of a client counts for its requests."""
    client = Client(
        name="okta",
        token_sha256=(digest_of(TOKEN),),
        basic=True,
        scopes=frozenset({Scope.users_read}),
        domain="hr",
        visibility="own",
        adopt="never",
        rate=Rate(per_second=1, burst_count=2),
    )
    tokens = ClientTokens([client], lambda: END)

    kinds: dict[str | None, CredentialKind] = {None: "client token", "okta": "basic"}
    for name, kind in kinds.items():
        assert await tokens.subject(None, Credential(token=TOKEN, name=name)) == Subject(
            name="okta",
            credential=kind,
            scopes=frozenset({Scope.users_read}),
            domain="hr",
            visibility="own",
            adopt="never",
            rate=Rate(per_second=1, burst_count=2),
        )


def test_a_token_that_takes_the_place_of_another_is_never_missed(tmp_path: Path) -> None:
    """Even while the files are looked at, the next token is in one that is still to come or has been seen."""
    path, second = tmp_path / "okta.token", new_token()
    write_token(path, new_token())
    write_token(next_path(path), second)

    digests = _Tokens.of(Client(name="okta", token_paths=(str(path),)), 0).digests()
    seen = [next(digests)]
    next_path(path).replace(path)
    seen += digests

    assert digest_of(second) in seen


async def test_what_has_been_compared_is_not_shown() -> None:
    """Neither the token nor its digest stands in what a log might show of a client or a credential."""
    client = Client(name="okta", token_sha256=(digest_of(TOKEN),))
    credential = Credential(token=TOKEN)
    subject = await ClientTokens([client], lambda: END).subject(None, credential)

    shown = f"{client!r} {credential!r} {subject!r}"

    assert TOKEN not in shown
    assert repr(digest_of(TOKEN)) not in shown
