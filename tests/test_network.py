import socket
from pathlib import Path

import httpx
import pytest

from tests.network import OutsideConnection


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1"])
def test_no_test_connects_to_another_machine(address: str):
    with socket.socket() as outgoing, pytest.raises(OutsideConnection, match=address):
        outgoing.connect((address, 80))
    with pytest.raises(OutsideConnection, match=address):
        httpx.get(f"http://{address}/")


def test_no_test_looks_up_the_address_of_another_machine():
    with pytest.raises(OutsideConnection, match=r"example\.org"):
        socket.getaddrinfo("example.org", 443)


def test_no_test_sends_a_datagram_to_another_machine():
    with socket.socket(type=socket.SOCK_DGRAM) as outgoing, pytest.raises(OutsideConnection):
        outgoing.sendto(b"?", ("192.0.2.1", 53))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_this_machine_can_be_reached(host: str):
    with socket.create_server(("127.0.0.2" if host == "127.0.0.2" else "127.0.0.1", 0)) as server:
        socket.create_connection((host, server.getsockname()[1])).close()


def test_a_unix_socket_can_be_reached(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        client.connect(str(tmp_path / "socket"))
