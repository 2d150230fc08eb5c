"""A process without the role *ingress* answers probes and metrics where it is told to, and nothing else."""

from __future__ import annotations

from pathlib import Path

from hub.app import ROLES
from tests.support.running import environment, running, until

NOT_IN = tuple(role for role in ROLES if role != "ingress")
ROUTING = """
version: 1
sources: { till: { post_events: true, event: { type: tip.given } } }
destinations: { payroll: { queue: payroll } }
routes: [{ name: pass-on, match: "#", publish: payroll }]
"""


async def test_a_worker_can_be_watched_and_lets_nothing_in(tmp_path: Path) -> None:
    routing = tmp_path / "routing.yaml"
    routing.write_text(ROUTING)
    environ = environment(tmp_path, HUB_ROUTING=str(routing), HUB_PROBES_PORT="0")
    answers = {}
    async with running(environ, roles=NOT_IN) as worker:
        assert worker.hub.serving is None
        assert worker.hub.doors is not None
        assert worker.hub.doors.probes is not None
        url = worker.hub.doors.probes.url

        async def has_lanes() -> bool:
            async with worker.http.get(f"{url}/readyz") as response:
                return response.status == 200

        await until(has_lanes, "the worker to have its lanes")
        for path in ("/healthz", "/readyz", "/metrics", "/events", "/console", "/api/docs"):
            async with worker.http.get(url + path) as response:
                answers[path] = response.status, await response.text()

    assert {path: status for path, (status, _) in answers.items()} == {
        "/healthz": 200,
        "/readyz": 200,
        "/metrics": 200,
        "/events": 404,
        "/console": 404,
        "/api/docs": 404,
    }
    assert '"lanes"' in answers["/readyz"][1]
    assert "hub_delivery_backlog_age_seconds" in answers["/metrics"][1]
