"""What is wrong when a server does not answer as SCIM does, in words for whoever runs it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import httpx2

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


def json_object(answer: httpx2.Response) -> dict[str, Any] | None:
    """Return the JSON object that an answer holds, if it holds one."""
    try:
        body = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def is_scim(answer: httpx2.Response) -> bool:
    """Tell whether SCIM answered: something between here and there answers in other words."""
    if answer.status_code == HTTPStatus.NO_CONTENT:
        return True
    return answer.headers.get("Content-Type", "").partition(";")[0].strip() == "application/scim+json"


def detail(answer: httpx2.Response) -> str:
    """Return what a SCIM error says."""
    return str((json_object(answer) or {}).get("detail") or answer.reason_phrase)


def misdirected(answer: httpx2.Response) -> str:
    """Say who it is that answered instead of SCIM, and what can be done."""
    url = answer.request.url
    body = json_object(answer)
    if answer.is_redirect:
        return f"{url} redirects to {answer.headers.get('Location')}; use the URL that it redirects to"
    if body is not None and "errcode" in body:
        return (
            f"a Matrix homeserver answers at {url}, but not SCIM (HTTP {answer.status_code}, {body['errcode']}):"
            " the path may be wrong, the module not loaded, or the prefix turned off"
        )
    if answer.status_code in {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT, HTTPStatus.SERVICE_UNAVAILABLE}:
        return (
            f"the reverse proxy at {url} answers HTTP {answer.status_code}: it does not reach Synapse, or does not wait"
            " for it"
        )
    kind = answer.headers.get("Content-Type", "nothing").partition(";")[0]
    return (
        f"what answers at {url} is not SCIM (HTTP {answer.status_code}, {kind}): it is another server, the reverse"
        " proxy does not pass this path on to Synapse, or Synapse runs without the module"
    )


def unreachable(error: httpx2.RequestError | httpx2.InvalidURL, url: str) -> str:
    """Say why no answer came from a URL."""
    if isinstance(error, httpx2.TimeoutException):
        return f"{url} does not answer in time"
    certificate = _certificate_problem(error)
    if certificate is not None:
        return f"the certificate at {url} is not trusted: {certificate}"
    return f"{url} cannot be reached: {str(error) or type(error).__name__}"


def _certificate_problem(error: BaseException) -> str | None:
    """Return what is wrong with the certificate, if that is the cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        cause = cause.__cause__ or cause.__context__
    return None


def retry_after_s(answer: httpx2.Response) -> float | None:
    """Return how long to wait before the request is sent again, if the answer says so in seconds."""
    try:
        return float(cast("Mapping[str, str]", answer.headers).get("Retry-After", ""))
    except ValueError:
        return None
