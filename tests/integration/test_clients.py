"""Packaged clients: redis-cli, redis-benchmark, redis-py, iredis."""

import asyncio
import os
import pty
import re
import select
import shutil
import subprocess
import threading
import time

import pytest
import redis
import redis.asyncio

from support.resp import encode


def run(service, *argv, data=None, timeout=60, code=0):
    """A command-line client against the proxy: its output."""
    name, *rest = argv
    host, port = service.proxy.address
    done = subprocess.run([name, "-h", host, "-p", str(port), *rest], input=data,
                          stdin=subprocess.DEVNULL if data is None else None,
                          capture_output=True, timeout=timeout, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout.decode()


@pytest.fixture(autouse=True)
def empty(service):
    service.node.call("FLUSHALL")


def test_redis_cli_one_shot(service):
    assert run(service, "redis-cli", "SET", "k", "v") == "OK\n"
    assert run(service, "redis-cli", "GET", "k") == "v\n"
    assert run(service, "redis-cli", "-n", "3", "GET", "k") == "\n"
    assert "wrong number of arguments" in run(service, "redis-cli", "GET")
    assert run(service, "redis-cli", "-3", "HSET", "h", "f", "v") == "1\n"
    assert run(service, "redis-cli", "-3", "HGETALL", "h") == "f v\n"
    assert "redis_version" in run(service, "redis-cli", "INFO")
    assert run(service, "redis-cli", "-x", "SET", "x", data=b"from stdin") == "OK\n"
    assert run(service, "redis-cli", "GET", "x") == "from stdin\n"


def test_redis_cli_many_lines(service):
    said = run(service, "redis-cli", data=b'SET k "a b"\nGET k\nSELECT 2\nGET k\nMULTI\nINCR n\n'
                                          b"EXEC\nNOSUCH\nRESET\nGET k\n")
    assert said.split("\n")[:7] == ["OK", "a b", "OK", "", "OK", "QUEUED", "1"]
    assert said.rstrip().endswith("a b")
    assert "unknown command" in said


def test_redis_cli_interactive(service):
    """On a terminal: redis-cli asks the server for its commands first."""
    host, port = service.proxy.address
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="dumb", HOME="/nonexistent")
        os.execvp("redis-cli", ["redis-cli", "-h", host, "-p", str(port)])
    said = b""
    for line, answer in ((b"SET k v", b"OK"), (b"GET k", b'"v"'), (b"SELECT 3", b"[3]>"),
                         (b"GET k", b"(nil)"), (b"MULTI", b"(TX)>"), (b"DISCARD", b"OK"),
                         (b"QUIT", b"")):
        os.write(terminal, line + b"\n")
        said = read_until(terminal, answer)
    assert os.waitpid(pid, 0)[1] == 0, said
    os.close(terminal)


def read_until(terminal, wanted, timeout=10):
    """What a terminal shows until the wanted text is there."""
    said, deadline = b"", time.monotonic() + timeout
    while wanted not in said:
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"no {wanted!r} in {said!r}"
        said += os.read(terminal, 4096)
    return said


def test_redis_cli_pipe(service):
    data = b"".join(encode("SET", f"key:{i}", i) for i in range(100_000))
    said = run(service, "redis-cli", "--pipe", data=data)
    assert "errors: 0, replies: 100000" in said
    assert service.node.call("DBSIZE") == 100_000
    said = run(service, "redis-cli", "--pipe", data=b"SET k v\r\nNOSUCH\r\nLPUSH k x\r\n", code=1)
    assert "errors: 2, replies: 3" in said


def test_redis_cli_scan_and_stat(service):
    service.node.call("DEBUG", "POPULATE", "2000")
    assert len(run(service, "redis-cli", "--scan").split()) == 2000
    assert "Biggest string" in run(service, "redis-cli", "--bigkeys")


@pytest.mark.parametrize("depth", [1, 16])
@pytest.mark.tsan
def test_redis_benchmark(service, depth):
    said = run(service, "redis-benchmark", "-t", "set,get,incr,lpush,mset", "-P", str(depth), "-n",
               "20000", "-c", "50", "-q")
    rates = re.findall(r"([A-Z]+)[^:\n\r]*: ([\d.]+) requests per second", said)
    assert [name for name, _ in rates] == ["SET", "GET", "INCR", "LPUSH", "MSET"]
    assert service.node.call("GET", "counter:__rand_int__") == b"20000"
    assert service.node.call("LLEN", "mylist") == 20000


def test_redis_py(service):
    host, port = service.proxy.address
    pool = redis.BlockingConnectionPool(max_connections=20, host=host, port=port, timeout=20)
    failures = []

    def work(number):
        try:
            client = redis.Redis(connection_pool=pool)
            for i in range(30):
                client.set(f"k{number}", i)
                assert client.get(f"k{number}") == b"%d" % i
                with client.pipeline() as pipe:
                    pipe.incr("sum").hset("h", str(number), i).hget("h", str(number))
                    assert pipe.execute()[2] == b"%d" % i
        except Exception as error:  # handed to the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert int(service.node.call("GET", "sum")) == 1200
    pool.disconnect()


def test_redis_py_features(service):
    host, port = service.proxy.address
    with redis.Redis(host=host, port=port, db=4, client_name="tester",
                     decode_responses=True) as client:
        assert client.client_getname() == "tester"
        client.set("n", 1)
        client.transaction(lambda pipe: (pipe.get("n"), pipe.multi(), pipe.incr("n")), "n")
        assert client.get("n") == "2"
        script = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
        assert script(keys=["n"], args=[5]) == 7
        client.rpush("l", "a", "b")
        assert client.blpop("l", 1) == ("l", "a")
        assert client.blpop("none", 1) is None
        with client.lock("lock", timeout=5):
            assert not client.lock("lock", blocking=False).acquire()
        subscriber = client.pubsub()
        subscriber.subscribe("news")
        assert subscriber.get_message(timeout=5)["type"] == "subscribe"
        assert client.publish("news", "hello") == 1
        assert subscriber.get_message(timeout=5)["data"] == "hello"
        subscriber.close()
        assert sorted(client.scan_iter(count=1)) == ["l", "n"]
        client.xadd("x", {"f": "v"})
        assert len(client.xread({"x": 0}, block=10)[0][1]) == 1
        assert client.info()["role"] == "master"
    with service.node.connect() as direct:
        direct.ok("SELECT", 4)
        assert direct.call("GET", "n") == b"7"


def test_redis_py_optimistic_locking(service):
    """Eight threads raise one key by compare-and-set: the sum is exact."""
    host, port = service.proxy.address
    failures = []

    def work():
        try:
            with redis.Redis(host=host, port=port) as client:
                for _ in range(15):
                    client.transaction(
                        lambda pipe: pipe.set("n", int(pipe.get("n") or 0) + 1, **queue(pipe)), "n")
        except Exception as error:  # handed to the main thread
            failures.append(error)

    def queue(pipe):
        pipe.multi()
        return {}

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert service.node.call("GET", "n") == b"120"


def test_redis_py_asyncio(service):
    host, port = service.proxy.address

    async def work(client, number):
        for i in range(30):
            await client.set(f"k{number}", i)
            assert await client.get(f"k{number}") == b"%d" % i
            async with client.pipeline(transaction=True) as pipe:
                assert (await pipe.incr("sum").get(f"k{number}").execute())[1] == b"%d" % i

    async def main():
        pool = redis.asyncio.BlockingConnectionPool(max_connections=20, host=host, port=port,
                                                    timeout=20)
        client = redis.asyncio.Redis(connection_pool=pool)
        await asyncio.gather(*(work(client, n) for n in range(40)))
        subscriber = client.pubsub()
        await subscriber.subscribe("news")
        assert (await subscriber.get_message(timeout=5))["type"] == "subscribe"
        await client.publish("news", "hello")
        assert (await subscriber.get_message(timeout=5))["data"] == b"hello"
        await subscriber.close()
        await client.close()
        await pool.disconnect()

    asyncio.run(main())
    assert int(service.node.call("GET", "sum")) == 1200


def test_iredis(service):
    if not shutil.which("iredis"):
        pytest.skip("iredis is not installed")
    said = run(service, "iredis", data=b"set k v\nget k\nmulti\nincr n\nexec\n")
    assert said.split() == ["OK", "v", "OK", "QUEUED", "1"]
