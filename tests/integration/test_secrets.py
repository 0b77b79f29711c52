"""Where passwords and keys are to be found while the proxy runs: nowhere but where they are needed."""

import os
import re

import pytest

from support import tls
from support.cluster import Node
from support.fake_sentinel import FakeSentinel
from support.procs import Port
from support.proxy import Proxy, is_sanitized, joined, run
from support.resp import encode
from support.wait import wait_until

SECRET = "correct-h0rse-battery"
KEY = "service.mymaster.password"


@pytest.fixture(name="nowhere", scope="module")
def nowhere_fixture():
    """A Sentinel's address at which there is none: no password is ever sent."""
    port = Port()
    yield ("127.0.0.1", port.number)
    port.release()


def from_file(tmp_path, nowhere):
    path = tmp_path / "vedette.ini"
    path.write_text(f"[sentinel]\naddress = {joined(nowhere)}\n[service mymaster]\n"
                    f"password = {SECRET}\n")
    return ["--config", str(path)], {}


def from_secret_file(tmp_path, nowhere):
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return ["--sentinel", joined(nowhere), "--set", f"{KEY}-file={path}"], {}


def from_flag(_, nowhere):
    return ["--sentinel", joined(nowhere), "--set", f"{KEY}={SECRET}"], {}


def from_environment(_, nowhere):
    return ["--sentinel", joined(nowhere)], {"VEDETTE_PASSWORD": SECRET}


SOURCES = {"file": from_file, "secret file": from_secret_file, "flag": from_flag,
           "environment": from_environment}


@pytest.fixture(name="given", params=SOURCES)
def given_fixture(request, tmp_path, nowhere):
    """(arguments, environment) that give the proxy its password."""
    return SOURCES[request.param](tmp_path, nowhere)


def started(given):
    arguments, env = given
    if arguments[0] == "--config":
        with open(arguments[1], encoding="ascii") as file:
            text = file.read().replace("[service mymaster]\n",
                                       "[service mymaster]\nlisten = @LISTEN@\n")
        return Proxy(config=text, settings={"proxy.log-level": "debug"})
    return Proxy(arguments=arguments, env=env, settings={"proxy.log-level": "debug"})


def read(proxy, name):
    with open(f"/proc/{proxy.process.pid}/{name}", "rb") as file:
        return file.read()


def memory(proxy):
    """What the process could write to, without the shadow of a sanitizer."""
    with open(f"/proc/{proxy.process.pid}/mem", "rb", buffering=0) as mem:
        for line in read(proxy, "maps").decode().splitlines():
            place = re.match(r"(\w+)-(\w+) rw", line)
            begin, end = (int(number, 16) for number in place.groups()) if place else (0, 0)
            if 0 < end - begin < 1 << 28:
                mem.seek(begin)
                yield mem.read(end - begin)


def copies(proxy, what):
    return sum(part.count(what) for part in memory(proxy))


def test_is_shown_by_nothing(given):
    """Not by what it prints, not by mistakes beside it, not by the command line as `ps` shows it."""
    arguments, env = given
    for more, expected in ((["--check"], 0), (["--print-config"], 0),
                           (["--check", "--set", "proxy.workers=many"], 2),
                           (["--check", "--set", f"{KEY}=another", "--set", f"{KEY}=third"], 2),
                           (["--check", "--set", "service.other.password=another"], 2)):
        code, out, err = run(*arguments, *more, env=env)
        assert code == expected, err
        assert SECRET not in out + err
        assert "another" not in out + err


def test_is_logged_nowhere(given):
    with started(given) as proxy:
        with proxy.connect() as client:
            client.send(encode("AUTH", "not-" + SECRET[:7]))  # waits for a primary
        wait_until(lambda: proxy.entries("started"), what="its start")
        log = proxy.log()
    assert SECRET not in log and SECRET[:7] not in log


def test_is_overwritten_where_others_could_read_it(given):
    with started(given) as proxy:
        wait_until(lambda: proxy.entries("started"), what="its start")
        cmdline, environ = read(proxy, "cmdline"), read(proxy, "environ")
        assert SECRET.encode() not in cmdline + environ
        if any(SECRET in word for word in given[0]):
            assert f"{KEY}=".encode() + b"*" * len(SECRET) in cmdline
        if given[1]:
            assert b"VEDETTE_PASSWORD=" + b"*" * len(SECRET) in environ


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the process")
def test_is_held_once(given):
    """Of all that the password went through, only the configuration still has it."""
    with started(given) as proxy:
        wait_until(lambda: proxy.entries("started"), what="its start")
        sanitizers = 1 if given[1] and is_sanitized() else 0  # a copy of the environment
        assert copies(proxy, SECRET.encode()) == 1 + sanitizers


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the process")
def test_text_of_keys_is_not_held(nowhere):
    """What was read of key files is gone; only OpenSSL has the keys, as numbers."""
    certs = tls.Certs()
    with Proxy([nowhere], tls=certs) as proxy:
        wait_until(lambda: proxy.entries("started"), what="its start")
        for name in ("server.key", "client.key"):
            with open(certs.path(name), "rb") as file:
                lines = file.read().splitlines()
            longest = max(lines, key=len)
            assert len(longest) >= 40
            assert copies(proxy, longest) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the process")
def test_the_search_finds_what_is_there(nowhere):
    with Proxy([nowhere], {"user": "findable-name", "password": SECRET}) as proxy:
        assert copies(proxy, b"findable-name") > 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the process")
def test_is_held_once_when_it_is_used(tmp_path):
    """Said to Sentinels and nodes, and on connections of clients that have none: nothing of it stays
    in what was sent."""
    other = "another-h0rse"
    node = Node(str(tmp_path), settings=[("requirepass", other)])
    try:
        node.start()
        with FakeSentinel(node.address, epoch=1, password=SECRET) as sentinel, \
                Proxy([sentinel.address], {"password": other, "read-policy": "any"},
                      sentinel_settings={"password": SECRET}) as proxy:
            proxy.wait_serving()
            with proxy.connect() as client:
                client.ok("SET", "k", "v")
                client.ok("MULTI")
                client.ok("INCR", "n")
                client.ok("EXEC")
            wait_until(lambda: sentinel.subscribers() > 0, what="a subscription")
            wait_until(lambda: proxy.entries("commands-learnt"), what="its commands")
            assert copies(proxy, SECRET.encode()) == 1
            assert copies(proxy, other.encode()) == 1
    finally:
        node.close()
