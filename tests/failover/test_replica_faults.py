"""What becomes of replicas while they serve reads, and of reads while the primary is lost."""

import contextlib
import json
import subprocess
import threading
import time

import pytest

from support.case import judged, scenario
from support.crowd import Crowd
from support.proxy import ROOT
from support.readers import Constant, OwnKey, scripts
from support.replicas import SETTINGS, Landed, ReplicaStage
from support.resp import encode
from support.wait import wait_until

VALUE = b"as it is on the primary"
READERS = 30
KEYS = 2000  # as many as make LOADING last while each takes its time
SLOW_LOADING = (("key-load-delay", "500"), ("loading-process-events-interval-bytes", "1024"))


@pytest.fixture(name="stage")
def stage_fixture():
    with contextlib.ExitStack() as stack:
        stage = ReplicaStage(stack)
        with stage.primary.connect() as direct:
            direct.ok("SET", "constant", VALUE)
            direct.pipeline([("SET", f"filler:{i}", i) for i in range(KEYS)])
        stage.replicated()
        yield stage


class Writing:
    """Writes something to the primary all the time, so that who lags is behind."""

    def __init__(self, stage):
        self._stage = stage
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._enough.set()
        self._thread.join(10)

    def _run(self):
        with self._stage.primary.connect() as direct:
            while not self._enough.wait(0.005):
                direct.ok("INCR", "writes")


def kill(replica):
    replica.node.kill()


def start(replica):
    replica.node.start()


def stop(replica):
    replica.node.pause()


def resume(replica):
    replica.node.resume()


def fall_behind(replica):
    replica.stop_sending()


def go_on(replica):
    replica.go_on()


def break_line(replica):
    """It answers reads with MASTERDOWN from then on."""
    replica.node.call("CONFIG", "SET", "replica-serve-stale-data", "no")
    replica.line.refuse()
    replica.line.cut_all()


def mend_line(replica):
    replica.line.refuse(False)


def load_slowly(replica):
    """LOADING, for a second or so."""
    replica.node.call("SAVE")
    replica.node.kill()
    replica.node.start(*(word for name, value in SLOW_LOADING for word in (f"--{name}", value)))
    assert replica.node.info("persistence")["loading"] == "1", "the case needs a slow start"


def promote(replica):
    """By hand, to be a primary of its own."""
    replica.node.call("REPLICAOF", "NO", "ONE")
    time.sleep(0.3)
    replica.node.call("SET", "constant", "of another primary")


def demote(replica):
    """It takes all data anew, slowly."""
    for name, value in SLOW_LOADING:
        replica.node.call("CONFIG", "SET", name, value)
    replica.node.call("REPLICAOF", *replica.line.address)


def kick(replica):
    replica.node.call("CLIENT", "KILL", "TYPE", "normal")


def nothing(replica):
    del replica


FAULTS = {"killed": (kill, start), "stopped": (stop, resume), "lagging": (fall_behind, go_on),
          "masterdown": (break_line, mend_line), "loading": (load_slowly, nothing),
          "promoted": (promote, demote)}


@pytest.mark.parametrize("kind", FAULTS)
def test_60_61_a_replica_in_trouble(stage, kind):
    """Nobody sees it: no error, no closed connection, no long wait and no read that is not true;
    within moments nothing goes to it, and it serves again when it is well."""
    fault, cure = FAULTS[kind]
    bad, good = stage.replicas
    with stage.through({"max-replica-lag": "500ms"}):
        talkers = [Constant("constant", VALUE, resp3=i % 2) for i in range(READERS)]
        talkers += [OwnKey(i) for i in range(5)]
        with Writing(stage), Crowd(stage.proxy.address, scripts(talkers)) as crowd:
            crowd.wait_exchanges(1000)
            crowd.slowest = 0.0
            fault(bad)
            crowd.run_for(1.0 if kind == "lagging" else 0.3)
            left, others = Landed([bad.node]), Landed([good.node])
            crowd.wait_exchanges(2000)
            if kind not in ("killed", "stopped"):  # who can be asked
                assert left.of("get") == [0], "reads went to an unfit replica"
            assert others.of("get")[0] > 1000
            cure(bad)
            back = Landed([bad.node])
            wait_until(lambda: crowd.run_for(0.05) or back.of("get")[0] > READERS, 30,
                       f"its return\n{stage.proxy.log()[-3000:]}")
            crowd.stop()
            print(f"{kind}: the slowest answer took {crowd.slowest:.3f} s")
            assert crowd.slowest < 2
        assert not [s for t in talkers[READERS:] for s in t.stale]


@pytest.fixture(name="fast", scope="module")
def fast_fixture(tmp_path_factory):
    """A folder with the proxy as it is installed and the load of the bench."""
    build = tmp_path_factory.mktemp("release")
    for words in (["-S", ROOT, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
                   "-DVEDETTE_HARDEN=ON"], ["--build", build, "--target", "vedette", "bench_load"]):
        subprocess.run(["cmake", *words], check=True, capture_output=True)
    return build


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_60_under_50000_reads_a_second(stage, fast, monkeypatch, kind):
    """The load checks every reply to the byte, and ends at any that is wrong or does not come."""
    monkeypatch.setenv("VEDETTE", str(fast / "vedette"))
    fault, cure = FAULTS[kind]
    with stage.primary.connect() as direct:
        direct.pipeline([("SET", f"key:{i:08}", f"{i:08}" + "x" * 56) for i in range(1000)])
    stage.replicated()
    with stage.through({"max-replica-lag": "500ms"}), Writing(stage):
        words = ["connections=50", "depth=16", "keys=1000", "size=64", "seconds=8",
                 f"port={stage.proxy.address[1]}"]
        with subprocess.Popen([fast / "tests" / "bench" / "bench_load", *words],
                              stdout=subprocess.PIPE, text=True) as load:
            assert load.stdout.readline() == "begin\n"
            fault(stage.replicas[0])
            time.sleep(3)  # under load
            cure(stage.replicas[0])
            rest = load.stdout.read().splitlines()
    found = json.loads(rest[-1])
    assert "error" not in found, found
    rate = found["answered"] / found["seconds"]
    print(f"{kind}: {rate:.0f} reads a second, p99 {found['p99_us']} us")
    assert rate >= 50_000


def test_60_killed_again_and_again(stage):
    """Connections of one replica or the other, while reads are under way on them."""
    with stage.through():
        talkers = [Constant("constant", VALUE) for _ in range(READERS)]
        landed = Landed(stage.nodes)
        with Crowd(stage.proxy.address, scripts(talkers)) as crowd:
            for number in range(10):
                kick(stage.replicas[number % 2])
                crowd.wait_exchanges(500)
            crowd.stop()
        print(landed.of("get"))


def test_60_reads_of_a_lost_replica_are_sent_again():
    """Just those that it had taken and not answered, and each is answered once, in its place."""
    with contextlib.ExitStack() as stack:
        stage = ReplicaStage(stack, fronts=True)
        with stage.primary.connect() as direct:
            direct.pipeline([("SET", f"k:{i}", i) for i in range(100)])
        stage.replicated()
        with stage.through(), stage.proxy.connect() as client:
            for cut in ("freeze", "cut_all"):
                client.ok("GET", "k:0")
                served = stage.replicas[0]
                before = Landed(stage.nodes)
                client.ok("GET", "k:0")
                if before.of("get")[1] == 0:
                    served = stage.replicas[1]
                served.node.pause()
                client.send(b"".join(encode("GET", f"k:{i}") for i in range(100)))
                assert client.read_for(0.05) == b""
                getattr(served.front, cut)()
                assert [client.read() for _ in range(100)] == [b"%d" % i for i in range(100)]
                served.node.resume()
                served.front.freeze(False)
                stage.wait_fit(stage.replicas, 30)


def test_59_a_replica_that_stands_still(stage):
    """Once it is further behind than it may be, nothing goes to it; while it is less, it serves."""
    bad, good = stage.replicas
    with stage.through({"max-replica-lag": "1500ms"}), Writing(stage):
        talkers = [Constant("constant", VALUE, quiet=0.001) for _ in range(READERS)]
        with Crowd(stage.proxy.address, scripts(talkers)) as crowd:
            bad.stop_sending()
            began = time.monotonic()
            landed = Landed([bad.node])
            crowd.run_for(0.7)
            assert landed.of("get")[0] > 50, "it is not far behind yet"
            wait_until(lambda: quiet_for(bad.node, 0.2), 10, "no more reads on it", 0.01)
            took = time.monotonic() - began
            bad.go_on()
            again = Landed([bad.node])
            wait_until(lambda: again.of("get")[0] > 50, 20, "its return")
            crowd.stop()
        print(f"the last read on it came within {took - 0.2:.3f} s")
        assert 1.2 < took < 3


def quiet_for(node, seconds):
    """Whether it serves no read for so long."""
    landed = Landed([node])
    time.sleep(seconds)
    return landed.of("get") == [0]


def test_a_slow_start():
    """A replica that comes back gets little at first, and its share in the end."""
    with contextlib.ExitStack() as stack:
        stage = ReplicaStage(stack)
        stage.primary.call("SET", "constant", VALUE)
        stage.replicated()
        with stage.through({"replica-slow-start": "3s"}):
            talkers = [Constant("constant", VALUE) for _ in range(READERS)]
            with Crowd(stage.proxy.address, scripts(talkers)) as crowd:
                back = stage.replicas[0]
                back.node.kill()
                crowd.wait_exchanges(100)
                back.node.start()
                landed = Landed([back.node])
                wait_until(lambda: landed.of("get")[0] > 0, 30, "its return", 0.005)
                first = share(stage, crowd, 0.5)
                crowd.run_for(3)
                last = share(stage, crowd, 0.5)
                crowd.stop()
    print(f"share at first {first:.2f}, in the end {last:.2f}")
    assert first < 0.25
    assert last > 0.35  # half, were both as fast


def share(stage, crowd, seconds):
    """Of all reads for so long, those on the first replica."""
    landed = Landed(stage.nodes)
    crowd.run_for(seconds)
    served = landed.of("get")
    return served[1] / sum(served)


def test_a_replica_that_must_not_serve(stage):
    """replica-priority 0 means a node for other things, unless it is said that it may."""
    stage.replicas[0].node.call("CONFIG", "SET", "replica-priority", 0)
    with stage.through(fit=stage.replicas[1:]):
        pass
    with stage.through({"replica-priority-zero": "yes"}):
        pass


def test_63_the_replica_that_serves_is_promoted(stage):
    """Reads go on, it receives the writes, and the old primary serves no read before it follows."""
    new = stage.replicas[0]
    with stage.through():
        talkers = [Constant("constant", VALUE, quiet=0.001) for _ in range(READERS)]
        with Crowd(stage.proxy.address, scripts(talkers)) as crowd, \
                stage.proxy.connect() as client:
            client.ok("SET", "before", 1)
            stage.replicated()
            stage.promote(new)
            wait_until(lambda: [e for e in stage.proxy.entries("primary-changed")
                                if e["new"].endswith(f":{new.node.port}")], 10, "the switch")
            client.ok("SET", "behind", 1)
            assert new.node.call("GET", "behind") == b"1"
            assert client.ok("GET", "behind") == b"1"
            crowd.run_for(0.3)
            landed = Landed(stage.nodes)
            crowd.run_for(0.7)
            served = landed.of("get")
            assert served[0] == 0, "the old primary serves reads"
            assert served[1] > 0
            assert served[2] == 0, "it follows the old primary"
            stage.primary.call("REPLICAOF", *new.node.address)
            stage.sentinel.replicas = [stage.primary.address, stage.replicas[1].address]
            stage.sentinel.publish("+slave", "slave {0}:{1} {0} {1} @ mymaster {2} {3}".format(
                *stage.primary.address, *new.node.address))
            again = Landed([stage.primary])
            wait_until(lambda: again.of("get")[0] > 50, 20, "reads on what is a replica now")
            crowd.stop()
            assert crowd.slowest < 2


def wait_serving_replicas(cluster, proxy):
    """Until both replicas serve reads."""
    def both():
        landed = Landed(cluster.replicas())
        for _ in range(8):
            proxy.call("STRLEN", "who-serves")
        return all(landed.of("strlen"))
    wait_until(both, 15, "reads on both replicas", 0.05)


@judged
def test_own_writes_across_a_planned_failover():
    """No error, no old value, and nothing in doubt but what was running."""
    with scenario(settings=SETTINGS) as (cluster, proxy):
        wait_serving_replicas(cluster, proxy)
        talkers = [OwnKey(i, quiet=0.1, doubts=True) for i in range(30)]
        with Crowd(proxy.address, scripts(talkers)) as crowd:
            crowd.wait_exchanges(1000)
            old = cluster.failover()
            cluster.wait_primary(old)
            crowd.wait_exchanges(1000)
            cluster.wait_settled()
            wait_serving_replicas(cluster, proxy)
            crowd.wait_exchanges(1000)
            crowd.stop()
        judge_own(talkers)


@judged
def test_own_writes_across_a_crash():
    """What has reached the replicas by then; for what has not, Redis itself gives no promise."""
    with scenario(settings=SETTINGS) as (cluster, proxy):
        wait_serving_replicas(cluster, proxy)
        talkers = [OwnKey(i, quiet=0.1, ways=("plain", "script", "transaction"))
                   for i in range(30)]
        with Crowd(proxy.address, scripts(talkers)) as crowd:
            crowd.wait_exchanges(500)
            for talker in talkers:
                talker.writing = False
            crowd.run_for(0.3)  # what they had begun
            cluster.wait_settled()
            old = cluster.primary
            old.kill()
            cluster.wait_primary(old)
            crowd.wait_exchanges(500)
            for talker in talkers:
                talker.writing = True
            crowd.wait_exchanges(1000)
            crowd.stop()
        judge_own(talkers)


def judge_own(talkers):
    stale = [s for t in talkers for s in t.stale]
    doubts = sum(len(t.doubts) for t in talkers)
    print(f"{sum(t.pairs for t in talkers)} writes, {doubts} in doubt")
    assert not stale, stale[:10]
    assert doubts <= len(talkers)


def reads_in_a_crash(settings):
    """Of sessions which only read: how often they did while a write waited for a primary, and the
    longest time that it took."""
    with scenario(settings={**SETTINGS, **settings}) as (cluster, proxy):
        cluster.primary.call("SET", "constant", VALUE)
        cluster.wait_settled()
        wait_serving_replicas(cluster, proxy)
        talkers = [Constant("constant", VALUE, quiet=0.002) for _ in range(READERS)]
        with Crowd(proxy.address, scripts(talkers)) as crowd, proxy.connect(30) as writer:
            crowd.wait_exchanges(500)
            crowd.slowest = 0.0
            old = cluster.primary
            old.kill()
            writer.send(encode("SET", "waits", 1))
            reads = crowd.exchanges
            cluster.wait_primary(old)
            assert writer.read() == "OK"
            reads = crowd.exchanges - reads
            crowd.wait_exchanges(500)
            crowd.stop()
            print(f"{settings}: {reads} reads, the longest took {crowd.slowest:.3f} s")
            return reads, crowd.slowest


@judged
def test_reads_go_on_in_a_crash():
    """But who read from the replica that is promoted waits for the switch: no other can be shown to
    have all that it had."""
    reads, _ = reads_in_a_crash({})
    assert reads > 50 * READERS


@judged
def test_reads_wait_in_a_crash_where_they_must_not_go_on():
    _, longest = reads_in_a_crash({"reads-during-failover": "no"})
    assert longest > 1


@pytest.mark.full
@judged
def test_reads_go_on_in_a_crash_only_as_long_as_they_may():
    _, longest = reads_in_a_crash({"max-replica-lag": "300ms"})
    assert longest > 0.7


@pytest.mark.parametrize("go_on_reading", [True, False])
def test_reads_in_a_hold(stage, go_on_reading):
    """Who has nothing waiting reads on, also who comes only then; a read behind a write that waits
    waits with it."""
    with stage.through({"reads-during-failover": "yes" if go_on_reading else "no",
                        "hold-timeout": "20s"}) as proxy, \
            proxy.connect() as reader, proxy.connect() as both:
        assert reader.ok("GET", "constant") == VALUE
        wait_until(lambda: stage.sentinel.subscribers() > 0, 5, "a subscription")
        stage.sentinel.flags = "master,failover_in_progress"
        stage.sentinel.publish("+try-failover", "master mymaster {} {}".format(*stage.address))
        wait_until(lambda: proxy.entries("hold-begin"), 5, "the hold", 0.002)
        reader.send(encode("GET", "constant"))
        both.send(encode("SET", "mine", 1) + encode("GET", "mine"))
        if go_on_reading:
            assert reader.read() == VALUE
            time.sleep(1.1)  # whether clients have to AUTH is not known for longer
            with proxy.connect() as late:
                assert late.ok("GET", "constant") == VALUE
        else:
            assert reader.read_for(0.4) == b""
        assert both.read_for(0.3) == b""
        stage.sentinel.flags = "master"
        stage.sentinel.publish("-failover-abort-not-elected",
                               "master mymaster {} {}".format(*stage.address))
        assert both.read() == "OK"
        assert both.read() == b"1"
        if not go_on_reading:
            assert reader.read() == VALUE


def test_who_comes_in_a_hold_is_judged_by_the_replica(stage):
    """A replica that wants a password by then serves nobody who has given none."""
    with stage.through({"hold-timeout": "20s"}) as proxy, contextlib.ExitStack() as stack:
        direct = [stack.enter_context(r.node.connect()) for r in stage.replicas]
        wait_until(lambda: stage.sentinel.subscribers() > 0, 5, "a subscription")
        stage.sentinel.flags = "master,failover_in_progress"
        stage.sentinel.publish("+try-failover", "master mymaster {} {}".format(*stage.address))
        wait_until(lambda: proxy.entries("hold-begin"), 5, "the hold", 0.002)
        for one in direct:
            stack.callback(one.call, "CONFIG", "SET", "requirepass", "")
            one.ok("CONFIG", "SET", "requirepass", "secret")
        time.sleep(1.1)  # whether clients have to AUTH is not known for longer
        with proxy.connect() as late:
            late.send(encode("GET", "constant"))
            assert late.read_for(0.5) == b""
            stage.sentinel.flags = "master"
            stage.sentinel.publish("-failover-abort-not-elected",
                                   "master mymaster {} {}".format(*stage.address))
            assert late.read() == VALUE  # from the primary, which wants none
