"""A failover case: a fresh cluster with the proxy in front, run again when Sentinel spoils it."""

import contextlib
import functools
import tempfile
import time

import pytest

from .cluster import Cluster, Node, Spoiled
from .fake_sentinel import FakeSentinel
from .load import Load, stored_lists
from .oracles import ACKED, ERROR, NOTRUN, check_ledger, check_open, errors_of, tally
from .proxy import Proxy
from .relay import Relay

ATTEMPTS = 3


def judged(test):
    """Runs a test again, at most three times in all, while Sentinel makes failovers of its own."""
    @functools.wraps(test)
    def run(*args, **kwargs):
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return test(*args, **kwargs)
            except Spoiled as spoiled:
                print(f"attempt {attempt} not judged: {spoiled}")
        return pytest.fail(f"Sentinel spoiled the case {ATTEMPTS} times")
    return run


@contextlib.contextmanager
def scenario(intended=1, settings=None, tls=None, **cluster_options):
    """(cluster, proxy), serving. tls: the tls.Certs of all three sides."""
    with Cluster(intended, tls=tls, **cluster_options) as cluster:
        with Proxy(cluster.sentinel_addresses, settings, tls=tls) as proxy:
            proxy.wait_serving()
            yield cluster, proxy


def failed_over(cluster, planned):
    """A failover, waited for. Returns the new primary."""
    old = cluster.primary
    if planned:
        cluster.failover()
    else:
        old.kill()
    return cluster.wait_primary(old)


def move(cluster, kill, hung=0):
    """Moves the primary while work goes on; when it was killed, or None. hung: how many seconds it
    takes in requests before, and answers none of them."""
    old = cluster.primary
    crash = None
    if kill:
        crash = time.time()
        old.pause()
        time.sleep(hung)
        old.kill()
    else:
        cluster.failover()
    cluster.wait_primary(old)
    if kill:
        cluster.restart_as_replica(old)
    cluster.wait_settled(60)
    return crash


def around(moment, before=0.1, behind=0.1):
    """Whether a record was acknowledged so close to a crash that Redis itself, which answers before
    its replicas have the write, may have lost it."""
    return lambda record: moment - before <= record.done_at <= moment + behind


def held_as_announced(proxy):
    """Whether the first hold began with the failover, told by an event or by a poll in that moment,
    and not with trouble of the primary."""
    return proxy.entries("hold-begin")[0]["reason"] in (
        "the leader of a failover announced it", "a Sentinel shows a failover in progress")


def check_load(load, node, may_lose=None):
    """LEDGER and OPEN, and no error but -INDOUBT. Returns the tally."""
    check_open(load.opened, load.connections)
    counts = tally(load.records)
    assert counts[ERROR] == 0, errors_of(load.records)
    assert counts[NOTRUN] == 0, "a request failed although it could wait"
    assert counts[ACKED] > 0
    lost = check_ledger(load.records, stored_lists(node, len(load.records)), may_lose)
    counts["lost"] = len(lost)
    return counts


def crash_under_load(cluster, proxy, clients):
    """A crash as these many clients write. Returns the old primary and the new one."""
    with Load(proxy.address, clients, 4, rate=500) as load:
        load.wait_acks(200)
        old, killed_at = cluster.primary, time.time()
        old.kill()
        new = cluster.wait_primary(old)
        load.wait_acks(300)
        load.stop()
        check_load(load, new, around(killed_at))
    return old, new


@contextlib.contextmanager
def one_node(settings=None, node_settings=()):
    """(node, proxy): one Redis, whose address a fake Sentinel announces, and one worker."""
    with contextlib.ExitStack() as stack:
        node = Node(stack.enter_context(tempfile.TemporaryDirectory()), settings=node_settings)
        stack.callback(node.close)
        node.start()
        sentinel = stack.enter_context(FakeSentinel(node.address, epoch=1))
        proxy = stack.enter_context(Proxy([sentinel.address],
                                          {"proxy.workers": 1, **(settings or {})}))
        yield node, proxy


@contextlib.contextmanager
def relayed(settings=None):
    """(node, relay, proxy): one Redis that the proxy reaches through a relay only, whose address a
    fake Sentinel announces."""
    with contextlib.ExitStack() as stack:
        node = Node(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.callback(node.close)
        node.start()
        relay = stack.enter_context(Relay(node.address))
        sentinel = stack.enter_context(FakeSentinel(relay.address, epoch=1))
        proxy = stack.enter_context(Proxy([sentinel.address], settings))
        proxy.wait_serving()
        yield node, relay, proxy


@contextlib.contextmanager
def two_primaries(settings=None):
    """(nodes, sentinel, proxy): two primaries, of which a fake Sentinel names the first."""
    with contextlib.ExitStack() as stack:
        nodes = []
        for _ in range(2):
            nodes.append(Node(stack.enter_context(tempfile.TemporaryDirectory())))
            stack.callback(nodes[-1].close)
            nodes[-1].start()
        sentinel = stack.enter_context(FakeSentinel(nodes[0].address, epoch=1))
        proxy = stack.enter_context(Proxy([sentinel.address], settings))
        proxy.wait_serving()
        yield nodes, sentinel, proxy


@pytest.fixture(name="case", scope="module")
def case_fixture():
    """As relayed, of one worker. For a module that imports both."""
    with relayed({"proxy.workers": 1, "hold-timeout": "20s"}) as case:
        yield case


@pytest.fixture(name="client")
def client_fixture(case):
    """Of an empty server, and it has been answered."""
    case[0].call("FLUSHALL")
    with case[2].connect(20) as client:
        client.ok("PING")
        yield client
