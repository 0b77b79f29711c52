"""What a session has set (database, user, protocol) is the same behind a failover."""

import pytest

from support.case import failed_over, judged, scenario
from support.resp import Pairs, ServerError, encode, encode_all
from support.wait import wait_until

pytestmark = pytest.mark.exclusive


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "crash"])
@judged
def test_35_select(planned):
    with scenario() as (cluster, proxy), proxy.connect(20) as five, proxy.connect(20) as zero:
        assert five.ok("SELECT", 5) == "OK"
        assert five.ok("SET", "before", "1") == "OK"
        assert zero.call("GET", "before") is None
        wait_until(lambda: all(r.info("keyspace").get("db5", "").startswith("keys=1,")
                               for r in cluster.replicas()), 5, "replicas with the key")
        new = failed_over(cluster, planned)
        assert five.ok("SET", "behind", "2") == "OK"
        assert five.call("GET", "before") == b"1"
        assert zero.call("GET", "behind") is None
        replies = zero.pipeline([("SET", "a", "0"), ("SELECT", 1), ("SET", "b", "1"),
                                 ("SELECT", 0), ("GET", "a"), ("GET", "b")])
        assert replies == ["OK", "OK", "OK", "OK", b"0", None]
        with new.connect() as direct:
            direct.ok("SELECT", 5)
            assert direct.call("MGET", "before", "behind") == [b"1", b"2"]
            direct.ok("SELECT", 1)
            assert direct.call("MGET", "a", "b") == [None, b"1"]


@pytest.mark.tls
@judged
def test_35_select_pipelined_while_held():
    """SELECT and what stands behind it wait together and run in order."""
    with scenario() as (cluster, proxy), proxy.connect(20) as client:
        client.ok("PING")
        old = cluster.primary
        old.kill()
        wait_until(lambda: not old.process.running(), what="the primary to end")
        client.send(encode_all([("SET", "a", "0"), ("SELECT", 7), ("SET", "b", "7"),
                                ("SELECT", 99), ("SET", "c", "7"), ("SELECT", 0),
                                ("MGET", "a", "b", "c")]))
        replies = [client.read() for _ in range(7)]
        assert replies[:3] == ["OK", "OK", "OK"]
        assert replies[3] == ServerError("ERR DB index is out of range")
        assert replies[4:] == ["OK", "OK", [b"0", None, None]]
        with cluster.wait_primary(old).connect() as direct:
            direct.ok("SELECT", 7)
            assert direct.call("MGET", "b", "c") == [b"7", b"7"]


def add_user(cluster, user, password):
    for node in cluster.nodes:
        node.call("ACL", "SETUSER", user, "reset", "on", f">{password}", "~*", "&*", "+@all")


@pytest.mark.tls
@pytest.mark.parametrize("planned", [True, False], ids=["planned", "crash"])
@judged
def test_36_user(planned):
    with scenario() as (cluster, proxy), proxy.connect(20) as bob, proxy.connect(20) as nobody, \
            proxy.connect(20) as alice:
        add_user(cluster, "bob", "secret-of-bob")
        add_user(cluster, "alice", "secret-of-alice")
        assert bob.ok("AUTH", "bob", "secret-of-bob") == "OK"
        assert bob.call("AUTH", "bob", "wrong").code == "WRONGPASS"
        assert bob.call("ACL", "WHOAMI") == b"bob"
        assert alice.ok("AUTH", "alice", "secret-of-alice") == "OK"
        for replica in cluster.replicas():  # users are each node's own
            replica.call("ACL", "SETUSER", "alice", "resetpass", ">another-secret")
        failed_over(cluster, planned)
        assert bob.call("ACL", "WHOAMI") == b"bob"
        assert nobody.call("ACL", "WHOAMI") == b"default"
        assert alice.call("GET", "x").code == "NOAUTH"
        assert alice.call("GET", "x").code == "NOAUTH"
        assert bob.call("SET", "x", "1") == "OK"
        assert alice.ok("AUTH", "alice", "another-secret") == "OK"
        assert alice.call("ACL", "WHOAMI") == b"alice"
        assert alice.call("GET", "x") == b"1"
        for secret in ("secret-of-bob", "secret-of-alice", "another-secret"):
            assert secret not in proxy.log()


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "crash"])
@judged
def test_37_resp3(planned):
    with scenario() as (cluster, proxy), proxy.connect(20) as three, proxy.connect(20) as two:
        assert isinstance(three.call("HELLO", 3), Pairs)
        three.ok("HSET", "h", "f", "v")
        wait_until(lambda: all(r.call("EXISTS", "h") for r in cluster.replicas()), 5, "replicas")
        check_protocols(three, two)
        failed_over(cluster, planned)
        check_protocols(three, two)
        reply = three.call("HELLO", 2)
        assert not isinstance(reply, Pairs) and reply[reply.index(b"proto") + 1] == 2
        assert three.call("HGETALL", "h") == [b"f", b"v"]
        assert two.call("HELLO", 3).get(b"proto") == 3
        assert two.call("HGETALL", "h") == Pairs([(b"f", b"v")])


def check_protocols(three, two):
    """Interleaved, so that a link shared by both would show."""
    for _ in range(5):
        three.send(encode_all([("HGETALL", "h"), ("GET", "none"), ("ZADD", "z", 1, "m"),
                               ("ZSCORE", "z", "m")]))
        two.send(encode_all([("HGETALL", "h"), ("GET", "none"), ("ZADD", "z", 1, "m"),
                             ("ZSCORE", "z", "m")]))
        frames = three.read_frames(4)
        assert frames[:2] + frames[3:] == [b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n", b"_\r\n", b",1\r\n"]
        frames = two.read_frames(4)
        assert frames[:2] + frames[3:] == [b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n", b"$-1\r\n",
                                           b"$1\r\n1\r\n"]


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "crash"])
@judged
def test_54_name(planned):
    """Only connections of one client alone carry its name at the server, before and behind."""
    with scenario() as (cluster, proxy), proxy.connect(20) as named, proxy.connect(20) as other:
        assert named.ok("CLIENT", "SETNAME", "worker-1") == "OK"
        assert other.call("CLIENT", "GETNAME") is None
        new = failed_over(cluster, planned)
        assert named.call("CLIENT", "GETNAME") == b"worker-1"
        assert named.ok("SET", "k", "v") == "OK"
        assert other.call("CLIENT", "GETNAME") is None
        named.send(encode("BLPOP", "list", "0"))
        wait_until(lambda: b" name=worker-1 " in new.call("CLIENT", "LIST", "TYPE", "NORMAL"), 10,
                   "a link of its name")
        assert other.ok("RPUSH", "list", "x") == 1
        assert named.read() == [b"list", b"x"]
