"""How clients may authenticate, as `/ServiceProviderConfig` announces it."""

from __future__ import annotations

from collections.abc import Iterator

from scim2_models import AuthenticationScheme, Reference

from synapse_scim.config import Config

OAUTH = "https://www.rfc-editor.org/info/rfc6749"
BEARER = "https://www.rfc-editor.org/info/rfc6750"
BASIC = "https://www.rfc-editor.org/info/rfc7617"
MATRIX_TOKENS = "https://spec.matrix.org/latest/client-server-api/#using-access-tokens"


def authentication_schemes(config: Config) -> list[AuthenticationScheme]:
    """Return the schemes that the configuration allows, the preferred one first.

    Each has a name, a description and URLs, without which authentik takes the server to support nothing.
    """
    schemes = list(_schemes(config))
    for scheme in schemes[:1]:
        scheme.primary = True
    return schemes


def _schemes(config: Config) -> Iterator[AuthenticationScheme]:
    if config.clients:
        yield _scheme("oauthbearertoken", "Client token", "A token of this SCIM client", BEARER, BEARER)
    if config.admin_tokens:
        yield _scheme(
            "oauthbearertoken",
            "Access token",
            "An access token of a server administrator of this Matrix homeserver",
            BEARER,
            MATRIX_TOKENS,
        )
    if config.jwt or config.introspection:
        yield _scheme(
            "oauth2",
            "OAuth 2.0",
            "An access token of an authorization server that this Matrix homeserver trusts",
            OAUTH,
            BEARER,
        )
    if any(client.basic for client in config.clients):
        yield _scheme("httpbasic", "HTTP Basic", "Name and token of this SCIM client", BASIC, BASIC)


def _scheme(kind: str, name: str, description: str, specification: str, documentation: str) -> AuthenticationScheme:
    return AuthenticationScheme(
        type=AuthenticationScheme.Type(kind),
        name=name,
        description=description,
        spec_uri=Reference(specification),
        documentation_uri=Reference(documentation),
    )
