"""Is a service there and does it work: one question each, answered with '' or with what is missing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

_NO_ANSWER = (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError)
"""What a server that is not there, or is another program, makes of a question."""
_LATELY = 45.0


@dataclass(frozen=True)
class Served:
    """One deployment as the Prefect server tells of it."""

    name: str
    ready: bool
    """A runner has asked for its runs within the last minute."""
    last_polled: float
    """Seconds since 1970; 0 for never."""


def ask(url: str, body: object | None = None, *, seconds: float = 5.0) -> httpx.Response:
    """GET url, or POST body to it as JSON; raises httpx.HTTPError, for an error status too."""
    local = urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
    # The Prefect server sends a browser, which asks for HTML, to its newer pages.
    accept = {"Accept": "text/html, application/json"}
    with httpx.Client(timeout=seconds, headers=accept, trust_env=not local, follow_redirects=True) as client:
        response = client.get(url) if body is None else client.post(url, json=body)
    response.raise_for_status()
    return response


def seaweedfs(master_url: str, s3_url: str) -> str:
    """Ask whether the S3 port answers and a volume server has come to the master."""
    try:
        ask(f"{s3_url}/healthz")
        topology = ask(f"{master_url}/dir/status").json()["Topology"]
        return "" if topology["DataCenters"] and topology["Free"] + len(topology["Layouts"] or ()) > 0 else "no volume server yet"
    except _NO_ANSWER as error:
        return _in_words(error)


def prefect(api_url: str) -> str:
    """Ask whether the Prefect API answers and has its database."""
    try:
        return "" if ask(f"{api_url}/ready").json() else "its database is not ready"
    except _NO_ANSWER as error:
        return _in_words(error)


def prefect_ui(api_url: str) -> str:
    """Ask whether the page of the UI is served and is the application."""
    url = ui_url(api_url)
    try:
        page = ask(f"{url}/").text
        api = ask(f"{url}/ui-settings").json().get("api_url", "")
    except _NO_ANSWER as error:
        return _in_words(error)
    if '<div id="app"' not in page and '<div id="root"' not in page:
        return f"{url} answers with a page that has no application in it"
    return "" if not api or urlsplit(api).port == urlsplit(api_url).port else f"the UI asks {api}, not {api_url}"


def scheduler(dashboard_url: str) -> str:
    """Ask whether the Dask scheduler answers."""
    try:
        return "" if ask(f"{dashboard_url}/health").text.strip() == "ok" else "another program answers"
    except _NO_ANSWER as error:
        return _in_words(error)


def workers(dashboard_url: str, expected: int) -> str:
    """Ask whether as many workers as expected have come to the Dask scheduler."""
    try:
        found = int(ask(f"{dashboard_url}/json/counts.json").json()["workers"])
    except _NO_ANSWER as error:
        return _in_words(error)
    return "" if found == expected else f"{found} of {expected} workers"


def deployments(api_url: str) -> list[Served]:
    """Return the deployments of a Prefect server; raises httpx.HTTPError."""
    rows: list[dict[str, Any]] = ask(f"{api_url}/deployments/filter", {}).json()
    return [
        Served(
            row["name"], row.get("status") == "READY", datetime.fromisoformat(row["last_polled"]).timestamp() if row["last_polled"] else 0.0
        )
        for row in rows
    ]


def flow_server(api_url: str, since: float) -> str:
    """Ask whether runs have been asked for since a time (seconds since 1970) and lately: a runner asks every 10 seconds."""
    try:
        served = deployments(api_url)
    except _NO_ANSWER as error:
        return _in_words(error)
    if not served:
        return "no deployment yet"
    return "" if max(row.last_polled for row in served) >= max(since, time.time() - _LATELY) else "not asking for runs"


def ui_url(api_url: str) -> str:
    """Return the address of the UI that belongs to a Prefect API."""
    return api_url.rstrip("/").removesuffix("/api")


def _in_words(error: Exception) -> str:
    if isinstance(error, httpx.ConnectError):
        return "nothing listens there"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code} from {error.request.url}"
    return f"{type(error).__name__}: {error}"
