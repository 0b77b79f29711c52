"""Whom the process runs as, what it may do, and who may look into it: read from the kernel."""

import contextlib
import grp
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import tempfile

import pytest

from support import tls
from support.cluster import Node
from support.fake_sentinel import FakeSentinel
from support.procs import Port, Process
from support.proxy import Proxy, environment, executable, run
from support.resp import Conn
from support.wait import wait_until

NOBODY = pwd.getpwnam("nobody")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root to begin with")
AS_NOBODY = {"proxy.user": "nobody"}


@pytest.fixture(name="nowhere", scope="module")
def nowhere_fixture():
    """A Sentinel's address at which there is none."""
    port = Port()
    yield ("127.0.0.1", port.number)
    port.release()


def status_of(proxy):
    """The fields of /proc/PID/status, of every thread, once it has started."""
    found = []
    wait_until(lambda: proxy.entries("started"), what="its start")
    for task in os.listdir(f"/proc/{proxy.process.pid}/task"):
        with open(f"/proc/{proxy.process.pid}/task/{task}/status", encoding="ascii",
                  errors="replace") as file:
            found.append(dict(line.rstrip("\n").split(":", 1) for line in file))
    return [{name: value.split() for name, value in fields.items()} for fields in found]


def ids(number):
    return [str(number)] * 4  # real, effective, saved, of the file system


@contextlib.contextmanager
def a_node(tmp_path):
    node = Node(str(tmp_path))
    try:
        node.start()
        yield node
    finally:
        node.close()


@needs_root
def test_becomes_another_user_and_serves(tmp_path):
    """Every thread, with no group or capability of root left; and it says so."""
    with a_node(tmp_path) as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], {**AS_NOBODY, "proxy.workers": 3}) as proxy:
        proxy.wait_serving()
        threads = status_of(proxy)
        assert len(threads) >= 4
        for fields in threads:
            assert fields["Uid"] == ids(NOBODY.pw_uid)
            assert fields["Gid"] == ids(NOBODY.pw_gid)
            assert fields["Groups"] == [str(NOBODY.pw_gid)]
            for kind in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
                assert int(fields[kind][0], 16) == 0
        told = proxy.entries("privileges")
        assert len(told) == 1
        assert told[0]["uid"] == ",".join([str(NOBODY.pw_uid)] * 3)
        assert told[0]["gid"] == ",".join([str(NOBODY.pw_gid)] * 3)
        assert told[0]["groups"] == "1" and told[0]["way-back"] == "refused"
        assert told[0]["no-new-privs"] == "yes" and told[0]["core-dumps"] == "no"


@needs_root
def test_by_numbers(nowhere):
    """Of nobody that the machine knows: in the one group that was given, and no other."""
    with Proxy([nowhere], {"proxy.user": 54321, "proxy.group": 54322}) as proxy:
        for fields in status_of(proxy):
            assert fields["Uid"] == ids(54321) and fields["Gid"] == ids(54322)
            assert fields["Groups"] == []


@needs_root
def test_group_by_name(nowhere):
    group = grp.getgrnam("daemon")
    with Proxy([nowhere], {**AS_NOBODY, "proxy.group": "daemon"}) as proxy:
        for fields in status_of(proxy):
            assert fields["Uid"] == ids(NOBODY.pw_uid) and fields["Gid"] == ids(group.gr_gid)
            assert fields["Groups"] == [str(group.gr_gid)]


@needs_root
def test_low_ports_are_bound_before(nowhere):
    """What only root may listen on is had, and lost with it."""
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        if int(file.read()) <= 1:
            pytest.skip("here anybody may listen on any port")
    port = next(p for p in range(1020, 100, -1) if Port.is_free(p))
    with Proxy([nowhere], AS_NOBODY, arguments=("--listen", f"127.0.0.1:{port}")) as proxy:
        assert status_of(proxy)[0]["Uid"] == ids(NOBODY.pw_uid)
        with Conn(("127.0.0.1", port)):
            pass


@needs_root
def test_unix_sockets_are_given(tmp_path, nowhere):
    """unix-mode speaks of the user that the process becomes."""
    path = str(tmp_path / "vedette.sock")
    with Proxy([nowhere], {**AS_NOBODY, "proxy.group": "daemon", "unix-mode": "0660"},
               arguments=("--listen", f"unix:{path}")) as proxy:
        wait_until(lambda: proxy.entries("started"), what="its start")
        found = os.lstat(path)
        assert (found.st_uid, found.st_gid) == (NOBODY.pw_uid, grp.getgrnam("daemon").gr_gid)
        assert stat.S_IMODE(found.st_mode) == 0o660
        with Conn(path):
            pass


@needs_root
def test_certificates_that_only_root_may_read(tmp_path):
    """They are loaded, and each is named, since a change to it could not be."""
    certs = tls.Certs()
    os.chmod(certs.directory, 0o755)
    for name in ("server.crt", "server.key", "client.crt", "client.key", "ca.crt"):
        os.chmod(certs.path(name), 0o644)
    os.chmod(certs.path("server.key"), 0o600)
    with a_node(tmp_path) as node, FakeSentinel(node.address, epoch=1) as sentinel, \
            Proxy([sentinel.address], AS_NOBODY, tls=certs) as proxy:
        wait_until(lambda: proxy.entries("started"), what="its start")
        told = proxy.entries("certificates-unreadable")
        assert [(e["key"], e.level) for e in told] == [("tls-key-file", "warning")]
        assert certs.path("server.key") in told[0]["error"]
        with proxy.connect():
            pass
        shutil.copy(certs.path("alone.crt"), certs.path("server.crt"))
        wait_until(lambda: proxy.entries("certificates-not-loaded"), 15, "the change to be seen")
        with proxy.connect():  # with what was loaded as root
            pass


@needs_root
def test_group_that_may_read_the_key(tmp_path, nowhere):
    """As /etc/ssl/private is usually kept: nothing to warn of."""
    del tmp_path
    certs = tls.Certs()
    os.chmod(certs.directory, 0o755)
    for name in ("server.crt", "client.crt", "client.key", "ca.crt"):
        os.chmod(certs.path(name), 0o644)
    os.chown(certs.path("server.key"), 0, grp.getgrnam("daemon").gr_gid)
    os.chmod(certs.path("server.key"), 0o640)
    with Proxy([nowhere], {**AS_NOBODY, "proxy.group": "daemon"}, tls=certs) as proxy:
        wait_until(lambda: proxy.entries("started"), what="its start")
        assert not proxy.entries("certificates-unreadable")


MISTAKES = {
    "no such user": ({"user": "no-such-user"}, ["unknown user 'no-such-user'", "[service NAME]"]),
    "no such group": ({"user": "nobody", "group": "no-such-group"},
                      ["unknown group 'no-such-group'", "groupadd"]),
    "group alone": ({"group": "daemon"}, ["'group' without 'user'"]),
    "root": ({"user": "root"}, ["'user' = 'root'", "is root"]),
    "root by number": ({"user": "0"}, ["is root"]),
    "number without group": ({"user": "54321"}, ["54321", "add 'group'"]),
    "the number that is none": ({"user": "4294967295"}, ["unknown user '4294967295'"]),
    "negative": ({"user": "-1", "group": "1"}, ["unknown user '-1'"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(tmp_path, name):
    keys, words = MISTAKES[name]
    path = tmp_path / "vedette.ini"
    path.write_text("[sentinel]\naddress = 127.0.0.1:1\n[proxy]\n"
                    + "".join(f"{key} = {value}\n" for key, value in keys.items()))
    for arguments in ((), ("--check",)):
        code, _, err = run("--config", str(path), *arguments)
        assert code == 2, err
        assert re.search(re.escape(str(path)) + ":[45]: ", err)
        for word in words:
            assert word in err


@pytest.fixture(name="by_nobody")
def by_nobody_fixture():
    """Runs a command line of the proxy as nobody; a copy, for the tree may be closed to it."""
    folder = tempfile.mkdtemp(prefix="vedette-nobody-")
    os.chmod(folder, 0o755)
    copy = shutil.copy(executable(), folder)
    yield lambda *words: subprocess.run(
        [copy, *words], env=environment(), user=NOBODY.pw_uid, group=NOBODY.pw_gid,
        extra_groups=[], cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=20, check=False)
    shutil.rmtree(folder)


@needs_root
def test_without_root(by_nobody):
    """It can't become anybody; what it is already it need not. --check asks for neither."""
    common = ("--sentinel", "127.0.0.1:1", "--set")
    done = by_nobody(*common, "proxy.user=daemon")
    assert done.returncode == 2
    assert f"takes root, and this process runs as user {NOBODY.pw_uid}" in done.stderr
    assert by_nobody(*common, "proxy.user=daemon", "--check").returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = by_nobody(*common, "proxy.user=nobody", "--listen", f"127.0.0.1:{port}")
    assert done.returncode == 1 and "listen-failed" in done.stderr


# Each starts the proxy in a state in which dropping privileges leaves something of them.
TRAPS = {
    "nothing changes with the user": (["setpriv", "--securebits", "+no_setuid_fixup"],
                                      "the way back to root is open"),
    "groups can't be changed": (["setpriv", "--bounding-set", "-setgid", "--inh-caps", "-setgid",
                                 "--securebits", "+noroot"], "step=set"),
}


@needs_root
@pytest.mark.parametrize("trap", TRAPS)
def test_what_is_left_of_root_ends_it(nowhere, trap):
    wrapper, words = TRAPS[trap]
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip(f"{wrapper[0]} can't do that here")
    proxy = Proxy([nowhere], AS_NOBODY, wrapper=wrapper)
    try:
        proxy.process = Process(proxy.argv, proxy.log_path, proxy.env)
        assert proxy.process.wait(20) == 1
        proxy.check_log()
        assert [e.level for e in proxy.entries("privileges-not-dropped")] == ["error"]
        assert words in proxy.log()
        assert not proxy.entries("privileges") and not proxy.entries("started")
    finally:
        proxy.discard()


def test_as_it_was_started(nowhere):
    """Without `user` it stays who it is, and still gains nothing and leaves no core."""
    with Proxy([nowhere], {"proxy.core-dumps": "no"}) as proxy:
        for fields in status_of(proxy):
            assert fields["Uid"] == ids(os.geteuid())
            assert fields["NoNewPrivs"] == ["1"]
        with open(f"/proc/{proxy.process.pid}/limits", encoding="ascii") as file:
            core = next(line for line in file if line.startswith("Max core file size"))
        assert core.split()[4] == "0"
        told = proxy.entries("privileges")[0]
        assert "way-back" not in told
        assert told["no-new-privs"] == "yes" and told["core-dumps"] == "no"


@needs_root
@pytest.mark.parametrize("dumps", ["no", "yes"])
def test_who_may_look_into_it(nowhere, dumps):
    """The kernel gives the files of a process that is not to be dumped to root."""
    with Proxy([nowhere], {**AS_NOBODY, "proxy.core-dumps": dumps}) as proxy:
        wait_until(lambda: proxy.entries("started"), what="its start")
        owner = os.stat(f"/proc/{proxy.process.pid}/environ").st_uid
        assert owner == (NOBODY.pw_uid if dumps == "yes" else 0)
        assert proxy.entries("privileges")[0]["core-dumps"] == dumps
