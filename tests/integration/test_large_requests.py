"""Requests too large to be looked at as a whole do what small ones do."""

from support.resp import encode


def test_subscribe_to_many_channels(service):
    """Past 64 KiB the request goes to the server before its end is known."""
    names = [f"channel-{n:05}-{'x' * 20}" for n in range(5000)]
    with service.connect() as client, service.connect() as other:
        client.send(encode("SUBSCRIBE", *names))
        for number, name in enumerate(names, 1):
            assert client.read() == [b"subscribe", name.encode(), number]
        assert other.ok("PUBLISH", names[-1], "hello") == 1
        assert client.read() == [b"message", names[-1].encode(), b"hello"]
        client.send(encode("UNSUBSCRIBE", *names))
        for number, name in enumerate(names, 1):
            assert client.read() == [b"unsubscribe", name.encode(), len(names) - number]
