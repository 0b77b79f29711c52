"""Clients that end their side: what they sent is executed, and nothing stays behind."""

from support.resp import encode, encode_all
from support.wait import wait_until


def blocked_clients(node):
    return int(node.info("clients")["blocked_clients"])


def test_blocking_command_behind_another(service):
    """limit: LEFT_BLOCKED_MS. Its client has gone, so it must not take an element that others wait for."""
    with service.connect() as client:
        client.send(encode_all([("DEBUG", "SLEEP", "0.2"), ("BLPOP", "none", "0")]))
        client.half_close()
        assert client.read() == "OK"
        assert client.closed()
    wait_until(lambda: blocked_clients(service.node) == 0, 5, "nobody to be blocked")


def test_without_replies(service):
    """CLIENT REPLY OFF: only the end of the connection tells that all was sent."""
    service.node.call("FLUSHALL")
    with service.connect() as client:
        client.send(encode("CLIENT", "REPLY", "OFF"))
        body = b"x" * 10_000
        for first in range(0, 4000, 100):
            client.send(encode_all([("SET", f"k{n}", body) for n in range(first, first + 100)]))
        client.half_close()
        assert client.closed(20)
    assert service.node.call("DBSIZE") == 4000
