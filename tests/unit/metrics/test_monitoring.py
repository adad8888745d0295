"""The dashboard and the alerts ask for metrics that there are, and promtool takes them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle.metrics.families import MetricsSnapshot, build_families

FOLDER = Path(__file__).parents[3] / "deploy" / "monitoring"
DASHBOARD = FOLDER / "grafana-dashboard.json"
ALERTS = FOLDER / "prometheus-alerts.yml"
TESTS = FOLDER / "prometheus-alerts-test.yml"

ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
KNOWN = {
    family.name + ending: family
    for family in build_families(MetricsSnapshot(now=1, version="1"))
    for ending in ENDINGS[family.type]
}
LABELS = re.compile(r"(treadle_\w+)\{([^}]*)\}")
OF_SCRAPES = {"job", "instance", "le", ""}


def expressions() -> Iterator[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from re.findall(r"^ +expr: (.+)$", ALERTS.read_text(), re.MULTILINE)


def test_every_metric_that_is_asked_for_exists() -> None:
    found = {name for one in expressions() for name in re.findall(r"treadle_\w+", one)}
    assert len(found) > 20
    assert found <= KNOWN.keys()


def test_every_label_that_is_asked_for_exists() -> None:
    labels: dict[str, set[str]] = {
        name: set(family._labelnames)  # type: ignore[attr-defined]  # there is no other way
        for name, family in KNOWN.items()
    }
    asked = 0
    for one in expressions():
        for name, selected in LABELS.findall(one):
            used = set(re.findall(r"(\w+)\s*[=!]", selected))
            assert used <= labels[name] | OF_SCRAPES, one
            asked += 1
    assert asked > 20


def test_the_dashboard_has_no_two_panels_at_one_place_or_with_one_number() -> None:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_says_how_grave_it_is_and_what_to_do() -> None:
    alerts = re.split(r"^ +- alert: ", ALERTS.read_text(), flags=re.MULTILINE)[1:]
    assert len(alerts) >= 12
    for alert in alerts:
        assert re.search(r"severity: (page|ticket)}", alert), alert
        assert 'summary: "' in alert
        assert 'description: "' in alert


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool of Debian's package prometheus is missing"
)
@pytest.mark.parametrize("command", [["check", "rules", ALERTS], ["test", "rules", TESTS]])
def test_promtool_takes_the_alerts_and_their_tests(command: list[Any]) -> None:
    done = subprocess.run(
        ["promtool", *map(str, command)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout
