"""Subscribers, and clients that MONITOR, when the primary changes or their connection to it ends:
they hear on."""

import contextlib
import threading
import time

import pytest
import redis

from support.case import judged, one_node, relayed, scenario
from support.relay import DOWN, Rule
from support.resp import Push, ServerError, encode, encode_all
from support.stage import Stage
from support.wait import wait_until

pytestmark = pytest.mark.exclusive

CLIENTS = 50
CHANNELS = ["a", "b", "news.x"]
MESSAGES = {(b"message", b"news.x"): 2, (b"pmessage", b"news.*"): 3, (b"smessage", b"s"): 2}


class Publisher(threading.Thread):
    """Says a number after the other on the channel and on the shard, through its own client.
    said: {number: receivers, None where nobody knows}."""

    def __init__(self, proxy):
        super().__init__(daemon=True)
        self.said = {}
        self._client = proxy.connect(40)
        self._running = True

    def run(self):
        number = 0
        while self._running:
            number += 1
            command = ("SPUBLISH", "s") if number % 4 == 0 else ("PUBLISH", "news.x")
            reply = self._client.call(*command, number)
            assert isinstance(reply, int) or reply.code == "INDOUBT", reply
            self.said[number] = reply if isinstance(reply, int) else None
            time.sleep(0.002)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._running = False
        self.join(50)
        self._client.close()

    def goes_on(self, count=50):
        """Until that many more were said."""
        goal = len(self.said) + count
        wait_until(lambda: len(self.said) >= goal, 40, "more messages")


class Subscriber:
    """One client, of RESP 2 or 3, with three channels, a pattern and a shard channel."""

    def __init__(self, proxy, resp):
        self.client = proxy.connect(40)
        self.heard = []
        if resp == 3:
            self.client.ok("HELLO", 3)
        self.client.send(encode_all([("SUBSCRIBE", *CHANNELS), ("PSUBSCRIBE", "news.*"),
                                     ("SSUBSCRIBE", "s")]))
        said = [self.client.read() for _ in range(5)]
        assert [one[2] for one in said] == [1, 2, 3, 4, 1]
        self.kind = Push if resp == 3 else list

    def read_to(self, end):
        """All that comes until this client hears the end; nothing but messages."""
        while True:
            frame = self.client.read()
            assert type(frame) is self.kind, frame
            if frame[-1] == end:
                return
            at = MESSAGES[(frame[0], frame[1])]
            self.heard.append((frame[0], int(frame[at])))

    def numbers(self, kind):
        return [number for said, number in self.heard if said == kind]


def subscribed(node):
    """How many listen to one of the channels, to the pattern, and to the shard channel."""
    return (node.call("PUBSUB", "NUMSUB", "a")[1], node.call("PUBSUB", "NUMPAT"),
            node.call("PUBSUB", "SHARDNUMSUB", "s")[1])


def all_subscribed(node, patterns):
    wait_until(lambda: subscribed(node) == (CLIENTS, patterns, CLIENTS), 20, "all subscriptions")


def check_heard(subscribers, said, since):
    """In order, none twice, and none missing behind `since`; and each heard by as many as the
    server says."""
    for subscriber in subscribers:
        for kind in (b"message", b"pmessage", b"smessage"):
            numbers = subscriber.numbers(kind)
            assert numbers == sorted(set(numbers)), f"{kind} twice, or not in order"
            late = [n for n in numbers if n > since]
            want = [n for n in said if n > since and (n % 4 == 0) == (kind == b"smessage")]
            assert late == want, kind
    assert all(said[n] == (CLIENTS if n % 4 == 0 else 2 * CLIENTS) for n in said if n > since)


def restored(proxy):
    """How many sessions have subscribed again, those included that the log only counts."""
    entries = proxy.entries("subscriptions-restored")
    return sum(1 + int(entry.get("suppressed", 0)) for entry in entries)


def hear_through(proxy, publisher, node_now, disturb):
    """disturb() takes the connections to the primary away; node_now() is the one behind."""
    with contextlib.ExitStack() as stack:
        subscribers = [Subscriber(proxy, 2 + i % 2) for i in range(CLIENTS)]
        for subscriber in subscribers:
            stack.callback(subscriber.client.close)
        stack.enter_context(publisher)
        publisher.goes_on()
        disturb()
        all_subscribed(node_now(), 1)
        since = max(publisher.said)
        publisher.goes_on(100)
        publisher.__exit__()
        wait_until(lambda: node_now().call("PUBLISH", "a", "end") == CLIENTS, 10, "the end")
        for subscriber in subscribers:
            subscriber.read_to(b"end")
            assert subscriber.client.is_open()
        check_heard(subscribers, publisher.said, since + 1)
        assert not proxy.entries("session-closed")
        assert proxy.entries("subscriptions-restored")


@pytest.mark.tls
@pytest.mark.parametrize("planned", [True, False], ids=["planned", "crash"])
@judged
def test_44_subscribers(planned):
    with scenario() as (cluster, proxy):
        old = cluster.primary

        def move():
            if planned:
                cluster.failover()
            else:
                old.kill()
            cluster.wait_primary(old)
        hear_through(proxy, Publisher(proxy), lambda: cluster.primary, move)
        entry = proxy.entries("subscriptions-restored")[0]
        assert (entry["channels"], entry["patterns"], entry["shards"]) == ("3", "1", "1")
        assert 0 <= int(entry["gap-ms"]) < 20000, entry


@pytest.mark.parametrize("how", ["kill", "restart"])
def test_44_link_lost(how):
    """The primary stays; only the connections to it end."""
    with one_node() as (node, proxy):
        def disturb():
            if how == "kill":
                assert node.call("CLIENT", "KILL", "TYPE", "pubsub") == CLIENTS
            else:
                node.kill()
                node.start()
        hear_through(proxy, Publisher(proxy), lambda: node, disturb)


@pytest.fixture(name="stage")
def stage_fixture():
    with contextlib.ExitStack() as stack:
        yield Stage(stack, **{"proxy.workers": 1})


def greeted(stack, proxy, resp):
    client = stack.enter_context(proxy.connect(20))
    if resp == 3:
        client.ok("HELLO", 3)
    return client


BOTH = pytest.mark.parametrize("resp", [2, 3])


@BOTH
def test_44_old_primary_lives(stage, resp):
    """It never closes the connection: the subscriber is moved all the same, and what is published
    there then is not heard."""
    with contextlib.ExitStack() as stack:
        client = greeted(stack, stage.proxy, resp)
        client.ok("SUBSCRIBE", "c")
        stage.announce()
        assert stage.old.call("PUBLISH", "c", "before") == 1
        assert client.read() == [b"message", b"c", b"before"]
        stage.switch()
        wait_until(lambda: stage.new.call("PUBLISH", "c", "behind") == 1, 10, "the subscriber")
        assert client.read() == [b"message", b"c", b"behind"]
        wait_until(lambda: stage.old.call("PUBLISH", "c", "lost") == 0, 5, "the old connection")
        assert client.call("UNSUBSCRIBE") == [b"unsubscribe", b"c", 0]
        assert client.call("PUBLISH", "c", "nobody") == 0


@BOTH
def test_45_subscribe_during_the_hold(stage, resp):
    """Each name is confirmed once, behind what the client holds already."""
    with contextlib.ExitStack() as stack:
        client = greeted(stack, stage.proxy, resp)
        client.ok("PSUBSCRIBE", "p*")
        stage.announce()
        client.send(encode_all([("SUBSCRIBE", "a", "b", "a"), ("SSUBSCRIBE", "s"), ("PING", "x")]))
        assert not client.read_for(0.2)
        stage.switch()
        said = [client.read() for _ in range(5)]
        assert said[:4] == [[b"subscribe", b"a", 2], [b"subscribe", b"b", 3],
                            [b"subscribe", b"a", 3], [b"ssubscribe", b"s", 1]]
        assert said[4] == (b"x" if resp == 3 else [b"pong", b"x"])
        assert stage.new.call("PUBLISH", "p", "1") == 1
        assert stage.new.call("PUBLISH", "b", "2") == 1
        assert [client.read()[-1] for _ in range(2)] == [b"1", b"2"]


@BOTH
@pytest.mark.parametrize("names", [(), ("b", "none")], ids=["all", "some"])
def test_45_unsubscribe_during_the_hold(stage, resp, names):
    with contextlib.ExitStack() as stack:
        client = greeted(stack, stage.proxy, resp)
        client.send(encode("SUBSCRIBE", "a", "b", "c"))
        assert [client.read()[2] for _ in range(3)] == [1, 2, 3]
        stage.announce()
        client.send(encode("UNSUBSCRIBE", *names))
        assert not client.read_for(0.2)
        stage.switch()
        said = [client.read() for _ in range(2 if names else 3)]
        assert [one[2] for one in said] == ([2, 2] if names else [2, 1, 0])
        assert {one[1] for one in said} == ({b"b", b"none"} if names else {b"a", b"b", b"c"})
        left = 1 if names else 0
        assert [stage.new.call("PUBLISH", name, "x") for name in "abc"] == [left, 0, left]
        for name in (b"a", b"c") if names else ():
            assert client.read() == [b"message", name, b"x"]
        assert client.call("PING") == ("PONG" if resp == 3 or not names else [b"pong", b""])


def test_45_hold_that_is_called_off(stage):
    """The connection stays, and what was published in between was heard."""
    with stage.proxy.connect(20) as client:
        client.ok("SUBSCRIBE", "a")
        stage.announce()
        client.send(encode("SUBSCRIBE", "b"))
        assert stage.old.call("PUBLISH", "a", "x") == 1
        assert client.read() == [b"message", b"a", b"x"]
        stage.abort()
        assert client.read() == [b"subscribe", b"b", 2]
        assert not stage.proxy.entries("subscriptions-restored")


@BOTH
def test_44_confirmations_cut_at_every_byte(resp):
    """Whatever the client has got of them, it gets the rest, and nothing twice."""
    with relayed({"proxy.workers": 1}) as (node, relay, proxy), contextlib.ExitStack() as stack:
        client = greeted(stack, proxy, resp)
        kind = b">" if resp == 3 else b"*"
        for verb, counts in (("SUBSCRIBE", (2, 3, 3)), ("UNSUBSCRIBE", (2, 2, 1))):
            client.ok("SUBSCRIBE", "held")
            for after in range(0, 100, 3):
                names = [f"{verb}-{after}-{i}" for i in (1, 2)]
                first = names[0]
                if verb == "UNSUBSCRIBE":
                    client.send(encode("SUBSCRIBE", *names))
                    assert [client.read()[2] for _ in names] == [2, 3]
                    names, first = [names[0], "none", names[1]], names[0]
                else:
                    names.append(names[0])
                lower = verb.lower().encode()
                marker = b"%b3\r\n$%d\r\n%b\r\n$%d\r\n%b" % (kind, len(lower), lower, len(first),
                                                             first.encode())
                rule = relay.add(Rule("fin" if after % 2 else "rst", DOWN, marker, after))
                if resp == 2 and after % 2:
                    client.send(f"{verb} {' '.join(names)}\r\n".encode())
                else:
                    client.send(encode(verb, *names))
                said = [client.read() for _ in names]
                assert said == [[lower, name.encode(), count]
                                for name, count in zip(names, counts)]
                rule.wait()
                if verb == "SUBSCRIBE":
                    client.send(encode("UNSUBSCRIBE", *names[:2]))
                    assert [client.read()[2] for _ in range(2)] == [2, 1]
            wait_until(lambda: node.call("PUBLISH", "held", "x") == 1, 5, "the subscriber")
            while client.read() != [b"message", b"held", b"x"]:
                pass


def test_44_message_cut(stage):
    """A large message of which a part was given can't be taken back: the client is closed."""
    with stage.proxy.connect(20) as client:
        client.ok("SUBSCRIBE", "c")
        rule = stage.relay.add(Rule("rst", DOWN, b"*3\r\n$7\r\nmessage\r\n", 200000))
        stage.old.call("PUBLISH", "c", "x" * 300000)
        rule.wait()
        assert client.read_all(10).startswith(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$300000\r\nxxx")
        assert stage.proxy.entries("session-closed")[0]["reason"] == "reply-cut"


@pytest.mark.tls
@pytest.mark.parametrize("speaks", [("MONITOR",), ("SUBSCRIBE", "c")])
def test_44_message_cut_by_the_move(stage, speaks):
    """The same when the primary changes, also when the client has begun to ask something: no answer
    to that was begun."""
    with stage.proxy.connect(20, rcvbuf=4096) as slow, stage.proxy.connect(20) as other:
        slow.ok("HELLO", 3)
        slow.ok(*speaks)
        slow.send(encode("GET", "k" * 8000000)[:300000])
        if speaks == ("MONITOR",):
            assert other.ok("SET", "huge", "x" * 5000000)
        else:
            assert other.ok("PUBLISH", "c", "x" * 5000000) == 1
        stage.announce()
        stage.switch()
        assert other.ok("SET", "k", "v") == "OK"
        closed = wait_until(lambda: stage.proxy.entries("session-closed"), 10, "it to be closed")
        assert [one["reason"] for one in closed] == ["reply-cut"]
        slow.read_all(20)


def test_44_large_message():
    with one_node() as (node, proxy), proxy.connect(20) as client:
        client.ok("SUBSCRIBE", "c")
        assert node.call("PUBLISH", "c", "x" * 3000000) == 1
        assert client.read() == [b"message", b"c", b"x" * 3000000]
        assert client.call("PING") == [b"pong", b""]


def test_44_reader_that_lags():
    """The server closes a subscriber that does not read; so its client is closed, for it would not
    hear of what it has missed."""
    limit = ("client-output-buffer-limit", "pubsub", "8mb", "0", "0")
    with one_node(node_settings=[limit]) as (node, proxy), \
            proxy.connect(20, rcvbuf=65536) as slow, proxy.connect(20) as quick:
        slow.ok("SUBSCRIBE", "c")
        quick.ok("SUBSCRIBE", "c")
        message = "x" * 50000
        with node.connect(20) as publisher:
            while publisher.ok("PUBLISH", "c", message) == 2:
                assert quick.read()[2] == message.encode()
        assert quick.read()[2] == message.encode()
        said = slow.read_all(20)
        assert said.startswith(b"*3\r\n$7\r\nmessage\r\n")
        assert proxy.entries("session-closed")[0]["reason"] == "output-limit"
        assert quick.call("PING") == [b"pong", b""]


def test_44_too_many_to_be_kept():
    """limit: SUBSCRIPTIONS_MAX RESUBSCRIBE_BYTES. Below it all are carried, past it the client is
    closed with a word; and it is served to its end."""
    with one_node() as (node, proxy), proxy.connect(20) as carried, proxy.connect(20) as closed:
        names = [f"channel-{i:05}" for i in range(40000)]
        carried.send(encode("SUBSCRIBE", *names[:20000]))
        closed.send(encode("SUBSCRIBE", *names))
        assert [carried.read()[2] for _ in range(20000)] == list(range(1, 20001))
        assert [closed.read()[2] for _ in range(40000)] == list(range(1, 40001))
        closed.send(encode("UNSUBSCRIBE"))
        assert {closed.read()[1] for _ in range(40000)} == {name.encode() for name in names}
        closed.ok("SUBSCRIBE", "one")
        assert node.call("CLIENT", "KILL", "TYPE", "pubsub") == 2
        wait_until(lambda: proxy.entries("subscriptions-restored"), 10, "all subscriptions")
        assert node.call("PUBLISH", names[19999], "x") == 1
        assert carried.read() == [b"message", names[19999].encode(), b"x"]
        assert closed.closed()
        entry = proxy.entries("session-closed")[0]
        assert entry["state"] == "more subscriptions than are kept"
        assert proxy.entries("subscriptions-restored")[0]["channels"] == "20000"


def test_44_name_too_large_to_be_kept():
    """The same of a name that is not looked at as a whole."""
    with one_node() as (node, proxy), proxy.connect(20) as client:
        name = "n" * 200000
        client.send(encode("SUBSCRIBE", "small", name))
        assert [client.read()[2] for _ in range(2)] == [1, 2]
        assert node.call("PUBLISH", name, "x") == 1
        assert client.read() == [b"message", name.encode(), b"x"]
        node.call("CLIENT", "KILL", "TYPE", "pubsub")
        assert client.closed()
        assert "name of a channel" in proxy.entries("session-closed")[0]["state"]


def test_44_refused_on_the_new_primary(stage):
    """Who may not listen there is closed, and not left waiting for nothing."""
    with stage.proxy.connect(20) as client:
        client.ok("SUBSCRIBE", "c")
        stage.new.call("ACL", "SETUSER", "default", "resetchannels")
        stage.switch()
        assert client.closed()
        assert stage.proxy.entries("subscriptions-refused")[0]["error"].startswith("-NOPERM")


def test_44_requests_of_a_subscriber(stage):
    """With RESP3 it may ask for anything: reads go on, a write in doubt is said to be, and the
    subscription behind it is made again."""
    with stage.proxy.connect(20) as client:
        client.ok("HELLO", 3)
        client.ok("SUBSCRIBE", "c")
        stage.relay.freeze()
        client.send(encode_all([("GET", "k"), ("INCR", "n"), ("GET", "n")]))
        wait_until(lambda: stage.proxy.entries("suspect-begin"), 10, "suspicion")
        stage.switch()
        said = [client.read() for _ in range(3)]
        assert [one.code for one in said[:2]] == ["INDOUBT"] * 2 and said[2] is None
        assert client.call("SUBSCRIBE", "d") == [b"subscribe", b"d", 2]
        assert client.call("GET", "k") is None
        stage.relay.freeze(False)


@BOTH
def test_44_idle(resp):
    """A subscriber to whom nothing is said has as much patience as with Redis itself; and a server
    that answers late is waited for."""
    with one_node() as (node, proxy), contextlib.ExitStack() as stack:
        client = greeted(stack, proxy, resp)
        client.ok("SUBSCRIBE", "c")
        node.pause()
        client.send(encode("PING", "late"))
        wait_until(lambda: proxy.entries("suspect-begin"), 10, "suspicion")
        assert not client.read_for(0.5)
        node.resume()
        assert client.read() == (b"late" if resp == 3 else [b"pong", b"late"])
        wait_until(lambda: proxy.entries("suspect-end"), 10, "the primary")
        assert node.call("PUBLISH", "c", "x") == 1
        assert client.read() == [b"message", b"c", b"x"]
        assert not proxy.entries("subscriptions-restored")


@BOTH
def test_44_wait_of_a_subscriber(stage, resp):
    """Its writes were written elsewhere: no replica has them; but with RESP2 it may not ask."""
    with contextlib.ExitStack() as stack:
        client = greeted(stack, stage.proxy, resp)
        client.ok("SET", "k", "v")
        client.ok("SUBSCRIBE", "c")
        stage.announce()
        stage.switch()
        reply = client.call("WAIT", 0, 0)
        assert reply == 0 if resp == 3 else reply.text.startswith("ERR Can't execute 'wait'")


@pytest.mark.plain("redis-py is set up without TLS")
def test_44_redis_py(stage):
    """Its loop goes on with the connection it has, and sees messages only."""
    host, port = stage.proxy.address
    with redis.Redis(host=host, port=port, decode_responses=True) as client:
        heard, sockets = client.pubsub(), set()

        def get(kind):
            """The next message of that kind; redis-py gives None for what it does not wait for."""
            while True:
                message = heard.get_message(timeout=10)
                sockets.add(heard.connection._sock.getsockname())
                if message is not None:
                    assert message["type"] == kind, message
                    return message["channel"], message["data"]
        heard.subscribe("c", "d")
        assert [get("subscribe") for _ in range(2)] == [("c", 1), ("d", 2)]
        heard.psubscribe("p*")
        assert get("psubscribe") == ("p*", 3)
        stage.announce()
        stage.switch()
        wait_until(lambda: stage.proxy.entries("subscriptions-restored"), 10, "the subscriptions")
        for number in range(5):
            assert client.publish("c", number) == 1
            assert get("message") == ("c", str(number))
        client.publish("px", "x")
        assert get("pmessage") == ("px", "x")
        heard.unsubscribe("c")
        assert get("unsubscribe") == ("c", 2)
        heard.ping()
        assert get("pong")[1] == ""
        heard.close()
        assert len(sockets) == 1


def monitor_lines(client, words):
    """Reads until a line tells of these words; every line is one of MONITOR's."""
    end = " ".join(f'"{word}"' for word in words)
    while True:
        line = client.read()
        assert not isinstance(line, ServerError) and line != "OK" and " [" in line, line
        if line.endswith(end):
            return


@BOTH
def test_47_monitor(stage, resp):
    """It goes on at the new primary, and +OK is given once."""
    with contextlib.ExitStack() as stack:
        client = greeted(stack, stage.proxy, resp)
        assert client.ok("MONITOR") == "OK"
        stage.old.call("SET", "k", "old")
        monitor_lines(client, ("SET", "k", "old"))
        stage.announce()
        stage.switch()
        wait_until(lambda: stage.proxy.entries("subscriptions-restored"), 10, "the MONITOR")
        stage.new.call("SET", "k", "new")
        monitor_lines(client, ("SET", "k", "new"))
        stage.new.call("CLIENT", "KILL", "TYPE", "normal")
        wait_until(lambda: restored(stage.proxy) == 2, 10, "the MONITOR")
        stage.new.call("SET", "k", "newer")
        monitor_lines(client, ("SET", "k", "newer"))
        assert client.call("RESET") == "RESET"
        assert client.call("GET", "k") == b"newer"


@judged
def test_47_monitor_crash():
    with scenario() as (cluster, proxy), proxy.connect(40) as client:
        assert client.ok("MONITOR") == "OK"
        old = cluster.primary
        old.kill()
        new = cluster.wait_primary(old)
        wait_until(lambda: proxy.entries("subscriptions-restored"), 20, "the MONITOR")
        new.call("SET", "k", "new")
        monitor_lines(client, ("SET", "k", "new"))


def test_47_monitor_during_the_hold(stage):
    with stage.proxy.connect(20) as client:
        stage.announce()
        client.send(encode("MONITOR"))
        stage.switch()
        assert client.read() == "OK"
        stage.new.call("SET", "k", "new")
        monitor_lines(client, ("SET", "k", "new"))


def test_44_subscriber_that_leaves(stage):
    """Also while it has no connection to a primary."""
    with stage.proxy.connect() as idle, stage.proxy.connect() as asks:
        idle.ok("SUBSCRIBE", "c")
        asks.ok("SUBSCRIBE", "c")
        stage.announce()
        stage.relay.cut_all()
        asks.send(encode("SUBSCRIBE", "d"))
        for client in (idle, asks):
            client.half_close()
            assert client.closed()
        stage.switch()
        with stage.proxy.connect() as other:
            assert other.call("PUBLISH", "c", "x") == 0
