"""The metrics are those of the documentation, the dashboard and the alerts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from synapse_scim import metrics
from tests.docs.markdown import PAGES, REPOSITORY

_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


def defined() -> dict[str, tuple[str, list[str]]]:
    """Return the type and the labels of each metric, by the name that the documentation gives it."""
    found = {}
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            name = f"{metric._name}_total" if isinstance(metric, Counter) else metric._name
            found[name] = (metric._type, list(metric._labelnames))
    return found


def series() -> dict[str, set[str]]:
    """Return the labels of each time series that Prometheus gets."""
    found = {}
    for name, (kind, labels) in defined().items():
        for suffix in _SUFFIXES[kind]:
            found[name.removesuffix("_total") + suffix] = {*labels, *(["le"] if suffix == "_bucket" else [])}
    return found


def dashboard() -> Any:
    """Return the dashboard."""
    return json.loads((REPOSITORY / "contrib/grafana.json").read_text())


def alerts() -> list[Mapping[str, Any]]:
    """Return the alerts."""
    (group,) = yaml.safe_load((REPOSITORY / "contrib/prometheus-alerts.yaml").read_text())["groups"]
    rules: list[Mapping[str, Any]] = group["rules"]
    return rules


def expressions() -> Iterator[str]:
    """Yield what the dashboard and the alerts ask Prometheus."""
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for rule in alerts():
        yield rule["expr"]


def test_page_names_the_metrics() -> None:
    """docs/metrics.md lists each metric, with its type and its labels."""
    row = re.compile(r"^\| `(\w+)` \| (\w+) \| (.+?) \|", re.MULTILINE)
    documented = {
        name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in row.findall(PAGES["docs/metrics.md"])
    }

    assert documented == defined()


@pytest.mark.parametrize("expression", list(expressions()))
def test_what_is_asked_for_exists(expression: str) -> None:
    """Each expression names metrics that there are, and labels that these have; its brackets match."""
    selectors = re.findall(r"\b(synapse_\w+)(?:\{([^}]*)\})?", expression)
    assert selectors
    labels = set()
    for name, matchers in selectors:
        assert name in series()
        labels |= series()[name]
        for matcher in filter(None, (part.strip() for part in matchers.split(","))):
            label, value = re.fullmatch(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', matcher).groups()  # type: ignore[union-attr]
            assert label in series()[name]
            re.compile(value.replace("$", "_"))
    for grouping in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {label.strip() for label in grouping.split(",")} <= labels
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_everything_is_shown() -> None:
    """The dashboard has a panel for each metric, on a grid where none covers another, and variables that it uses."""
    shown = dashboard()
    text = json.dumps(shown["panels"])
    assert {name.removesuffix("_total") for name in defined()} <= set(
        re.findall(r"(synapse_scim_\w+?)(?:_total|_bucket)?\b", text)
    )
    cells = [
        (column, line)
        for place in (panel["gridPos"] for panel in shown["panels"])
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(column for column, _ in cells) < 24
    variables = {variable["name"] for variable in shown["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]\w+)", text)) == variables


def test_alerts_can_be_loaded() -> None:
    """Each alert has a name of its own, a duration that Prometheus reads, a severity, and says what is wrong."""
    assert len({rule["alert"] for rule in alerts()}) == len(alerts())
    for rule in alerts():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s"))
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
        labels = re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"]))
        assert set(labels) <= set(re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", rule["expr"]))))
