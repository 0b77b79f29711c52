"""A primary with replicas that follow it through relays, which a test can slow down, a Sentinel
that speaks on cue, and the proxy in front of them."""

import contextlib
import tempfile
import time

from .cluster import Node
from .crowd import Crowd
from .fake_sentinel import FakeSentinel
from .procs import Port
from .proxy import Proxy, joined
from .readers import Rising, scripts
from .relay import Relay
from .resp import Conn
from .wait import wait_until

SETTINGS = {"read-policy": "prefer-replica", "replica-slow-start": "0"}


class Replica:
    """line: the relay through which it follows the primary. front: the relay through which the
    proxy reaches it, or None."""

    def __init__(self, stage, front):
        self._primary = stage.primary
        self.line = stage.stack.enter_context(Relay(stage.primary.address))
        self.node = stage.node([("replicaof", self.line.address[0], str(self.line.port))])
        self.front = stage.stack.enter_context(Relay(self.node.address)) if front else None
        self.address = self.front.address if front else self.node.address

    def offset(self):
        """What it has applied; -1 while it has no data."""
        role = self.node.call("ROLE")
        return role[4] if role[0] == b"slave" else -1

    def follows(self):
        role = self.node.call("ROLE")
        return (role[0] == b"slave" and role[2] == self.line.port and role[3] == b"connected"
                and role[4] >= self._primary.call("ROLE")[1])

    def wait_follows(self, timeout=15):
        """Until it has all that the primary has."""
        wait_until(self.follows, timeout, "a replica that follows")

    def front_client(self):
        """A client of its own, on the way that the proxy takes."""
        return Conn(self.front.address)

    def stop_sending(self):
        """The primary's stream stands still; its connection stays."""
        self.line.freeze()

    def go_on(self):
        self.line.freeze(False)


class ReplicaStage:
    """The nodes; `through` starts a proxy in front of them. fronts: it reaches them through relays,
    of which `front` is the primary's."""

    def __init__(self, stack, replicas=2, fronts=False, node_settings=()):
        self.stack, self._node_settings = stack, list(node_settings)
        self.primary = self.node()
        self.front = stack.enter_context(Relay(self.primary.address)) if fronts else None
        self.address = self.front.address if fronts else self.primary.address
        self.replicas = [Replica(self, fronts) for _ in range(replicas)]
        self.replicated()
        self.sentinel = stack.enter_context(FakeSentinel(self.address, epoch=1))
        self.sentinel.replicas = [r.address for r in self.replicas]
        self.proxy = None

    def node(self, settings=()):
        made = Node(self.stack.enter_context(tempfile.TemporaryDirectory()),
                    settings=[*self._node_settings, *settings])
        self.stack.callback(made.close)
        made.start()
        return made

    @property
    def nodes(self):
        """The primary first."""
        return [self.primary, *(r.node for r in self.replicas)]

    @contextlib.contextmanager
    def through(self, settings=None, fit=None, arguments=()):
        """A proxy with these settings of the service besides SETTINGS (None: without it);
        `read_address` is that of its read-listen. Those that serve reads, when it begins, are the
        `fit` ones: all unless said."""
        for replica in self.replicas:
            replica.line.lag(0)
            replica.go_on()
        self.replicated()
        words = [*arguments]
        for replica in self.replicas:  # what they say that they follow
            words += ["--set", "sentinel.address-map="
                      f"{joined(replica.line.address)} {joined(self.address)}"]
        port = Port()
        try:
            read_address = ("127.0.0.1", port.number)
            merged = {**SETTINGS, "read-listen": joined(read_address), **(settings or {})}
            merged = {name: value for name, value in merged.items() if value is not None}
            with Proxy([self.sentinel.address], merged, arguments=words) as self.proxy:
                self.proxy.read_address = read_address
                self.proxy.wait_serving()
                self.wait_fit(self.replicas if fit is None else fit)
                yield self.proxy
        finally:
            port.release()

    def wait_fit(self, replicas, timeout=15):
        """Until reads of new sessions are served by each of these, and by no other replica."""
        ports = {r.node.port for r in replicas}
        wait_until(lambda: self._serving() == ports, timeout, f"reads on {ports} of "
                   f"{[n.port for n in self.nodes]}\n{self.proxy.log()[-3000:]}", 0.05)

    def _serving(self, sessions=8):
        """The ports of the replicas that serve reads of new sessions."""
        landed = Landed(self.nodes)
        for _ in range(sessions):
            with self.proxy.connect() as client:
                client.call("STRLEN", "who-serves")  # an error: nobody
        return {n.port for n, count in zip(self.nodes[1:], landed.of("strlen")[1:]) if count}

    def replicated(self):
        """Until the replicas have what the primary has now."""
        for replica in self.replicas:
            replica.wait_follows()

    def promote(self, replica, epoch=2):
        """As a failover: it is told to be the primary, and the Sentinel says so."""
        replica.node.call("REPLICAOF", "NO", "ONE")
        self.sentinel.switch(replica.address, epoch)


def moved_about(stage, address):
    """Sessions at that address only read a number while it rises, and the connections to the one or
    the other replica break. (What went back, how many reads each node served.)"""
    talkers = [Rising("clock", quiet=0.005) for _ in range(20)]
    landed = Landed(stage.nodes)
    with Crowd(address, scripts(talkers)) as crowd, stage.primary.connect() as direct:
        for number in range(1, 2000):
            direct.ok("SET", "clock", number)
            if number % 300 == 0:
                stage.replicas[number // 300 % 2].front.cut_all()
            time.sleep(0.001)
        crowd.stop()
    served, back = landed.of("get"), [b for t in talkers for b in t.back]
    print(f"{sum(t.reads for t in talkers)} reads on {served}, {len(back)} went back")
    return back, served


class Landed:
    """Which node executed what since this was made. A node that has begun anew counts from 0."""

    def __init__(self, nodes):
        self._nodes = nodes
        self._before = [counts(node) for node in nodes]

    def of(self, command):
        """How often each node executed it."""
        return [found.get(command, 0) for found in self.all()]

    def all(self):
        """{command: how often} of each node; what was not executed is not named."""
        found = []
        for node, before in zip(self._nodes, self._before):
            now = counts(node)
            found.append({name: now[name] - before.get(name, 0) for name in now
                          if now[name] > before.get(name, 0)})
        return found


def counts(node):
    """None executed while it can't be asked."""
    try:
        return node.commands()
    except (OSError, EOFError):
        return {}

