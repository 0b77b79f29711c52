"""A primary with replicas that follow it through relays, which a test can slow down, a Sentinel
that speaks on cue, and the proxy in front of them."""

import tempfile

from .cluster import Node
from .fake_sentinel import FakeSentinel
from .proxy import Proxy, joined
from .relay import Relay
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

    def stop_sending(self):
        """The primary's stream stands still; its connection stays."""
        self.line.freeze()

    def go_on(self):
        self.line.freeze(False)


class ReplicaStage:
    """fronts: the proxy reaches the nodes through relays; `front` is the primary's. Settings are those of
    the service, SETTINGS without any."""

    def __init__(self, stack, settings=None, replicas=2, fronts=False, node_settings=(),
                 arguments=()):
        self.stack, self._node_settings = stack, list(node_settings)
        self.primary = self.node()
        self.front = stack.enter_context(Relay(self.primary.address)) if fronts else None
        self.replicas = [Replica(self, fronts) for _ in range(replicas)]
        for replica in self.replicas:
            replica.wait_follows()
        at = self.front.address if fronts else self.primary.address
        self.sentinel = stack.enter_context(FakeSentinel(at, epoch=1))
        self.sentinel.replicas = [r.address for r in self.replicas]
        words = [*arguments]
        for replica in self.replicas:  # what they say that they follow
            words += ["--set", "sentinel.address-map="
                      f"{joined(replica.line.address)} {joined(at)}"]
        self.proxy = stack.enter_context(Proxy([self.sentinel.address],
                                               {**SETTINGS, **(settings or {})}, arguments=words))
        self.proxy.wait_serving()

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

    def wait_reads_on(self, nodes, timeout=15):
        """Until reads of fresh sessions are served by each of these, and by no other."""
        wait_until(lambda: self.serving() == {n.port for n in nodes}, timeout,
                   f"reads on {[n.port for n in nodes]} of {[n.port for n in self.nodes]}", 0.05)

    def serving(self, sessions=12):
        """The ports of the nodes that serve reads of fresh sessions."""
        landed = Landed(self.nodes)
        clients = [self.proxy.connect() for _ in range(sessions)]
        for _ in range(2):
            for client in clients:
                client.ok("GET", "who-serves")
        for client in clients:
            client.close()
        return {n.port for n, count in zip(self.nodes, landed.of("get")) if count}

    def replicated(self):
        """Until the replicas have what the primary has now."""
        for replica in self.replicas:
            replica.wait_follows()

    def promote(self, replica, epoch=2):
        """As a failover: it is told to be the primary, and the Sentinel says so."""
        replica.node.call("REPLICAOF", "NO", "ONE")
        self.sentinel.switch(replica.address, epoch)


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

