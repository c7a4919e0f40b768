"""Reduces the description of MAS's admin API to what `tests/support/mas_api.json` holds.

`python -m tests.support.reduce_mas_api VERSION < spec.json` writes that file anew, from `docs/api/spec.json` of a
release of Matrix Authentication Service. The form of requests and answers is left; words and examples are not taken.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REDUCED = Path(__file__).with_name("mas_api.json")
SOURCE = "https://github.com/element-hq/matrix-authentication-service, docs/api/spec.json"

_SESSIONS = ("user-sessions", "oauth2-sessions", "compat-sessions")
_USED = {
    ("site-config", "get"),
    ("users", "post"),
    ("users/by-username/{username}", "get"),
    ("users/{id}/set-password", "post"),
    *((f"users/{{id}}/{action}", "post") for action in ("deactivate", "reactivate", "lock", "unlock")),
    *((path, method) for path in ("user-emails", "upstream-oauth-links") for method in ("get", "post")),
    *((f"{path}/{{id}}", "delete") for path in ("user-emails", "upstream-oauth-links")),
    *((path, "get") for path in (*_SESSIONS, "personal-sessions")),
    *((f"{path}/{{id}}/finish", "post") for path in _SESSIONS),
    ("personal-sessions/{id}/revoke", "post"),
}
"""The operations that the module calls, below `/api/admin/v1/`."""

_WORDS = frozenset({"description", "summary", "title", "example", "examples", "tags", "operationId", "security"})


def reduced(description: Any, version: str) -> dict[str, Any]:
    """Return what is left of a description.

    Args:
        description: The whole one.
        version: The release that it comes from.
    """
    root = "/api/admin/v1/"
    paths: dict[str, Any] = {}
    for path, method in sorted(_USED):
        paths.setdefault(root + path, {})[method] = _wordless(description["paths"][root + path][method])
    schemas: dict[str, Any] = {}
    wanted = list(_references(paths))
    while wanted:
        name = wanted.pop()
        if name not in schemas:
            schemas[name] = _wordless(description["components"]["schemas"][name])
            wanted += _references(schemas[name])
    return {
        "openapi": description["openapi"],
        "info": {"title": "MAS admin API, reduced by tests/support/reduce_mas_api.py", "version": version},
        "x-source": f"{SOURCE}, {version}",
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _wordless(value: Any, *, names: bool = False) -> Any:
    """Return a part of the description without its words; names of properties may be like those of words."""
    if isinstance(value, list):
        return [_wordless(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _wordless(item, names=key == "properties") for key, item in value.items() if names or key not in _WORDS
    }


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].removeprefix("#/components/schemas/")
        for item in value.values():
            yield from _references(item)


if __name__ == "__main__":
    REDUCED.write_text(f"{json.dumps(reduced(json.load(sys.stdin), sys.argv[1]), indent=1)}\n")
