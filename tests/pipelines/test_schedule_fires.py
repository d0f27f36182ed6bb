from __future__ import annotations

import re
import time

import pytest

from pipelines import health
from pipelines.automations import SILENCE_SECONDS, ZOMBIES, ensure_zombie_automation, zombie_automation

pytestmark = pytest.mark.stack


def test_a_scheduled_run_fires(stack) -> None:
    # With sqlalchemy 2.1 the server starts and answers, but no schedule ever fires: nothing else notices.
    api, end = stack.complete.prefect.api_url, time.monotonic() + 120
    body = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}, "flows": {"name": {"any_": ["tick"]}}}
    runs: list[dict] = []
    while not runs and time.monotonic() < end:
        time.sleep(0.5)
        runs = [run for run in health.ask(f"{api}/flow_runs/filter", body).json() if run["auto_scheduled"]]
    assert runs, f"no scheduled run completed within 120 s; see {stack.settings.home}/logs"
    assert runs[0]["deployment_id"]
    assert runs[0]["created_by"]["type"] == "SCHEDULE"


def test_pages_of_the_ui_answer(stack) -> None:
    url = health.ui_url(stack.complete.prefect.api_url)
    assert health.prefect_ui(stack.complete.prefect.api_url) == ""
    for path in ("/", "/dashboard", "/artifacts", "/v2/dashboard"):
        page = health.ask(f"{url}{path}")
        assert page.headers["content-type"].startswith("text/html")
        scripts = re.findall(r'<script [^>]*src="([^"]+\.js)"', page.text)
        assert scripts
        assert not [script for script in scripts if health.ask(f"{url}{script}").status_code != 200]
    assert health.ask(f"{url}/ui-settings").json()["api_url"] == stack.complete.prefect.api_url, "else the UI asks port 4200"


def test_runs_without_a_sign_of_life_crash_by_themselves(stack) -> None:
    api = stack.complete.prefect.api_url
    assert ensure_zombie_automation(api) is False, "`up` has made it"
    found = health.ask(f"{api}/automations/filter", {}).json()
    assert [row["name"] for row in found] == [ZOMBIES]
    automation = zombie_automation(api)
    assert automation is not None
    assert automation["enabled"]
    assert automation["trigger"]["posture"] == "Proactive"
    assert automation["trigger"]["within"] == SILENCE_SECONDS
    assert automation["actions"][0]["state"] == "CRASHED"
