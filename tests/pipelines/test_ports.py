"""Ports of the local stack: taken ones are named with their holder, all are checked, and they can be moved."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipelines import processes
from pipelines.ports import GRPC_ABOVE, is_free, ports_of, with_free_ports
from pipelines.processes import Place
from pipelines.services import NAMES, services
from pipelines.stack import up
from schemas.errors import PortTaken, SettingsError
from schemas.settings import Settings, load, merge


@contextlib.contextmanager
def listener(port: int) -> Iterator[None]:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()
        yield


@pytest.mark.parametrize("above", [0, GRPC_ABOVE])
def test_taken_port_is_named_with_its_holder_and_the_setting(empty_home: Settings, above: int) -> None:
    port = empty_home.stack.s3_port + above
    with listener(port), pytest.raises(PortTaken) as caught:
        up(empty_home)
    message = str(caught.value)
    assert message.startswith(f"seaweedfs needs port {port} ")
    assert f"process {os.getpid()}" in message
    assert "ATOMLAKE_STACK_S3_PORT=" in message
    suggested = int(message.split("ATOMLAKE_STACK_S3_PORT=")[1].split(maxsplit=1)[0])
    assert is_free(suggested)
    assert processes.marked(*(Place(empty_home.home, name) for name in NAMES)) == [], "nothing is started where a port is taken"
    assert not empty_home.stack_file.exists()


def test_every_port_is_checked_and_can_be_moved(empty_home: Settings) -> None:
    ports = [port for service in services(empty_home) for port in service.ports]
    assert {port.setting for port in ports} == set(vars(empty_home.stack)), "each setting of a port belongs to a service"
    assert len({port.number for port in ports}) == len(ports)
    for port in ports:
        assert load({"ATOMLAKE_HOME": "/nowhere", port.variable: "1234"}).stack != Settings().stack


def test_port_without_room_for_grpc_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"stack\.s3_port is 60000, expected 1 to 55535; set ATOMLAKE_STACK_S3_PORT"):
        ports_of(merge(Settings(), {"stack": {"s3_port": 60_000}}, where="test"), "s3_port")


def test_taken_ports_alone_are_moved(empty_home: Settings) -> None:
    assert with_free_ports(empty_home) == empty_home
    with listener(empty_home.stack.prefect_port):
        moved = with_free_ports(empty_home)
        assert moved.stack.prefect_port != empty_home.stack.prefect_port
        assert replace(moved.stack, prefect_port=empty_home.stack.prefect_port) == empty_home.stack
