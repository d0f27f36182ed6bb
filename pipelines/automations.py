"""What the Prefect server does by itself: a flow run that gives no sign of life has crashed.

Without this a run whose process was killed hard stays Running for ever, and holds the place of the next run.
"""

from __future__ import annotations

from typing import Any, Final

from pipelines.health import ask

ZOMBIES: Final = "atomlake: a run without a sign of life has crashed"
SILENCE_SECONDS: Final = 90
"""Three heartbeats."""

_FINAL_EVENTS = [f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")]
_AUTOMATION: Final[dict[str, Any]] = {
    "name": ZOMBIES,
    "description": "Any sign of life starts the clock; neither another one nor an end of the run stops it in time: Crashed.",
    "enabled": True,
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "after": ["prefect.flow-run.heartbeat"],
        "expect": ["prefect.flow-run.heartbeat", *_FINAL_EVENTS],
        "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": SILENCE_SECONDS,
    },
    "actions": [
        {
            "type": "change-flow-run-state",
            "state": "CRASHED",
            "message": f"No sign of life for {SILENCE_SECONDS} seconds: its process was killed or its machine is gone.",
        }
    ],
}


def zombie_automation(api_url: str) -> dict[str, Any] | None:
    """Return the automation as the server knows it, or None; raises httpx.HTTPError."""
    body = {"automations": {"name": {"any_": [ZOMBIES]}}}
    found: list[dict[str, Any]] = ask(f"{api_url}/automations/filter", body).json()
    return found[0] if found else None


def ensure_zombie_automation(api_url: str) -> bool:
    """Create the automation where the server has none of that name, and tell whether it was created; raises httpx.HTTPError.

    The API is asked directly: importing Prefect costs two seconds and reads the settings of its user.
    """
    if zombie_automation(api_url) is not None:
        return False
    ask(f"{api_url}/automations/", _AUTOMATION)
    return True
