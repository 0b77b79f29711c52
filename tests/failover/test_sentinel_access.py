"""Sentinels and nodes that let the proxy do only some things, or nothing."""

import os
import re
import time

import pytest

from support.case import check_load, crash_under_load, held_as_announced, judged
from support.cluster import Cluster
from support.load import Load, stored_lists
from support.oracles import ERROR, NOTRUN, check_ledger, check_open, errors_of, tally
from support.proxy import ROOT, Proxy
from support.wait import wait_until

PASSWORD = "a-secret"
LOGIN = {"user": "vedette", "password": PASSWORD}


def documented(kind):
    """The words of the README's ACL user for "Sentinel" or "Redis", with a password set."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        found = re.search(rf"^# in the configuration of each {kind}\nuser vedette on >\S+ (.*)$",
                          file.read(), re.M)
    return found.group(1).split()


def user(words, name="vedette"):
    """A line of configuration."""
    return (f"user {name} on >{PASSWORD} " + " ".join(words),)


def warnings(proxy):
    return [(e.event, e.get("error", "")) for e in proxy.entries()
            if e.level in ("warning", "error")]


@judged
def test_23_least_rights_suffice():
    """What the README asks for: a planned failover is announced, held for and lossless, and nobody
    has anything to complain of."""
    with Cluster(1, sentinel_settings=[user(documented("Sentinel"))],
                 node_settings=[user(documented("Redis"))]) as cluster, \
            Proxy(cluster.sentinel_addresses, LOGIN, sentinel_settings=LOGIN) as proxy:
        proxy.wait_serving()
        with Load(proxy.address, 10, 4, rate=500) as load:
            load.wait_acks(200)
            old = cluster.failover()
            new = cluster.wait_primary(old)
            load.wait_acks(300)
            load.stop()
            check_load(load, new)
        assert held_as_announced(proxy)
        assert {event for event, _ in warnings(proxy)} == {"hold-begin"}


@judged
def test_23_requirepass():
    """One password for all, and the proxy has it: a crash is survived."""
    with Cluster(1, sentinel_settings=[("requirepass", PASSWORD)]) as cluster, \
            Proxy(cluster.sentinel_addresses,
                  sentinel_settings={"password": PASSWORD}) as proxy:
        proxy.wait_serving()
        crash_under_load(cluster, proxy, 10)
        assert len(proxy.entries("sentinel-up")) == 3


# What is taken from the least rights: whether it is served still, the event that says so, and the
# words that tell what is lost.
TAKEN = {
    "+sentinel|myid": (False, "sentinel-unreachable", "tells no id"),
    "+sentinel|get-master-addr-by-name": (False, "sentinel-refuses", "no say"),
    "+sentinel|master": (False, "sentinel-refuses", "no say"),
    "+sentinel|sentinels": (True, "sentinel-refuses", "are not learnt"),
    "+sentinel|replicas": (True, "sentinel-refuses", "promoted by hand"),
    "+subscribe": (True, "subscription-refused", "polling only"),
    "+ping": (True, None, None),
    "&+*": (True, "subscription-refused", "polling only"),
    "&-*": (True, "subscription-limited", "only +switch-master is heard"),
}


@pytest.fixture(name="guarded", scope="module")
def guarded_fixture():
    """One Sentinel that gives its users all rights but one."""
    least = documented("Sentinel")
    users = [user([w for w in least if w != right], f"user{i}") for i, right in enumerate(TAKEN)]
    users.append(user([w for w in least if w[0] != "&"] + ["&+switch-master"], "one-channel"))
    users.append(user([w for w in least if w != "+sentinel|myid"] + ["+info"], "info"))
    with Cluster(replicas=0, sentinels=1, sentinel_settings=users) as cluster:
        yield cluster


def test_23_all_rights_that_are_asked_for_are_tried():
    assert set(documented("Sentinel")) - {"-@all"} == set(TAKEN)


@pytest.mark.parametrize("right", TAKEN)
def test_23_a_right_is_missing(guarded, right):
    """It is told once, with what it costs, and the rest goes on."""
    serves, event, words = TAKEN[right]
    login = {"user": f"user{list(TAKEN).index(right)}", "password": PASSWORD}
    with Proxy(guarded.sentinel_addresses, {"hold-timeout": "500ms"},
               sentinel_settings=login) as proxy:
        if serves:
            proxy.wait_serving()
        else:
            lost = wait_until(lambda: proxy.entries("no-sentinel"), what="the loss")
            assert lost[0]["reason"] in ("none gives a usable answer",
                                         "no Sentinel can be reached")
        polled(proxy, 1.5)
        told = [e for e in proxy.entries() if e.event == event]
        assert len(told) == (1 if event else 0), told
        for entry in told:
            assert "NOPERM" in entry.get("error", entry.get("reason"))
            assert words in entry.get("effect", entry.get("reason"))
        assert not proxy.entries("subscription-lost")
        rest = [w for w in warnings(proxy) if w[0] not in (event, "no-sentinel")]
        assert not rest, rest


def polled(proxy, seconds):
    """Some polls go by, and the log stays readable."""
    before = len(proxy.entries())
    time.sleep(seconds)
    assert len(proxy.entries()) - before <= 4, proxy.log()[-2000:]


@pytest.mark.parametrize("name,event", [("one-channel", "subscription-limited"), ("info", None)])
def test_23_the_next_best_thing(guarded, name, event):
    """+switch-master alone, and INFO instead of SENTINEL MYID."""
    with Proxy(guarded.sentinel_addresses,
               sentinel_settings={"user": name, "password": PASSWORD}) as proxy:
        proxy.wait_serving()
        wait_until(lambda: subscribed_to(guarded.sentinels[0], name), what="a subscription")
        assert [e for e, _ in warnings(proxy)] == ([event] if event else [])


def subscribed_to(sentinel, name):
    """How many channels that user has subscribed to."""
    lines = sentinel.call("CLIENT", "LIST").decode().splitlines()
    fields = [dict(word.split("=", 1) for word in line.split()) for line in lines]
    return sum(int(f["sub"]) for f in fields if f["user"] == name)


@judged
def test_23_nodes_that_do_not_tell_their_role():
    """A majority's word must do, at the start and after a crash, and the log warns of it."""
    words = [w for w in documented("Redis") if w != "+role"] + ["-role"]
    with Cluster(1, node_settings=[user(words)]) as cluster, \
            Proxy(cluster.sentinel_addresses, LOGIN) as proxy:
        proxy.wait_serving()
        crash_under_load(cluster, proxy, 10)
        changes = proxy.entries("primary-changed")
        assert len(changes) == 2
        assert all(e.level == "warning" and "refuses ROLE" in e["reason"] for e in changes)


def test_23_nodes_whose_password_only_clients_know():
    """ROLE is answered NOAUTH; who has the password is served, and who has not is told so."""
    with Cluster(replicas=0, sentinels=1,
                 node_settings=[("requirepass", PASSWORD)],
                 sentinel_settings=[("sentinel auth-pass mymaster", PASSWORD)]) as cluster, \
            Proxy(cluster.sentinel_addresses) as proxy, proxy.connect() as client:
        assert client.call("PING").code == "NOAUTH"
        assert client.ok("AUTH", PASSWORD) == "OK"
        assert client.ok("SET", "k", "v") == "OK"
        changed = proxy.entries("primary-changed")
        assert len(changed) == 1 and changed[0].level == "warning"
        assert "refuses ROLE" in changed[0]["reason"]


POLL = 1.0


@judged
def test_07_planned_failover_seen_by_polling_only():
    """No Sentinel lets us subscribe. What the old primary acknowledges before a poll shows the
    failover is lost, and nothing else; nothing runs twice."""
    words = [w for w in documented("Sentinel") if w != "+subscribe"]
    with Cluster(1, sentinel_settings=[user(words)]) as cluster, \
            Proxy(cluster.sentinel_addresses, sentinel_settings=LOGIN) as proxy:
        proxy.wait_serving()
        with Load(proxy.address, 10, 8, rate=1000) as load:
            # Behind a switch, its first one too, all is polled fast for three seconds.
            load.wait_acks(3500)
            old = cluster.failover()
            new = cluster.wait_primary(old)
            load.wait_acks(1000)
            load.stop()
            promoted_at = min(when for s in cluster.sentinels for when, event, _ in s.events()
                              if event == "+failover-state-wait-promotion")
            check_open(load.opened, load.connections)
            counts = tally(load.records)
            assert counts[ERROR] == counts[NOTRUN] == 0, errors_of(load.records)
            lost = check_ledger(
                load.records, stored_lists(new, 10),
                lambda r: promoted_at - 0.1 <= r.done_at <= promoted_at + POLL + 1)
            last = max((r.done_at - promoted_at for r in lost), default=0)
            print(f"{len(lost)} of {counts} lost, the last {last:.3f} s after the promotion")
        assert len(proxy.entries("subscription-refused")) == 3
