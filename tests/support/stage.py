"""A Sentinel that speaks on cue, the proxy, and two real nodes."""

import tempfile
import time

from .cluster import Node
from .fake_sentinel import FakeSentinel
from .proxy import Proxy
from .relay import Relay
from .wait import wait_until


class Stage:
    """old: the primary, behind a relay; new: a master that nobody names yet."""

    def __init__(self, stack, **settings):
        def node():
            made = Node(stack.enter_context(tempfile.TemporaryDirectory()))
            stack.callback(made.close)
            made.start()
            return made
        self.old, self.new = node(), node()
        self.relay = stack.enter_context(Relay(self.old.address))
        self.sentinel = stack.enter_context(FakeSentinel(self.relay.address, epoch=1))
        self.proxy = stack.enter_context(Proxy([self.sentinel.address],
                                               {"hold-timeout": "20s", **settings}))
        self.proxy.wait_serving()
        wait_until(lambda: self.sentinel.subscribers() > 0, 5, "a subscription")
        self.address = f"master mymaster {self.relay.address[0]} {self.relay.port}"

    def announce(self, event="+try-failover"):
        """The leader begins a failover; returns when the proxy holds, its workers too, which hear
        it a moment after the log."""
        self.sentinel.flags = "master,failover_in_progress"
        self.sentinel.publish(event, self.address)
        wait_until(lambda: self.proxy.entries("hold-begin"), 5, "the hold", 0.002)
        time.sleep(0.05)

    def abort(self):
        self.sentinel.flags = "master"
        self.sentinel.publish("-failover-abort-not-elected", self.address)

    def switch(self):
        self.sentinel.flags = "master"
        self.sentinel.switch(self.new.address, 2)
