"""What Prometheus is told, at Synapse's own `/metrics`.

The names of clients come from the configuration, so that there are few of them; server administrators count as one.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from synapse_scim.subject import Subject

REQUESTS = Counter(
    "synapse_scim_requests",
    "Requests, by what was asked for, the status of the answer, and who asked",
    ["server_name", "operation", "status", "client"],
)

BULK_OPERATIONS = Counter(
    "synapse_scim_bulk_operations",
    "Operations of bulk requests, by what was asked for, their status, and who asked",
    ["server_name", "operation", "status", "client"],
)

REQUEST_DURATION = Histogram(
    "synapse_scim_request_duration_seconds",
    "How long requests took, by what was asked for",
    ["server_name", "operation"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

OFFBOARDINGS = Counter(
    "synapse_scim_offboardings",
    "Accounts that were disabled or deleted over SCIM, and those that were deactivated later",
    ["server_name", "kind"],
)

GUARD_REFUSALS = Counter(
    "synapse_scim_guard_refusals",
    "Times that the guard refused to disable or delete an account",
    ["server_name", "client"],
)

RATE_LIMIT_REFUSALS = Counter(
    "synapse_scim_rate_limit_refusals",
    "Requests beyond a rate limit; of no client where the limit is one of addresses",
    ["server_name", "client"],
)

CREDENTIAL_FAILURES = Counter(
    "synapse_scim_credential_failures",
    "Requests whose credential was missing or nobody's (401), or somebody's who may not use SCIM (403)",
    ["server_name", "status"],
)

PENDING = Gauge(
    "synapse_scim_pending",
    "What is still to be done: accounts to deactivate, writes to finish, photos to fetch",
    ["server_name", "kind"],
)

NOBODY = ""
"""Whoever is not known."""


def client_label(subject: Subject | None) -> str:
    """Return how metrics name a caller."""
    if subject is None:
        return NOBODY
    return "admin token" if subject.credential == "access token" else subject.name
