"""Who shares a connection: only sessions of one user, database and protocol, whatever they say to
become another, in whatever order and with whatever success."""

import contextlib
import random
import re

import pytest

from support.case import one_node
from support.fake_sentinel import NEVER, FakeNode, FakeSentinel
from support.proxy import Proxy
from support.resp import Conn, ServerError, decode, encode, encode_all
from support.wait import wait_until

USERS = ("default", "alice", "bob")
WRONG = ServerError("WRONGPASS invalid username-password pair or user is disabled.")
NOAUTH = ServerError("NOAUTH Authentication required.")
SPOILT = ServerError("EXECABORT Transaction discarded because of previous errors.")


@pytest.fixture(name="setup", scope="module")
def setup_fixture():
    with one_node({"links": "shared"}) as parts:
        for user in USERS[1:]:
            parts[0].call("ACL", "SETUSER", user, "on", f">{user}-secret", "~*", "&*", "+@all")
        parts[1].wait_serving()
        yield parts


class Client:
    """A session of which is known who it must be. Each step is (request, expected reply)."""

    def __init__(self, proxy, seed):
        self.conn = proxy.connect(30)
        self.random = random.Random(seed)
        self.user, self.database, self.resp, self.name = "default", 0, 2, None

    def null(self):
        return b"_\r\n" if self.resp == 3 else b"$-1\r\n"

    def steps(self, count):
        """Requests for one packet, and what must be true of each reply."""
        for _ in range(count):
            yield from self.random.choice((self.become, self.greet, self.select, self.reset,
                                           self.fail, self.rename, self.look, self.look))()

    def become(self):
        self.user = self.random.choice(USERS[1:])
        yield encode("AUTH", self.user, f"{self.user}-secret"), b"+OK\r\n"

    def greet(self):
        user = self.random.choice(USERS[1:])
        self.user, self.resp = user, self.random.choice((2, 3))
        words = ["HELLO", self.resp, "AUTH", user, f"{user}-secret"]
        if self.random.random() < 0.5:
            self.name = f"n{self.random.randrange(1000)}"
            words += ["SETNAME", self.name]
        first = b"%7\r\n" if self.resp == 3 else b"*14\r\n"
        yield encode(*words), lambda frame: frame.startswith(first)

    def select(self):
        self.database = self.random.randrange(4)
        yield encode("SELECT", self.database), b"+OK\r\n"

    def reset(self):
        self.user, self.database, self.resp, self.name = "default", 0, 2, None
        yield encode("RESET"), b"+RESET\r\n"

    def fail(self):
        """What is refused changes nothing, however much of it was acceptable."""
        other = self.random.choice(USERS[1:])
        good, wrong = ("AUTH", other, f"{other}-secret"), ("AUTH", "alice", "wrong")
        yield self.random.choice((
            (encode(*wrong), b"-%b\r\n" % WRONG.text.encode()),
            (encode("SELECT", 16), b"-ERR DB index is out of range\r\n"),
            (encode("SELECT", "x"), b"-ERR value is not an integer or out of range\r\n"),
            (encode("HELLO", 3, *wrong), b"-%b\r\n" % WRONG.text.encode()),
            (encode("HELLO", 4, *good), b"-NOPROTO unsupported protocol version\r\n"),
            (encode("HELLO", 5 - self.resp, *good, *wrong), b"-%b\r\n" % WRONG.text.encode()),
            (encode("HELLO", 5 - self.resp, *good, "NONSENSE"),
             b"-ERR Syntax error in HELLO option 'NONSENSE'\r\n"),
            (encode("HELLO", 5 - self.resp, *good, "SETNAME", "a b"),
             lambda frame: frame.startswith(b"-ERR Client names cannot"))))

    def rename(self):
        self.name = f"n{self.random.randrange(1000)}"
        yield encode("CLIENT", "SETNAME", self.name), b"+OK\r\n"

    def look(self):
        user = self.user.encode()
        yield encode("ACL", "WHOAMI"), b"$%d\r\n%b\r\n" % (len(user), user)
        yield encode("GET", "database"), b"$1\r\n%d\r\n" % self.database
        yield encode("GET", "missing"), self.null()
        if self.random.random() < 0.3:
            yield encode("WATCH", "k"), b"+OK\r\n"
            yield encode("ACL", "WHOAMI"), b"$%d\r\n%b\r\n" % (len(user), user)
            yield encode("GET", "database"), b"$1\r\n%d\r\n" % self.database
            yield encode("UNWATCH"), b"+OK\r\n"
        name = self.name.encode() if self.name else None
        yield (encode("CLIENT", "GETNAME"),
               b"$%d\r\n%b\r\n" % (len(name), name) if name else self.null())


def fits(want, frame):
    return want(frame) if callable(want) else frame == want


@pytest.mark.tsan
@pytest.mark.parametrize("seed", range(3))
def test_profiles_never_mix(setup, seed):
    """40 sessions change who they are in the middle of their packets, at random; every reply shows
    the user, the database, the protocol and the name that its own session has asked for."""
    node, proxy = setup
    for database in range(4):
        with node.connect() as conn:
            conn.ok("SELECT", database)
            conn.ok("SET", "database", database)
    chance = random.Random(seed)
    with contextlib.ExitStack() as stack:
        clients = [Client(proxy, chance.random()) for _ in range(40)]
        for client in clients:
            stack.enter_context(client.conn)
        for _ in range(15):
            said = [list(client.steps(chance.randrange(1, 25))) for client in clients]
            for client, steps in zip(clients, said):
                client.conn.send(b"".join(request for request, _ in steps))
            for client, steps in zip(clients, said):
                for request, want in steps:
                    frame = client.conn.read_frame()
                    assert fits(want, frame), (request, frame, want, client.user)


@pytest.mark.parametrize("options", [
    ("AUTH", "bob", "bob-secret", "AUTH", "alice", "wrong"),
    ("AUTH", "bob", "bob-secret", "NONSENSE"),
    ("AUTH", "bob", "bob-secret", "SETNAME", "a b"),
    ("AUTH", "bob", "bob-secret", "SETNAME"),
    ("SETNAME", "n", "AUTH", "bob", "bob-secret", "AUTH", "alice", "wrong"),
], ids=str)
@pytest.mark.parametrize("leaves", [False, True])
def test_no_identity_is_left_behind(setup, options, leaves):
    """Redis has taken the first part of a HELLO as it refuses the second. Nobody meets that
    connection again."""
    _, proxy = setup
    with proxy.connect() as odd, contextlib.ExitStack() as stack:
        assert isinstance(odd.call("HELLO", 2, *options), ServerError)
        if leaves:
            odd.reset()
        others = [stack.enter_context(proxy.connect()) for _ in range(4)]
        for other in others:  # all at once: one link each, whichever there are
            assert other.ok("WATCH", "k") == "OK"
        assert [other.ok("ACL", "WHOAMI") for other in others] == [b"default"] * 4
        assert [other.ok("UNWATCH") for other in others] == ["OK"] * 4
        assert [other.ok("ACL", "WHOAMI") for other in others] == [b"default"] * 4


def test_names_are_the_sessions_own(setup):
    """On one shared connection, and on the one that a transaction gets from others."""
    _, proxy = setup
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(proxy.connect()) for _ in range(10)]
        for number, client in enumerate(clients[1:], 1):
            assert client.ok("CLIENT", "SETNAME", f"name-{number}") == "OK"
        for _ in range(2):
            for number, client in enumerate(clients):
                name = b"name-%d" % number if number else None
                replies = client.pipeline([("CLIENT", "GETNAME"), ("MULTI",), ("CLIENT", "GETNAME"),
                                           ("EXEC",), ("CLIENT", "GETNAME")])
                assert [replies[0], replies[3], replies[4]] == [name, [name], name]
        assert clients[3].call("CLIENT", "SETNAME", "a b").text.startswith("ERR Client names")
        assert clients[3].ok("CLIENT", "GETNAME") == b"name-3"
        assert clients[3].ok("CLIENT", "SETNAME", "") == "OK"
        assert clients[3].ok("CLIENT", "GETNAME") is None


def test_passwords(setup):
    """A changed one, and a user that is gone: who is in stays in as far as Redis lets it, who comes
    needs the new one, and nobody else is touched."""
    node, proxy = setup
    node.call("ACL", "SETUSER", "carol", "on", ">first", "~*", "&*", "+@all")
    with proxy.connect() as carol, proxy.connect() as late, proxy.connect() as plain:
        assert carol.ok("AUTH", "carol", "first") == "OK"
        assert plain.ok("ACL", "WHOAMI") == b"default"
        node.call("ACL", "SETUSER", "carol", "resetpass", ">second")
        assert carol.ok("ACL", "WHOAMI") == b"carol"
        assert late.call("AUTH", "carol", "first") == WRONG
        assert late.ok("ACL", "WHOAMI") == b"default"
        assert late.ok("AUTH", "carol", "second") == "OK"
        assert [c.ok("ACL", "WHOAMI") for c in (carol, late, plain)] == \
            [b"carol", b"carol", b"default"]
        # No link of its own can be had with the old one: no half of a transaction runs.
        for _ in range(2):
            assert [getattr(reply, "code", reply) for reply in carol.pipeline(
                [("MULTI",), ("SET", "half", 1), ("EXEC",)])] == ["NOAUTH"] * 3
        assert plain.ok("EXISTS", "half") == 0
        assert carol.ok("AUTH", "carol", "second") == "OK"
        assert carol.pipeline([("MULTI",), ("SET", "half", 1), ("EXEC",)])[2] == ["OK"]
        node.call("ACL", "DELUSER", "carol")  # Redis closes carol's connections
        for client in (carol, late):
            assert client.call("ACL", "WHOAMI").code == "NOAUTH"
            assert client.call("AUTH", "carol", "second") == WRONG
        assert plain.ok("ACL", "WHOAMI") == b"default"
        assert carol.ok("AUTH", "alice", "alice-secret") == "OK"
        assert carol.ok("ACL", "WHOAMI") == b"alice"


def test_commands_that_a_user_may_not_run(setup):
    """The same packet from two users, each judged by its own rights."""
    node, proxy = setup
    node.call("ACL", "SETUSER", "reader", "on", ">reader-secret", "~public:*", "-@all", "+get",
              "+multi", "+exec", "+ping")
    node.call("SET", "public:k", "v")
    with proxy.connect() as reader, proxy.connect() as other:
        assert reader.ok("AUTH", "reader", "reader-secret") == "OK"
        request = encode("GET", "public:k") + encode("SET", "public:k", "v") + \
            encode("GET", "private") + encode("PING")
        for _ in range(50):
            reader.send(request)
            other.send(request)
        for _ in range(50):
            assert [getattr(reader.read(), "code", None) for _ in range(4)] == \
                [None, "NOPERM", "NOPERM", None]
            assert [other.read() for _ in range(4)] == [b"v", "OK", None, "PONG"]


WITHOUT = [("GET", "k"), ("SET", "k", "v"), ("PING",), ("MULTI",), ("SUBSCRIBE", "c"),
           ("CLIENT", "GETNAME"), ("CLIENT", "SETNAME", "n"), ("CLIENT", "ID"), ("SELECT", 1),
           ("BLPOP", "l", 0), ("WATCH", "k"), ("EVAL", "return 1", 0), ("WAIT", 0, 0),
           ("HELLO",), ("HELLO", 3), ("AUTH", "wrong"), ("AUTH", "default", "wrong"), ("AUTH",),
           ("HELLO", 3, "AUTH", "default", "wrong"), ("RESET",), ("GET", "k"),
           ("AUTH", "pw"), ("GET", "k"), ("RESET",), ("GET", "k"), ("QUIT",)]


@pytest.mark.parametrize("packets", ["one", "many"])
def test_without_a_password(packets):
    """What Redis says to a client that has not given one, the proxy says too, while others who have
    are busy on connections that such a client never meets."""
    with one_node({"links": "shared"}, [("requirepass", "pw")]) as (node, proxy), \
            contextlib.ExitStack() as stack:
        busy = [stack.enter_context(proxy.connect(20)) for _ in range(5)]
        for client in busy:
            assert client.ok("AUTH", "pw") == "OK"
            client.ok("SET", "k", "secret")
        said = []
        for address in (node.address, proxy.address):
            with Conn(address) as client:
                for other in busy:
                    other.send(encode("INCR", "n") * 200)
                if packets == "one":
                    client.send(b"".join(encode(*words) for words in WITHOUT))
                replies = []
                for words in WITHOUT:
                    if packets == "many":
                        client.send(encode(*words))
                    replies.append(client.read_frame())
                said.append(replies)
                for other in busy:
                    other.read_frames(200)
        for words, want, got in zip(WITHOUT, *said):
            assert got == want, words
        assert said[1].count(b"$6\r\nsecret\r\n") == 1


def test_password_set_while_clients_are_connected():
    """limit: CHECK_INTERVAL_MS. Who is in stays in, who comes has to give it, within a second or so; and the way back."""
    with one_node({"links": "shared"}) as (node, proxy), contextlib.ExitStack() as stack:
        proxy.wait_serving()

        def newcomer():
            with proxy.connect() as client:
                return client.call("SET", "k", "v")

        old = [stack.enter_context(proxy.connect()) for _ in range(5)]
        assert [client.ok("INCR", "n") for client in old] == [1, 2, 3, 4, 5]
        for words in (("SELECT", 3), ("SET", "in", 3), ("SET", "k", "v")):
            assert old[4].ok(*words) == "OK"
        node.configure([], [("requirepass", "pw")])  # by which the test reaches it from now on
        with Conn(node.address) as conn:
            conn.ok("CONFIG", "SET", "requirepass", "pw")
        wait_until(lambda: newcomer() == NOAUTH, 3, "newcomers to be asked")
        assert [client.ok("INCR", "n") for client in old] == [6, 7, 8, 9, 1]
        late = stack.enter_context(proxy.connect())
        assert late.call("GET", "k") == NOAUTH
        assert late.ok("AUTH", "pw") == "OK"
        assert late.ok("GET", "k") == b"v"
        waiting = stack.enter_context(proxy.connect())
        assert waiting.call("GET", "k") == NOAUTH
        assert old[0].ok("INCR", "n") == 10
        # One that needs a connection of its own now is out, wholly: no half of a transaction runs.
        out = old[4]
        assert out.pipeline([("MULTI",), ("SET", "half", 1), ("EXEC",), ("GET", "k")]) == \
            [NOAUTH] * 4
        assert old[0].call("EXISTS", "half") == 0
        assert out.ok("AUTH", "pw") == "OK"
        assert out.pipeline([("MULTI",), ("SET", "half", 1), ("EXEC",), ("GET", "k")])[2:] == \
            [["OK"], b"v"]
        assert out.ok("GET", "in") == b"3"
        node.call("CONFIG", "SET", "requirepass", "")
        node.configure([], [])
        wait_until(lambda: newcomer() == "OK", 3, "newcomers to be let in")
        assert waiting.ok("GET", "k") == b"v"
        assert old[0].ok("INCR", "n") == 11
        assert late.ok("GET", "k") == b"v"


@pytest.mark.parametrize("denied", [False, True], ids=["runs", "spoilt"])
def test_password_set_while_a_transaction_is_open(denied):
    """Who has a connection of its own stays in on it when others no longer get one: its transaction
    ends by what the server says, and nothing said later falls into it."""
    settings = {"links": "shared", "deny-commands": "keys"}
    with one_node(settings) as (node, proxy), proxy.connect() as client, proxy.connect() as other:
        assert client.pipeline([("MULTI",), ("INCR", "n")]) == ["OK", "QUEUED"]
        assert other.call("GET", "n") is None
        node.configure([], [("requirepass", "pw")])
        with Conn(node.address) as conn:
            conn.ok("CONFIG", "SET", "requirepass", "pw")
            for line in conn.ok("CLIENT", "LIST").decode().splitlines():
                if " multi=-1 " in line and " cmd=client" not in line:
                    conn.call("CLIENT", "KILL", "ID", re.search(r"id=(\d+)", line).group(1))
        wait_until(lambda: other.call("GET", "n") == NOAUTH, 5, "the others to be out")
        if denied:
            assert client.call("KEYS", "*").code == "NOPERM"
        assert client.call("EXEC") == (SPOILT if denied else [1])
        assert client.call("GET", "n") == NOAUTH
        assert client.ok("AUTH", "pw") == "OK"
        assert client.ok("GET", "n") == (None if denied else b"1")


def test_decode_of_both_protocols(setup):
    """RESP3 sessions beside RESP2 ones get their own types."""
    node, proxy = setup
    node.call("DEL", "h", "z")
    node.call("HSET", "h", "f", "v")
    node.call("ZADD", "z", "1.5", "m")
    with proxy.connect() as two, proxy.connect() as three:
        three.ok("HELLO", 3)
        request = encode("HGETALL", "h") + encode("ZSCORE", "z", "m") + encode("GET", "none")
        for _ in range(100):
            two.send(request)
            three.send(request)
        for _ in range(100):
            assert [two.read_frame()[:1] for _ in range(3)] == [b"*", b"$", b"$"]
            frames = three.read_frames(3)
            assert [frame[:1] for frame in frames] == [b"%", b",", b"_"]
            assert decode(frames[0]).get(b"f") == b"v"


def test_select_of_the_same_database_is_no_barrier():
    """Clients say it at each checkout. Of another database it is one: nothing is sent behind it."""
    with FakeNode({"GET": NEVER}) as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {"links": "shared", "stall-timeout": "10s"}) as proxy:
        proxy.wait_serving()
        with proxy.connect() as client:
            client.send(encode_all([("GET", "a"), ("SELECT", "0"), ("GET", "b"), ("SELECT", "1"),
                                    ("GET", "c")]))
            wait_until(lambda: len(node.requests("GET")) == 2, 5, "what stands before SELECT 1")
            assert [args[1] for args in node.requests("SELECT")] == [b"0"]
            client.read_for(0.2)
            assert len(node.requests("GET")) == 2
