"""The Dockerfiles and the Compose file, as far as they can be checked without building anything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg2.extensions import make_dsn

from synapse_scim import ScimModule
from synapse_scim.config import Config
from tests.docs.markdown import REPOSITORY

FOLDER = REPOSITORY / "contrib/docker"
DOCKERFILES = [FOLDER / "Dockerfile", REPOSITORY / "docker/complement/Dockerfile"]
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
(SYNAPSE,) = re.findall(r"^matrix-synapse==(.*)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with what stands behind them."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_image_is_of_the_synapse_that_is_tested(dockerfile: Path) -> None:
    """It builds on the official image of the release that the tests run with."""
    first, second, *rest = instructions(dockerfile)

    assert first == ("ARG", f"SYNAPSE_VERSION=v{SYNAPSE}")
    assert second == ("FROM", "matrixdotorg/synapse:${SYNAPSE_VERSION}")
    assert any(name == "RUN" and "pip install --no-cache-dir" in text for name, text in rest)


def test_complement_finds_what_it_wants() -> None:
    """Complement's image has its ports, and copies what is there."""
    found = instructions(DOCKERFILES[1])

    assert ("EXPOSE", "8008 8448") in found
    copied = [source for name, text in found if name == "COPY" for source in text.split()[:-1]]
    assert copied
    assert [source for source in copied if not (REPOSITORY / source).exists()] == []


def test_services_have_what_they_name() -> None:
    """Volumes, secrets, services and files that a service names are there."""
    for service in SERVICES.values():
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
        assert service.get("depends_on", {}).keys() <= SERVICES.keys()
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (FOLDER / source).exists()
    assert SERVICES["synapse"]["build"]["args"]["SYNAPSE_VERSION"] == f"${{SYNAPSE_VERSION:-v{SYNAPSE}}}"
    assert SERVICES["synapse"]["image"] == SERVICES["synapse-generate"]["image"]


def test_configuration_is_read_and_good() -> None:
    """Synapse is started with the file that is mounted; the module takes it, and it names what was generated."""
    configuration = yaml.safe_load((FOLDER / "config/scim.yaml").read_text(encoding="utf-8"))
    (module,) = configuration["modules"]
    (client,) = module["config"]["clients"]
    arguments = {key: value for key, value in configuration["database"]["args"].items() if not key.startswith("cp_")}
    (script,) = SERVICES["synapse-generate"]["command"]

    assert "--config-path=/config/scim.yaml" in SERVICES["synapse"]["command"]
    assert isinstance(ScimModule.parse_config(module["config"]), Config)
    assert f"--file {client['token_paths'][0]}" in script
    # libpq knows each argument, and the password is where it looks for it.
    assert make_dsn(**arguments)
    assert arguments["host"] in SERVICES
    assert f"> {arguments['passfile']}" in script
    assert f"{arguments['host']}:5432:{arguments['dbname']}:{arguments['user']}:" in script
