from __future__ import annotations

import importlib.metadata
import socket
from dataclasses import replace

import pytest

from pipelines.doctor import Finding, diagnose
from pipelines.ports import free_number
from pipelines.services import NAMES
from schemas.settings import DaskSettings, PrefectSettings, Settings


def wrong(findings: list[Finding]) -> dict[str, Finding]:
    assert all(bool(finding.remedy) != finding.ok for finding in findings), "what is wrong has a remedy, what is well has none"
    return {finding.name: finding for finding in findings if not finding.ok}


def test_stack_that_was_never_started(empty_home: Settings) -> None:
    found = wrong(diagnose(empty_home))
    assert set(found) == {*(f"service {name}" for name in NAMES), "store", "prefect api"}
    assert all("atomlake up" in finding.remedy for finding in found.values())
    assert not empty_home.home.exists(), "the doctor changes nothing"


def test_taken_port_is_found_before_the_start(empty_home: Settings) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", empty_home.stack.prefect_port))
        server.listen()
        finding = wrong(diagnose(empty_home))["service prefect"]
    assert f"listens on its port {empty_home.stack.prefect_port}" in finding.found
    assert "ATOMLAKE_STACK_PREFECT_PORT" in finding.remedy


@pytest.mark.parametrize(("package", "version", "why"), [("fastapi", "0.151.0", "does not start"), ("sqlalchemy", "2.1.9", "never fire")])
def test_package_that_breaks_prefect(empty_home: Settings, monkeypatch: pytest.MonkeyPatch, package: str, version: str, why: str) -> None:
    installed = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == package else installed(name))
    finding = wrong(diagnose(empty_home))[f"package {package}"]
    assert finding.found == version
    assert why in finding.remedy


def test_endpoints_elsewhere_that_do_not_answer(empty_home: Settings) -> None:
    nowhere = free_number((), start=31_000)
    settings = replace(
        empty_home,
        store=replace(empty_home.store, endpoint_url=f"http://127.0.0.1:{nowhere}"),
        dask=DaskSettings(scheduler_address=f"tcp://127.0.0.1:{nowhere}"),
        prefect=PrefectSettings(f"http://127.0.0.1:{nowhere}/api"),
    )
    found = wrong(diagnose(settings))
    assert set(found) == {"service flows", "store", "prefect api", "dask"}
    assert "ATOMLAKE_STORE_ENDPOINT_URL" in found["store"].remedy
    assert "ATOMLAKE_PREFECT_API_URL" in found["prefect api"].remedy
    assert "ATOMLAKE_DASK_SCHEDULER_ADDRESS" in found["dask"].remedy


@pytest.mark.stack
def test_running_stack_is_well(stack) -> None:
    findings = diagnose(stack.complete)
    assert wrong(findings) == {}
    found = {finding.name: finding.found for finding in findings}
    assert {f"service {name}" for name in NAMES} < set(found)
    assert "conditional writes hold" in found["lake"]
    assert "1 workers" in found["dask"]
    assert "ticking" in found["deployments"]
    assert all(stack.complete.store.secret_key not in text for text in found.values())


@pytest.mark.stack
def test_wrong_credentials_and_missing_bucket(stack) -> None:
    store = replace(stack.complete.store, secret_key="wrong")
    found = wrong(diagnose(replace(stack.complete, store=store)))
    assert set(found) == {"inbox", "lake"}
    assert "ATOMLAKE_STORE_" in found["inbox"].remedy
    store = replace(stack.complete.store, inbox_bucket="no-such-bucket")
    assert set(wrong(diagnose(replace(stack.complete, store=store)))) == {"inbox"}


@pytest.mark.stack
def test_other_key_than_that_of_the_local_store(stack) -> None:
    store = replace(stack.complete.store, access_key="AKIAOTHER")
    found = wrong(diagnose(replace(stack.complete, store=store)))
    assert found["store credentials"].remedy == "unset ATOMLAKE_STORE_ACCESS_KEY and ATOMLAKE_STORE_SECRET_KEY"


@pytest.mark.stack
def test_services_of_others_are_asked_at_their_address(stack, empty_home: Settings) -> None:
    settings = replace(stack.complete, home=empty_home.home, stack=empty_home.stack)
    found = {finding.name: finding for finding in diagnose(settings)}
    assert set(wrong(list(found.values()))) == {"service flows"}, "this home has no flow server; all else is at the other stack"
    assert "1 workers" in found["dask"].found
    assert "service seaweedfs" not in found
