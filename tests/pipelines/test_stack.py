"""The local stack: its processes, services and credentials, and what a user of it meets."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lake.store import connect
from pipelines import processes, seaweedfs
from pipelines import stack as stack_module
from pipelines.ports import is_free, with_free_ports
from pipelines.processes import MARK, Place, Recipe
from pipelines.services import NAMES, Service, external, services, to_write
from pipelines.stack import down, status, up
from schemas.errors import ServiceFailed, StoreError
from schemas.settings import PrefectSettings, Settings, StoreSettings, load, merge

SLEEPER = (sys.executable, "-c", "import time; print('awake', flush=True); time.sleep(600)")
STUBBORN = (
    sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('awake', flush=True); time.sleep(600)",
)  # fmt: skip


def pids(settings: Settings) -> dict[str, int | None]:
    return {service.name: service.pid for service in status(settings)}


def marked(settings: Settings) -> list[psutil.Process]:
    return processes.marked(*(Place(settings.home, name) for name in NAMES))


def until_awake(place: Place) -> None:
    while "awake" not in place.log.read_text():
        assert processes.find(place)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path, "sleeper")
    yield place
    processes.end(processes.marked(place), 0.1)


def test_recycled_process_id_is_not_believed(place: Place) -> None:
    running = processes.spawn(place, Recipe(SLEEPER, place.home))
    assert processes.find(place) == running
    record = place.pid_file.read_text()
    place.pid_file.write_text(record.replace(f'"pid": {running.pid}', f'"pid": {os.getpid()}'))
    assert processes.find(place) is None, "this process has neither the mark nor the start time"
    place.pid_file.write_text(record.replace(str(running.started), str(running.started - 3600)))
    assert processes.find(place) is None, "the same id, started at another time"


def test_orphans_are_found_without_a_pid_file(place: Place) -> None:
    parent = (sys.executable, "-c", f"import subprocess; subprocess.run({SLEEPER!r})")
    running = processes.spawn(place, Recipe(parent, place.home))
    until_awake(place)
    assert len(processes.marked(place)) == 2
    os.kill(running.pid, signal.SIGKILL)
    while processes.find(place):
        pass
    place.pid_file.unlink()
    (orphan,) = processes.marked(place)
    assert orphan.pid != running.pid
    assert processes.end([orphan], grace=5) == 0
    assert processes.marked(place) == []


def test_processes_started_while_others_are_ended_are_ended_too(place: Place) -> None:
    # On SIGTERM it starts another one and ends.
    restarting = (
        "import os, signal, subprocess, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (subprocess.Popen({SLEEPER!r}), os._exit(0)))\n"
        "print('awake', flush=True)\ntime.sleep(600)"
    )
    processes.spawn(place, Recipe((sys.executable, "-c", restarting), place.home))
    until_awake(place)
    assert processes.end_all(place, grace=5) == (2, 0)
    assert processes.marked(place) == []


def test_process_that_does_not_stop_is_killed(place: Place) -> None:
    processes.spawn(place, Recipe(STUBBORN, place.home))
    until_awake(place)
    assert processes.end(processes.marked(place), grace=0.3) == 1
    assert processes.find(place) is None


def test_variables_are_put_in_and_withheld(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of another store")
    monkeypatch.setenv("AWSOME", "kept")
    running = processes.spawn(place, Recipe(SLEEPER, place.home, {"PUT_IN": "yes"}, without=("AWS_",)))
    found = psutil.Process(running.pid).environ()
    assert (found["PUT_IN"], found["AWSOME"], found[MARK]) == ("yes", "kept", f"{place.home}#sleeper")
    assert "AWS_ACCESS_KEY_ID" not in found


def test_recipe_has_another_digest_when_anything_in_it_changes(tmp_path: Path) -> None:
    recipe = Recipe(SLEEPER, tmp_path, {"A": "1"})
    others = [Recipe(STUBBORN, tmp_path, {"A": "1"}), Recipe(SLEEPER, tmp_path / "b", {"A": "1"}), Recipe(SLEEPER, tmp_path, {"A": "2"})]
    assert len({recipe.digest(), *(other.digest() for other in others)}) == 4
    assert recipe.digest() == Recipe(SLEEPER, tmp_path, {"A": "1"}).digest()


def sleeper(place: Place, fault: str, command: tuple[str, ...] = SLEEPER) -> Service:
    return Service(place, Recipe(command, place.home), "", (), lambda _: fault, start_seconds=0.0)


def test_service_that_works_is_left_alone(place: Place) -> None:
    service = sleeper(place, fault="")
    running = processes.spawn(place, service.recipe)
    assert stack_module._still_good([service], lambda *_: None) == {"sleeper": running}
    assert processes.find(place) == running


@pytest.mark.parametrize(
    ("fault", "command", "why"), [("mute", SLEEPER, "does not answer (mute)"), ("", STUBBORN, "settings have changed")]
)
def test_service_that_is_deaf_or_another_one_now_is_ended(
    place: Place, monkeypatch: pytest.MonkeyPatch, fault: str, command: tuple[str, ...], why: str
) -> None:
    monkeypatch.setattr(stack_module, "_DEAF_SECONDS", 0.3)
    processes.spawn(place, Recipe(SLEEPER, place.home))
    said: list[str] = []
    assert stack_module._still_good([sleeper(place, fault, command)], lambda _, what: said.append(what)) == {}
    assert processes.marked(place) == []
    assert len(said) == 1
    assert why in said[0]


def test_flow_runs_outlive_a_flow_server_that_is_started_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "_DEAF_SECONDS", 0.0)
    parent = (sys.executable, "-c", f"import subprocess; subprocess.run({SLEEPER!r})")
    running = processes.spawn(place, Recipe(parent, place.home))
    until_awake(place)
    service = replace(sleeper(place, "mute", parent), orphans_finish=True)
    assert stack_module._still_good([service], lambda *_: None) == {}
    stack_module._clear([service])
    (child,) = processes.marked(place)
    assert child.pid != running.pid


def test_endpoints_of_others_are_not_started(empty_home: Settings) -> None:
    elsewhere = {"store": {"endpoint_url": "https://s3.example.org"}, "dask": {"scheduler_address": "tcp://10.0.0.1:8786"}}
    settings = merge(empty_home, elsewhere, where="test")
    assert {name: found.address for name, found in external(settings).items()} == {
        "store": "https://s3.example.org",
        "dask": "tcp://10.0.0.1:8786",
    }
    assert [service.name for service in services(settings)] == ["prefect", "flows"]
    assert set(to_write(settings)) == {"stack", "prefect"}


def test_our_own_endpoints_are_ours_even_when_the_ports_are_moved(empty_home: Settings) -> None:
    from schemas.settings import write_toml

    seaweedfs.prepare(empty_home)
    write_toml(to_write(empty_home), empty_home.stack_file)
    seen = load({"ATOMLAKE_HOME": str(empty_home.home)})
    assert seen.stack == empty_home.stack, "the next command finds the ports without being told"
    assert external(seen) == {}
    moved = with_free_ports(seen, keep=False)
    assert moved.store.endpoint_url == seen.store.endpoint_url
    assert external(moved) == {}


def test_credentials_of_another_store_do_not_hide_ours(empty_home: Settings) -> None:
    from schemas.settings import write_toml

    ours = seaweedfs.prepare(empty_home)[seaweedfs.SERVICE]
    write_toml(to_write(empty_home), empty_home.stack_file)
    seen = load({"ATOMLAKE_HOME": str(empty_home.home), "AWS_ACCESS_KEY_ID": "other", "AWS_SECRET_ACCESS_KEY": "other"})
    assert (seen.store.access_key, seen.store.secret_key) == (ours.access_key, ours.secret_key)


def test_credentials_are_random_kept_and_private(empty_home: Settings, tmp_path: Path) -> None:
    first = seaweedfs.prepare(empty_home)
    assert seaweedfs.prepare(empty_home) == first
    assert seaweedfs.prepare(Settings(home=tmp_path / "other")) != first
    file = seaweedfs.folder(empty_home) / "identities.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    pair = first[seaweedfs.SERVICE]
    assert len(pair.secret_key) == 40
    assert pair.secret_key not in repr(pair)
    assert all(pair.secret_key not in " ".join(service.recipe.command) for service in services(empty_home))


@pytest.mark.stack
def test_stack_tells_where_it_is(stack) -> None:
    assert stack.started == NAMES
    assert [service.state for service in status(stack.settings)] == ["running"] * len(NAMES)
    written = tomllib.loads(stack.settings.stack_file.read_text())
    assert stat.S_IMODE(stack.settings.stack_file.stat().st_mode) == 0o600
    assert written["store"]["endpoint_url"] == f"http://127.0.0.1:{stack.settings.stack.s3_port}"
    assert written["prefect"]["api_url"] == f"http://127.0.0.1:{stack.settings.stack.prefect_port}/api"
    assert written["dask"]["scheduler_address"] == f"tcp://127.0.0.1:{stack.settings.stack.dask_port}"
    assert load({"ATOMLAKE_HOME": str(stack.settings.home)}) == stack.complete
    secret = stack.complete.store.secret_key
    assert all(secret not in what for _, what in stack.said)
    assert all(secret not in log.read_text(errors="replace") for log in (stack.settings.home / "logs").iterdir())


@pytest.mark.stack
def test_second_up_finds_the_first(stack) -> None:
    before = pids(stack.settings)
    again = up(load({"ATOMLAKE_HOME": str(stack.settings.home)}), flow_server=stack.flow_server)
    assert again.started == ()
    assert pids(stack.settings) == before
    assert again.settings == stack.complete


@pytest.mark.stack
def test_killed_services_come_back_with_all_data(stack) -> None:
    inbox = connect(f"s3://{stack.complete.store.inbox_bucket}", stack.complete.store)
    objects = {f"killed/{n}.txt": os.urandom(n) for n in (1, 10_000, 6_000_000)}
    for key, data in objects.items():
        inbox.put(key, data)
    before = pids(stack.settings)
    killed = [psutil.Process(before[name]) for name in ("seaweedfs", "workers")]
    for process in killed:
        process.kill()
    psutil.wait_procs(killed, timeout=30)
    assert {s.name for s in status(stack.settings) if s.state == "stopped"} == {"seaweedfs", "workers"}
    again = up(stack.settings, flow_server=stack.flow_server)
    assert set(again.started) == {"seaweedfs", "workers"}
    after = pids(stack.settings)
    assert {name: after[name] for name in ("prefect", "scheduler", "flows")} == {n: before[n] for n in ("prefect", "scheduler", "flows")}
    assert again.settings.store == stack.complete.store, "the credentials stay"
    assert {key: inbox.get(key) for key in objects} == objects


@pytest.mark.stack
def test_depositor_and_reader_may_do_no_more_than_their_part(stack) -> None:
    made = seaweedfs.credentials(stack.settings)
    inbox, lake = f"s3://{stack.complete.store.inbox_bucket}", stack.complete.store.lake_url
    owner = connect(lake, stack.complete.store)
    owner.put("proof.txt", b"of the lake")

    def store_of(name: str) -> StoreSettings:
        return replace(stack.complete.store, access_key=made[name].access_key, secret_key=made[name].secret_key)

    connect(inbox, store_of("depositor")).put("dropped.txt", b"an archive")
    assert connect(inbox, stack.complete.store).get("dropped.txt") == b"an archive"
    assert connect(lake, store_of("reader")).get("proof.txt") == b"of the lake"
    for name, url, key in (("depositor", inbox, "dropped.txt"), ("depositor", lake, "proof.txt"), ("reader", inbox, "dropped.txt")):
        with pytest.raises(StoreError):
            connect(url, store_of(name)).get(key)
    with pytest.raises(StoreError):
        connect(lake, store_of("reader")).put("proof.txt", b"overwritten")
    assert owner.get("proof.txt") == b"of the lake"


@pytest.mark.stack
def test_flow_server_that_dies_is_told_with_the_end_of_its_log(stack, tmp_path: Path) -> None:
    home = tmp_path / "home"
    settings = replace(stack.complete, home=home, stack=free_stack())
    with pytest.raises(ServiceFailed, match=r"flows ended while it was starting(.|\n)*No module named 'no_such_module'"):
        up(settings, flow_server=(sys.executable, "-c", "import no_such_module"))
    assert [service.state for service in status(settings)] == ["elsewhere", "elsewhere", "elsewhere", "stopped"]
    down(settings)


def free_stack():
    return with_free_ports(Settings(), keep=False).stack


@pytest.mark.stack
@pytest.mark.slow
def test_down_leaves_nothing_but_data_which_move_to_other_ports(stack, tmp_path: Path) -> None:
    prefect = PrefectSettings(stack.complete.prefect.api_url)
    settings = replace(Settings(home=tmp_path / "home"), prefect=prefect, stack=free_stack())
    first = up(settings, flow_server=stack.flow_server)
    assert first.started == ("seaweedfs", "scheduler", "workers", "flows")
    inbox = f"s3://{settings.store.inbox_bucket}"
    connect(inbox, first.settings.store).put("kept.txt", b"kept")
    connect(inbox, first.settings.store).put("large.bin", b"x" * 9_000_000)
    alive = marked(settings)
    assert len(alive) >= 1 + 1 + 3 + 1

    down(settings)
    assert marked(settings) == []
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in alive)
    assert not settings.stack_file.exists()
    deadline = time.monotonic() + 90  # another program's connection may hold a port for the minute that TCP lets it linger
    while not all(is_free(port.number) for service in services(settings) for port in service.ports):
        assert time.monotonic() < deadline, [port for service in services(settings) for port in service.ports if not is_free(port.number)]
        time.sleep(1.0)
    assert {service.state for service in status(settings)} == {"stopped", "elsewhere"}
    down(settings)

    moved = replace(settings, stack=free_stack(), dask=stack.complete.dask)
    second = up(moved, flow_server=stack.flow_server)
    assert second.s3_url != first.s3_url
    assert connect(inbox, second.settings.store).get("kept.txt") == b"kept"
    assert len(connect(inbox, second.settings.store).get("large.bin")) == 9_000_000
    down(moved)
