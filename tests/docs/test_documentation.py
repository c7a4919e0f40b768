"""What the documentation says is what the code does."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, cast

import click
import jsonschema
import pytest
import yaml
from scim2_models import Path
from synapse.config.oidc import MAIN_CONFIG_SCHEMA

from synapse_scim import ScimModule
from synapse_scim.commands import main
from synapse_scim.config import SCHEMA, Config
from synapse_scim.mapping.schema import ENTERPRISE_SCHEMA, MATRIX_SCHEMA
from synapse_scim.protocol.provider import composed_user, provider
from tests.docs.markdown import PAGES, REPOSITORY, blocks, code, section

ATTRIBUTES = "docs/attributes.md"
CONFIGURATION = "docs/configuration.md"
COMMON = {"id", "meta"}
"""What every resource has; the library does not count them among a schema's attributes (RFC 7643 §3.1)."""

EXAMPLES = [(page, example) for page in PAGES for example in blocks(page, "yaml")]


def announced_attributes() -> set[str]:
    """Return what `/Schemas` announces where Synapse keeps passwords, with the parts of `name` alone."""
    user = composed_user(provider(Config(), passwords=True))
    paths = {str(path) for path in cast("Any", Path)[user].iter_paths()} - {ENTERPRISE_SCHEMA, MATRIX_SCHEMA}
    return {path for path in paths if "." not in path.rpartition(":")[2] or path.startswith("name.")} | COMMON


def documented_attributes() -> Iterator[str]:
    """Yield what the page about attributes names."""
    terms = re.compile(r"^`(.+)`\n: ((?:.+\n)+)", re.MULTILINE)
    for term, _ in terms.findall(section(ATTRIBUTES, "Mapped to Matrix")):
        yield term
    core, enterprise = section(ATTRIBUTES, "Kept and returned as sent").split("of the enterprise extension")
    name, parts, others = re.fullmatch(r"\s*`(\w+)` \((.*?)\)(.*)", core, re.DOTALL).groups()  # type: ignore[union-attr]
    yield name
    for part in code(parts):
        yield f"{name}.{part}"
    yield from code(others)
    for attribute in code(enterprise):
        yield f"{ENTERPRISE_SCHEMA}:{attribute}"
    read_only = dict(terms.findall(section(ATTRIBUTES, "Read only")))
    for attribute in code(read_only.pop(MATRIX_SCHEMA)):
        yield f"{MATRIX_SCHEMA}:{attribute}"
    yield from read_only


def settings(schema: Mapping[str, Any] = SCHEMA, prefix: str = "") -> Iterator[str]:
    """Yield the settings that the configuration has, as the page about them writes them."""
    for key, value in schema["properties"].items():
        if "properties" in value:
            yield from settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
            if "properties" in value.get("items", {}):
                yield from settings(value["items"], f"{prefix}{key}[].")


def documented_settings() -> list[tuple[str, str]]:
    """Return the settings that the page about them names, each with its default; the empty string if it has none."""
    return re.findall(r"^\| `([\w.\[\]]+)` \| (?:`([^`]+)` )?\|", PAGES[CONFIGURATION], re.MULTILINE)


ITEMS: Mapping[str, Mapping[str, Any]] = {
    "clients": {"name": "okta", "token_paths": ["okta.token"]},
    "jwt": {
        "issuer": "https://idp.example",
        "jwks_path": "keys.json",
        "audience": "scim",
        "algorithms": ["RS256"],
        "allowed_clients": ["okta"],
    },
    "introspection": {"issuer": "https://iam.example", "client_id": "matrix", "client_secret_path": "iam.secret"},
}
"""An entry of each list of settings, with as little as it can have."""


SECTIONS: dict[str, dict[str, Any]] = {"mas": {"client_id": "scim", "client_secret_path": "mas.secret"}}
"""The groups of settings that cannot be empty, with as little as they can have."""


def test_page_names_the_announced_attributes() -> None:
    """docs/attributes.md names exactly the attributes of `/Schemas`, each once."""
    assert sorted(documented_attributes()) == sorted(announced_attributes())


def test_page_names_the_settings() -> None:
    """docs/configuration.md names exactly the settings that there are, each once."""
    assert sorted(name for name, _ in documented_settings()) == sorted(settings())


@pytest.mark.parametrize(
    ("setting", "default"), [(setting, default) for setting, default in documented_settings() if default]
)
def test_page_tells_the_default(setting: str, default: str) -> None:
    """A setting that is given the default of docs/configuration.md changes nothing."""
    listed, _, within = setting.rpartition("[].")
    value = yaml.safe_load(default)
    for key in reversed(within.split(".")):
        value = {key: value}

    section, _, _ = setting.partition(".")
    if section in SECTIONS:
        given, needed = {section: SECTIONS[section] | value[section]}, {section: SECTIONS[section]}
        assert ScimModule.parse_config(given) == ScimModule.parse_config(needed)
    elif not listed:
        assert ScimModule.parse_config(value) == Config()
    else:
        least = ITEMS[listed]
        assert ScimModule.parse_config({listed: [value | least]}) == ScimModule.parse_config({listed: [least]})


@pytest.mark.parametrize(("page", "example"), EXAMPLES)
def test_example_is_accepted(page: str, example: str) -> None:
    """The examples of homeserver.yaml can be pasted."""
    assert page
    configuration = yaml.safe_load(example)
    jsonschema.validate(configuration, MAIN_CONFIG_SCHEMA)
    for module in configuration["modules"]:
        assert module["module"] == f"{ScimModule.__module__.partition('.')[0]}.{ScimModule.__name__}"
        assert isinstance(ScimModule.parse_config(module["config"]), Config)


@pytest.mark.parametrize("page", PAGES)
def test_link_leads_somewhere(page: str) -> None:
    """Links from page to page, and to other files of the repository, find a file."""
    targets = re.findall(r"\]\(([^)#\s]+)", PAGES[page])
    relative = [target for target in targets if "://" not in target]

    assert [target for target in relative if not (REPOSITORY / page).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_file_that_is_named_exists(page: str) -> None:
    """Paths of source files, from the repository's root or from the package, are those of files and folders."""
    named = [text for text in code(PAGES[page]) if re.fullmatch(r"[\w.]+(/[\w.]+)+(\.py)?/?|\w+\.py", text)]
    roots = (REPOSITORY, REPOSITORY / "synapse_scim")

    assert [text for text in named if not any((root / PurePosixPath(text)).exists() for root in roots)] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page: str) -> None:
    """The command line has the commands and options that the pages name."""
    for block in blocks(page, "console"):
        for line in re.findall(r"^[$#] (?:\S+=\S+ )*synapse-scim (.*)$", block, re.MULTILINE):
            context, arguments = click.Context(main), shlex.split(line)
            while isinstance(context.command, click.Group):
                name, command, arguments = context.command.resolve_command(context, arguments)
                assert command is not None
                context = click.Context(command, parent=context, info_name=name)
            context.command.make_parser(context).parse_args(arguments)


@pytest.mark.parametrize("page", PAGES)
def test_picture_exists(page: str) -> None:
    """Pictures are there, and have a text for who cannot see them."""
    for target, options in re.findall(r"^```\{image\} (\S+)\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE):
        assert (REPOSITORY / page).parent.joinpath(target).exists()
        assert re.search(r"^:alt: \S", options, re.MULTILINE)


def test_changes_are_of_a_known_type() -> None:
    """Every file of `changelog.d` is one that towncrier finds: it is named by an issue, or words, and a type."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
    types = "|".join(kind["directory"] for kind in settings["type"])
    names = [path.name for path in (REPOSITORY / settings["directory"]).iterdir()]

    assert names
    assert [name for name in names if not re.fullmatch(rf"(\d+|\+[\w-]+)\.({types})\.md", name)] == []
