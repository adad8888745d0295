"""The pages of a cluster: examined in both themes and at every width, and followed."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.browser.test_sources import sign_in
from tests.browser.watched import PATIENCE_MS, watch
from tests.conftest import WITHOUT_VACUUM
from tests.servers.members import MemberCluster, MemberServer
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import eventually

PATHS = ("/", "/health", "/requests", "/requests/refused", "/problems", "/settings")


@pytest.fixture(scope="module")
def cluster(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemberCluster]:
    """Two gates, control, and a loader whose destination is not there, so that records wait."""
    folder = tmp_path_factory.mktemp("cluster")
    settings = {**WITHOUT_VACUUM, "max_connections": "200"}
    with PostgresServer(settings=settings) as database:
        url = database.create_database()
        with (
            MemberCluster(folder, url, settings={"drain_seconds": "0"}) as made,
            MemberServer(folder, "loader-1", "loader", url),
        ):
            yield made


def test_the_pages_of_a_cluster_are_well_made_and_follow_it(
    browser: Any, cluster: MemberCluster
) -> None:
    gate = cluster.gates[0]
    eventually(lambda: len(cluster.list_members()) == 5)  # control has a courier, too
    with watch(browser, cluster.control.url) as seen:
        sign_in(seen, cluster.client)
        for path in PATHS:
            seen.open(path)
            for width in (320, 360, 768, 1440):
                seen.page.set_viewport_size({"width": width, "height": 800})
                seen.check_width()
            seen.page.set_viewport_size({"width": 1280, "height": 900})
            seen.examine()
        seen.open("/health")
        row = seen.page.get_by_role("row").filter(has_text="gate-1")
        row.get_by_text("ready").first.wait_for(timeout=PATIENCE_MS)
        gate.kill()
        row.get_by_text("lost").first.wait_for(timeout=PATIENCE_MS)
        seen.examine()
