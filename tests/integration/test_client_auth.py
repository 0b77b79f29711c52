"""client-auth = none and users: who may come in is for the proxy to say, in Redis's words, and what
goes to the server is said by the user that the client's user has there."""

import contextlib
import hashlib
import os
import random
import signal
import tempfile

import pytest

from support.cluster import Node
from support.fake_sentinel import FakeNode, FakeSentinel
from support.guarded import ALL, Guarded
from support.proxy import Proxy, run
from support.resp import Conn, Pairs, ServerError, encode, encode_all
from support.wait import wait_until

USERS = ["user default on >default-pw ~* &* +@all", "user alice on >alice-pw >second ~* &* +@all",
         f"user bob on #{hashlib.sha256(b'bob-pw').hexdigest()}", "user carol on >carol-pw",
         "user free on nopass", "user gone off >gone-pw"]
# Whom they are at the server.
UPSTREAM = {"default": b"app", "alice": b"app", "free": b"app", "bob": b"other", "carol": b"other"}
PASSWORDS = {user: "anything" if user == "free" else f"{user}-pw" for user in UPSTREAM}
WRONG = ServerError("WRONGPASS invalid username-password pair or user is disabled.")
NOAUTH = ServerError("NOAUTH Authentication required.")


class Service(Guarded):
    """bob and carol are `other` at the server, the others are `app`, as the proxy itself."""

    def __init__(self, stack, **settings):
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        self.users = directory + "/users.acl"
        self.put(USERS)
        super().__init__(stack, {"app": "app-pw", "other": "other-pw"},
                         {"client-auth": "users", "acl-file": self.users, **settings},
                         {"bob": "other", "carol": "other"})

    def put(self, lines):
        with open(self.users, "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))

    def client(self, user, timeout=10):
        conn = self.proxy.connect(timeout)
        assert conn.ok("AUTH", user, PASSWORDS[user]) == "OK"
        return conn


@pytest.fixture(name="service", scope="module", params=["shared", "exclusive"])
def service_fixture(request):
    with contextlib.ExitStack() as stack:
        yield Service(stack, links=request.param)


@pytest.fixture(name="own")
def own_fixture():
    """One that a test may change."""
    with contextlib.ExitStack() as stack:
        yield Service(stack)


@pytest.fixture(name="redis", scope="module")
def redis_fixture():
    """A Redis with the same users."""
    with tempfile.TemporaryDirectory() as directory:
        node = Node(directory)
        try:
            node.start()
            with node.connect() as admin:
                for line in USERS:
                    admin.ok("ACL", "SETUSER", *line.split()[1:],
                             *(() if "+@all" in line else ALL))
                admin.ok("ACL", "SETUSER", "default", "resetpass", ">default-pw")
            yield node
        finally:
            node.close()


def replies(address, requests, packets):
    """The frames that answer these, sent at once or one by one; b"" for a connection closed."""
    found = []
    with Conn(address) as client:
        if packets == "one":
            client.send(encode_all(requests))
        for words in requests:
            if packets == "many":
                client.send(encode(*words))
            found.append(client.read_frame())
    return found


BEFORE = [("GET", "k"), ("SET", "k", "v"), ("PING",), ("MULTI",), ("EXEC",), ("SUBSCRIBE", "c"),
          ("CLIENT", "GETNAME"), ("CLIENT", "SETNAME", "n"), ("CLIENT", "ID"), ("SELECT", 1),
          ("BLPOP", "l", 0), ("WATCH", "k"), ("EVAL", "return 1", 0), ("WAIT", 0, 0), ("MONITOR",),
          ("ACL", "WHOAMI"), ("CLIENT", "REPLY", "OFF"), ("SYNC",), ("DEBUG", "SLEEP", 0),
          ("HELLO",), ("HELLO", 3), ("HELLO", 4), ("HELLO", "x"), ("HELLO", 3, "SETNAME", "n"),
          ("HELLO", 3, "SETNAME", "a b"), ("HELLO", 3, "NONSENSE"), ("HELLO", 3, "AUTH", "alice"),
          ("AUTH", "wrong"), ("AUTH", "alice-pw"), ("AUTH", "default", "wrong"), ("AUTH",),
          ("AUTH", "a", "b", "c"), ("AUTH", "alice", "wrong"), ("AUTH", "alice", "Alice-pw"),
          ("AUTH", "Alice", "alice-pw"), ("AUTH", "nobody", "x"), ("AUTH", "gone", "gone-pw"),
          ("AUTH", "alice", ""), ("AUTH", "", ""), ("AUTH", "alice", "bob-pw"),
          ("HELLO", 3, "AUTH", "default", "wrong"), ("HELLO", 3, "AUTH", "alice", "wrong"),
          ("HELLO", 4, "AUTH", "alice", "alice-pw"), ("PING",), ("RESET",), ("GET", "k")]
COMING_IN = [[("AUTH", "default-pw")], [("AUTH", "default", "default-pw")],
             [("AUTH", "alice", "alice-pw")], [("AUTH", "alice", "second")],
             [("AUTH", "bob", "bob-pw")], [("AUTH", "free", "whatever")], [("AUTH", "free", "")],
             [("HELLO", 2, "AUTH", "alice", "alice-pw", "NONSENSE")],
             [("HELLO", 2, "AUTH", "alice", "alice-pw", "SETNAME", "a b")],
             [("HELLO", 2, "AUTH", "alice", "alice-pw", "AUTH", "bob", "wrong")]]
BEHIND = [("GET", "k"), ("AUTH", "alice", "wrong"), ("GET", "k"), ("HELLO", 3, "AUTH", "bob", "no"),
          ("GET", "none"), ("MULTI",), ("GET", "k"), ("EXEC",), ("AUTH", "carol", "carol-pw"),
          ("GET", "k"), ("RESET",), ("GET", "k"), ("AUTH", "bob", "bob-pw"), ("SELECT", 3),
          ("SET", "three", 3), ("AUTH", "alice", "second"), ("GET", "three"), ("DEL", "three"),
          ("RESET",), ("GET", "three"), ("QUIT",)]


@pytest.mark.parametrize("packets", ["one", "many"])
@pytest.mark.parametrize("come", COMING_IN, ids=lambda come: " ".join(map(str, come[0])))
def test_same_words_as_redis(service, redis, come, packets):
    service.admin.ok("SET", "k", "value")
    with Conn(redis.address) as admin:
        admin.ok("AUTH", "default-pw")
        admin.ok("SET", "k", "value")
    requests = [*BEFORE, *come, *BEHIND]
    for words, want, got in zip(requests, replies(redis.address, requests, packets),
                                replies(service.proxy.address, requests, packets)):
        assert got == want, words


@pytest.mark.parametrize("request_, want", [
    (b"AUTH alice alice-pw\r\n", b"+OK\r\n"), (b"auth \"alice\" 'alice-pw'\r\n", b"+OK\r\n"),
    (b"AUTH \"\\x61lice\" alice-pw\r\n", b"+OK\r\n"),
    (b"*3\r\n$4\r\naUtH\r\n$5\r\nalice\r\n$8\r\nalice-pw\r\n", b"+OK\r\n"),
    (b"*3\r\n$4\r\nAUTH\r\n$6\r\nalice\0\r\n$8\r\nalice-pw\r\n", b"-%b\r\n" % WRONG.text.encode()),
    (b"*3\r\n$4\r\nAUTH\r\n$5\r\nalice\r\n$9\r\nalice-pw\0\r\n", b"-%b\r\n" % WRONG.text.encode()),
], ids=range(6))
def test_forms_of_auth(service, request_, want):
    with service.proxy.connect() as client:
        client.send(request_ + encode("ACL", "WHOAMI"))
        assert client.read_frame() == want
        assert client.read() == (b"app" if want == b"+OK\r\n" else NOAUTH)


def test_large_requests_before_auth(service):
    """Redis's own bounds for those who have not said who they are."""
    for request, words in ((b"*11\r\n", b"unauthenticated multibulk length"),
                           (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", b"unauthenticated bulk length")):
        with service.proxy.connect() as client:
            client.send(request + b"x" * 20_000)
            assert words in client.read_all()
    with service.client("alice") as client:
        assert client.ok("AUTH", "alice", "alice-pw") == "OK"
        assert client.call("AUTH", "alice", "x" * 200_000) == WRONG
        assert client.ok("SET", "large", "x" * 200_000) == "OK"


def test_hello(service):
    with service.proxy.connect() as client:
        reply = client.ok("HELLO", 3, "AUTH", "bob", "bob-pw", "SETNAME", "me")
        assert isinstance(reply, Pairs) and reply.get(b"proto") == 3
        assert client.ok("ACL", "WHOAMI") == b"other"
        assert client.ok("CLIENT", "GETNAME") == b"me"
        reply = client.ok("HELLO", 2, "SETNAME", "you", "AUTH", "alice", "alice-pw")
        assert reply[reply.index(b"proto") + 1] == 2
        assert client.pipeline([("ACL", "WHOAMI"), ("CLIENT", "GETNAME"), ("HELLO",)])[:2] == \
            [b"app", b"you"]
        assert client.call("HELLO", 3, *["AUTH", "bob", "bob-pw"] * 3).code == "ERR"


def test_options_that_redis_reads_up_to_a_nul(service):
    """To Redis the word is AUTH: it never hears of it."""
    other = encode("HELLO", 3, "AUTH\0", "app", "app-pw")
    for request in (other, encode("HELLO", 3, "SETNAME", "me", "auth\0x", "app", "app-pw")):
        with service.client("bob") as client:
            client.send(request + encode("ACL", "WHOAMI") + encode("MULTI") + request +
                        encode("ACL", "WHOAMI") + encode("EXEC") + encode("ACL", "WHOAMI"))
            said = [client.read() for _ in range(7)]
            assert said[0].text.startswith("ERR Syntax error in HELLO option") and said[1] == b"other"
            assert said[3].text == "ERR AUTH inside MULTI is not allowed"
            assert said[5].code == "EXECABORT" and said[6] == b"other"


@pytest.mark.parametrize("words", [(b"AUTH\0" + b"x" * 300_000, "app", "app-pw"),
                                   (b"HELLO\0" + b"x" * 300_000, 3, "AUTH", "app", "app-pw"),
                                   (b"RESET\0" + b"x" * 300_000,)],
                         ids=lambda words: words[0][:5].decode())
def test_names_too_large_to_be_kept_may_be_those_of_others(service, words):
    """Redis reads them up to a NUL, if their hash is in the same place: none of them is sent."""
    with service.client("bob") as client:
        client.send(encode(*words))
        reply = client.read()
        assert reply == "RESET" or reply.code in ("WRONGPASS", "ERR"), reply
        assert not getattr(reply, "text", "").startswith("ERR unknown command")
        want = NOAUTH if reply == "RESET" else b"other"
        assert client.call("ACL", "WHOAMI") == want


@pytest.mark.parametrize("multi", [False, True], ids=["alone", "in MULTI"])
def test_what_can_not_be_followed_ends_the_client(service, multi):
    """A subscription whose answer is too large to be looked at, behind which it would be told to
    the server, and not to us, who the client is from then on."""
    requests = encode("SUBSCRIBE", b"c" * 3_000_000)
    if multi:
        requests = encode("MULTI") + requests + encode("EXEC")
    with service.client("bob", 20) as client:
        client.ok("HELLO", 3)
        with contextlib.suppress(ConnectionError):
            client.send(requests)
            client.read_for(2)
            client.send(encode("AUTH", "app", "app-pw") + encode("ACL", "WHOAMI"))
        assert b"app" not in client.read_for(2)[-100:]
        assert client.closed()


def test_whoami(service):
    for user, upstream in UPSTREAM.items():
        with service.client(user) as client:
            assert client.pipeline([("ACL", "WHOAMI"), ("WATCH", "k"), ("ACL", "WHOAMI"),
                                    ("UNWATCH",)])[::2] == [upstream] * 2


def test_nothing_of_a_stranger_reaches_the_server():
    """It gets no connection for it either."""
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(FakeNode())
        sentinel = stack.enter_context(FakeSentinel(node.address, epoch=1))
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        with open(directory + "/users.acl", "w", encoding="utf-8") as file:
            file.write("\n".join(USERS))
        proxy = stack.enter_context(Proxy([sentinel.address], {
            "client-auth": "users", "acl-file": directory + "/users.acl",
            "read-policy": "any", "proxy.workers": 1}))
        wait_until(lambda: proxy.entries("primary-changed"), 10, "a primary")
        wait_until(lambda: node.requests("COMMAND"), 10, "what the proxy itself asks")
        accepted = node.accepted
        for packets in ("one", "many"):
            replies(proxy.address, BEFORE, packets)
        with proxy.connect() as client:
            client.send(b"GET k\r\nEXEC\r\n\r\n*0\r\n" + encode("RESET") * 3 + b"PING\r\n")
            client.read_frames(6)
            client.half_close()
            assert client.closed()
        with proxy.connect() as client:
            client.send(b"POST / HTTP/1.1\r\n")
            assert client.closed()
        assert {args[0].upper() for args in node.seen} <= {b"ROLE", b"INFO", b"COMMAND", b"CLIENT"}
        assert node.accepted == accepted
        with proxy.connect() as client:
            assert client.pipeline([("AUTH", "alice", "alice-pw"), ("SET", "k", "v")]) == ["OK"] * 2
        assert not node.requests("AUTH") and not any(b"alice" in args for args in node.seen)


class Client:
    """A session of which is known who it must be at the server. Steps are (request, reply)."""

    def __init__(self, service, seed):
        self.conn = service.proxy.connect(30)
        self.random = random.Random(seed)
        self.user, self.resp = None, 2

    def steps(self, count):
        for _ in range(count):
            yield from self.random.choice((self.become, self.greet, self.reset, self.fail,
                                           self.look, self.look))()

    def become(self):
        self.user = self.random.choice(list(UPSTREAM))
        yield encode("AUTH", self.user, PASSWORDS[self.user]), b"+OK\r\n"

    def greet(self):
        self.user, self.resp = self.random.choice(list(UPSTREAM)), self.random.choice((2, 3))
        first = b"%7\r\n" if self.resp == 3 else b"*14\r\n"
        yield (encode("HELLO", self.resp, "AUTH", self.user, PASSWORDS[self.user]),
               lambda frame: frame.startswith(first))

    def reset(self):
        self.user, self.resp = None, 2
        yield encode("RESET"), b"+RESET\r\n"

    def fail(self):
        other = self.random.choice(list(PASSWORDS))
        wrong = ("AUTH", "gone" if other == "free" else other, "wrong")
        yield (encode(*self.random.choice((wrong, ("HELLO", 5 - self.resp, *wrong)))),
               b"-%b\r\n" % WRONG.text.encode())

    def look(self):
        if self.user is None:
            for words in (("ACL", "WHOAMI"), ("GET", "k"), ("MULTI",), ("INCR", "strangers")):
                yield encode(*words), b"-%b\r\n" % NOAUTH.text.encode()
            return
        name = b"$%d\r\n%b\r\n" % (len(UPSTREAM[self.user]), UPSTREAM[self.user])
        yield encode("ACL", "WHOAMI"), name
        if self.random.random() < 0.3:
            yield encode("MULTI"), b"+OK\r\n"
            yield encode("ACL", "WHOAMI"), b"+QUEUED\r\n"
            yield encode("EXEC"), b"*1\r\n" + name
        yield encode("GET", "none"), b"_\r\n" if self.resp == 3 else b"$-1\r\n"


@pytest.mark.tsan
@pytest.mark.parametrize("seed", range(2))
def test_identities_never_mix(service, seed):
    """200 sessions become others in the middle of their packets, at random; each reply shows the
    user that its own session has at the server, or nothing where it has none."""
    chance = random.Random(seed)
    with contextlib.ExitStack() as stack:
        clients = [Client(service, chance.random()) for _ in range(200)]
        for client in clients:
            stack.enter_context(client.conn)
        for _ in range(5):
            said = [list(client.steps(chance.randrange(1, 15))) for client in clients]
            for client, steps in zip(clients, said):
                client.conn.send(b"".join(request for request, _ in steps))
            for client, steps in zip(clients, said):
                for request, want in steps:
                    frame = client.conn.read_frame()
                    assert want(frame) if callable(want) else frame == want, (request, frame, want)
    assert service.admin.ok("EXISTS", "strangers") == 0


def test_who_shares_a_connection():
    """Those who are one user at the server do, and no others."""
    with contextlib.ExitStack() as stack:
        own = Service(stack, links="shared")
        clients = [stack.enter_context(own.client(user)) for user in list(UPSTREAM) * 4]
        for client in clients:
            client.ok("GET", "k")
        assert [user for user, command in own.connections() if command == "get"] == \
            ["app", "other"]


def test_what_is_carried_to_another_user(own):
    """A subscription goes on; what was watched has changed; in a transaction nobody may."""
    with own.client("alice") as client, own.client("bob") as other:
        client.ok("HELLO", 3)
        assert client.ok("SUBSCRIBE", "news")[:2] == [b"subscribe", b"news"]
        assert client.ok("AUTH", "bob", "bob-pw") == "OK"
        assert client.ok("ACL", "WHOAMI") == b"other"
        wait_until(lambda: other.ok("PUBLISH", "news", "x") == 1, 10, "the subscription")
        assert client.read()[:3] == [b"message", b"news", b"x"]
    with own.client("alice") as client:
        assert client.pipeline([("WATCH", "k"), ("AUTH", "alice", "second"), ("MULTI",),
                                ("PING",), ("EXEC",)])[-1] == ["PONG"]
        assert client.pipeline([("WATCH", "k"), ("AUTH", "bob", "bob-pw"), ("MULTI",), ("PING",),
                                ("EXEC",), ("ACL", "WHOAMI")])[-2:] == [None, b"other"]
        for words in (("AUTH", "alice", "alice-pw"), ("HELLO", 3, "AUTH", "alice", "alice-pw")):
            said = client.pipeline([("MULTI",), ("SET", "half", 1), words, ("EXEC",),
                                    ("ACL", "WHOAMI"), ("EXISTS", "half")])
            assert said[2].text == "ERR AUTH inside MULTI is not allowed"
            assert said[3].code == "EXECABORT" and said[4:] == [b"other", 0]
        assert client.pipeline([("MULTI",), ("HELLO", 2), ("ACL", "WHOAMI"), ("EXEC",)])[3][1] == \
            b"other"
    with own.client("alice") as client:
        client.ok("SUBSCRIBE", "news")
        assert client.call("AUTH", "bob", "bob-pw").text.startswith("ERR Can't execute 'auth': on")
    with own.client("alice") as client:
        client.send(encode_all([("CLIENT", "REPLY", "OFF"), ("AUTH", "bob", "bob-pw"),
                                ("AUTH", "alice", "no"), ("CLIENT", "REPLY", "ON"),
                                ("ACL", "WHOAMI")]))
        assert [client.read(), client.read()] == ["OK", b"other"]


@pytest.mark.parametrize("words", [("SYNC",), ("PSYNC", "?", -1), ("REPLCONF", "ACK", 1),
                                   ("SCRIPT", "DEBUG", "YES")], ids=lambda words: words[0])
def test_what_would_hide_who_a_client_is(service, words):
    with service.client("bob") as client:
        assert client.call(*words).text.endswith(
            "is not served here: behind it the proxy could not tell who the client is "
            "(client-auth)")
        assert client.ok("ACL", "WHOAMI") == b"other"
        assert client.ok("MULTI") == "OK"
        assert client.call(*words).code == "ERR"
        assert client.call("EXEC").code == "EXECABORT"


def test_users_that_change(own):
    """Who comes is judged by the new file. Who is in stays in, but for one whose user is gone."""
    with contextlib.ExitStack() as stack:
        alice, bob, carol = [stack.enter_context(own.client(name))
                             for name in ("alice", "bob", "carol")]
        stranger = stack.enter_context(own.proxy.connect())
        assert stranger.call("AUTH", "dave", "dave-pw") == WRONG
        own.put(["user alice on >another", "user carol off >carol-pw", "user dave on >dave-pw"])
        own.wait_event("users-loaded")
        assert bob.closed()
        assert [alice.ok("ACL", "WHOAMI"), carol.ok("ACL", "WHOAMI")] == [b"app", b"other"]
        assert stranger.ok("AUTH", "dave", "dave-pw") == "OK"
        assert stranger.ok("ACL", "WHOAMI") == b"app"
        for client, words in ((alice, ("alice", "alice-pw")), (carol, ("carol", "carol-pw"))):
            assert client.call("AUTH", *words) == WRONG
        assert alice.ok("AUTH", "alice", "another") == "OK"


@pytest.mark.parametrize("by", ["itself", "SIGHUP"])
def test_users_that_can_not_be_used(own, by):
    """limit: ACL_FILE_MAX. All or nothing, with the line that is wrong."""
    wrong = [(["user alice on >new", "user bob on secret"], ":2: a word that is none of"),
             (["user alice on >new -@all"], ":1: commands, keys and channels are not limited here"),
             ([], ": no user in it"), (["#" * (1 << 20)], ": bad file of users: it is larger than")]
    with own.client("alice") as alice, own.client("bob") as bob:
        for count, (lines, words) in enumerate(wrong, 1):
            own.put(lines)
            if by == "SIGHUP":
                own.proxy.process.signal(signal.SIGHUP)
            wait_until(lambda count=count: len(own.proxy.entries("users-not-loaded")) >= count, 15,
                       "the refusal")
            entry = own.proxy.entries("users-not-loaded")[-1]
            assert entry["error"].startswith(own.users + words), entry
            assert "secret" not in own.proxy.log()
            for client, user in ((alice, "alice"), (bob, "bob")):
                assert client.ok("AUTH", user, PASSWORDS[user]) == "OK"
        own.put(["user alice on >new"])
        own.wait_event("users-loaded")
        assert bob.closed()
        assert alice.ok("AUTH", "alice", "new") == "OK"


def test_upstream_password_of_one_user_changes(own):
    with own.client("bob") as bob, own.client("alice") as alice:
        bob.ok("INCR", "n")
        own.write("other", "fresh")
        own.wait_event("password-loaded")
        own.serve("other", "fresh")
        assert bob.pipeline([("SELECT", 3), ("WATCH", "k"), ("ACL", "WHOAMI")])[2] == b"other"
        assert alice.pipeline([("SELECT", 3), ("WATCH", "k"), ("ACL", "WHOAMI")])[2] == b"app"
    assert not own.proxy.entries("link-refused")


def test_a_user_that_the_server_refuses_holds_up_nobody_else(own):
    """Its requests wait for the operator; the connections of others do not wait for them."""
    def refused():
        entries = [dict(zip(e[::2], e[1::2])) for e in own.admin.ok("ACL", "LOG")]
        return sum(e[b"count"] for e in entries if e[b"reason"] == b"auth")

    own.serve("other", "changed")
    with own.client("bob") as bob:
        bob.send(encode("PING"))
        wait_until(lambda: refused() >= 5, 15, "some refusals")
        before = refused()
        for database in range(1, 16):
            with own.client("alice") as alice:
                assert alice.ok("SELECT", database) == "OK"
                assert alice.ok("DBSIZE") == 0
        assert refused() - before <= 8, "each waited for the end of a pause"
        own.serve("other", "other-pw")
        assert bob.read() == "PONG"


@pytest.mark.parametrize("words, then", [(("RESET",), "RESET"), (("AUTH", "alice", "alice-pw"), "OK"),
                                         (("QUIT",), "OK")], ids=lambda value: value[0])
def test_who_waits_for_a_user_that_is_refused_may_be_another(own, words, then):
    """A subscriber asks for nothing: it waits for its connection, and may leave that at any time."""
    with own.client("bob") as bob:
        bob.ok("HELLO", 3)
        assert bob.ok("SUBSCRIBE", "news")[:2] == [b"subscribe", b"news"]
        own.serve("other", "changed")
        own.admin.ok("CLIENT", "KILL", "USER", "other")
        wait_until(lambda: own.proxy.entries("link-refused"), 15, "a refusal")
        assert bob.ok(*words) == then
    with own.client("alice") as alice:
        assert alice.ok("PING") == "PONG"


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to begin with")
def test_files_that_whom_it_becomes_can_not_read():
    """They were read before; what can't be read again is named at once, and when it has changed."""
    with contextlib.ExitStack() as stack:
        own = Service(stack, **{"proxy.user": "nobody"})  # in a folder of root alone
        assert [entry["file"] for entry in own.proxy.entries("password-unreadable")] == \
            [own.path("app"), own.path("other")]
        assert [entry["file"] for entry in own.proxy.entries("users-unreadable")] == [own.users]
        own.proxy.process.signal(signal.SIGHUP)
        own.wait_event("users-not-loaded")
        assert "Permission denied" in own.proxy.entries("users-not-loaded")[0]["error"]
        assert [entry["error"] for entry in own.proxy.entries("password-not-loaded")] == \
            ["it can't be read: Permission denied"] * 2
        with own.client("bob") as client:
            assert client.ok("ACL", "WHOAMI") == b"other"


def test_refusals_are_told(own):
    """With the user where there is one; what is nobody's name may be a password."""
    with own.proxy.connect() as client:
        for name in ("alice", "s3cret-typed-as-a-name"):
            assert client.call("AUTH", name, "s3cret") == WRONG
    own.wait_event("client-auth-failed", 2)
    assert [entry["user"] for entry in own.proxy.entries("client-auth-failed")] == \
        ["alice", "(unknown)"]
    for secret in ("s3cret", "alice-pw", "app-pw", "other-pw"):
        assert secret not in own.proxy.log()


NONE = [("PING",), ("AUTH", "x"), ("AUTH", "default", "x"), ("AUTH", "default", ""),
        ("AUTH", "bob", "x"), ("AUTH", "Default", "x"), ("AUTH",), ("AUTH", "a", "b", "c"),
        ("GET", "k"), ("HELLO", 2, "AUTH", "bob", "x"), ("HELLO", 4, "AUTH", "default", "x"),
        ("HELLO", 2, "AUTH", "default", "x", "NONSENSE"), ("RESET",), ("GET", "k"), ("QUIT",)]


@pytest.mark.parametrize("packets", ["one", "many"])
def test_none(packets, reference):
    """As a Redis whose default user has no password; the server's users are of no account."""
    with contextlib.ExitStack() as stack:
        guarded = Guarded(stack, {"app": "one", "bob": "x"}, {"client-auth": "none"})
        for words, want, got in zip(NONE, replies(reference.address, NONE, packets),
                                    replies(guarded.proxy.address, NONE, packets)):
            assert got == want, words
        with guarded.proxy.connect() as client:
            assert client.ok("ACL", "WHOAMI") == b"app"
            assert client.ok("AUTH", "default", "x") == "OK"
            reply = client.ok("HELLO", 3, "AUTH", "default", "x", "SETNAME", "me")
            assert isinstance(reply, Pairs)
            assert client.pipeline([("ACL", "WHOAMI"), ("CLIENT", "GETNAME")]) == [b"app", b"me"]
            assert client.call("SYNC").code == "ERR"


def test_start_with_users_that_can_not_be_used(tmp_path):
    users = tmp_path / "users.acl"
    key = "service.mymaster."
    arguments = ["--sentinel", "127.0.0.1:1", "--master", "mymaster", "--set",
                 key + "client-auth=users", "--set", f"{key}acl-file={users}", "--check"]
    for text, words in ((None, f"{users}: bad file of users: it can't be read: No such file"),
                        ("user a on >x\nuser a on >y\n", f"{users}:2: the user 'a' stands in"),
                        ("user default on nopass\n", f"{users}:1: 'default' with nopass lets in")):
        if text is not None:
            users.write_text(text)
        code, _, said = run(*arguments)
        assert code == 2 and words in said, said
    users.write_text("user a on >x\n")
    code, out, said = run(*arguments, "--set", f"{key}upstream-user=b app {users}")
    assert code == 0 and "configuration is good" in out
    assert f"--set {key}upstream-user: upstream-user of 'b', who is not in '{users}'" in said
