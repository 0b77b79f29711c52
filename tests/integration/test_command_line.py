"""The command line as a user meets it: checking, printing, mistakes and their exit code."""

import pytest

from support.procs import Port
from support.proxy import Proxy, run

GOOD = """[sentinel]
address = 127.0.0.1:26379
password = s3ntinel-pw
[service mymaster]
listen = 127.0.0.1:7777
password = r3dis-pw
hold-timeout = 7s
"""


@pytest.fixture(name="file")
def file_fixture(tmp_path):
    path = tmp_path / "vedette.ini"
    path.write_text(GOOD)
    return path


def test_version_and_help():
    code, out, _ = run("--version")
    assert code == 0 and out.startswith("vedette ")
    code, out, _ = run("--help")
    assert code == 0
    for word in ("--sentinel", "--master", "--listen", "--set", "--check", "--print-config",
                 "hold-timeout", "max-clients"):
        assert word in out


def test_check(file):
    code, out, err = run("--config", str(file), "--check")
    assert code == 0, err
    assert "3ntinel-pw" not in out + err and "r3dis-pw" not in out + err


def test_check_warns_of_shared_commands_that_are_known(file):
    """Only of those; what Vedette does not know is the user's to name."""
    code, _, err = run("--config", str(file), "--check",
                       env={"VEDETTE_SHARED_COMMANDS": "json.get,GET,client|kill,client|new"})
    assert code == 0, err
    told = [line for line in err.splitlines() if "shared-commands" in line]
    assert len(told) == 2 and all("[service mymaster]" in line for line in told)
    assert "'get'" in told[0] and "'client|kill'" in told[1]


def test_print_config_masks_secrets(file, tmp_path):
    code, out, err = run("--config", str(file), "--print-config", "--set", "proxy.workers=3",
                         env={"VEDETTE_HOLD_ON_FAILOVER": "no"})
    assert code == 0, err
    assert "3ntinel-pw" not in out + err and "r3dis-pw" not in out + err
    assert out.count("********") == 2
    words = [line.replace(" ", "") for line in out.splitlines()]
    for line in ("workers=3", "hold-timeout=7s", "hold-on-failover=no", "[servicemymaster]"):
        assert line in words
    again = tmp_path / "again.ini"
    again.write_text(out)
    assert run("--config", str(again), "--check")[0] == 0


def test_precedence(file):
    """Flag before environment before file before default."""
    def effective(*arguments, env=None):
        code, out, err = run("--config", str(file), "--print-config", *arguments, env=env)
        assert code == 0, err
        return next(line for line in out.splitlines() if line.startswith("hold-timeout"))
    assert effective().endswith("7s")
    assert effective(env={"VEDETTE_HOLD_TIMEOUT": "8s"}).endswith("8s")
    assert effective("--set", "service.mymaster.hold-timeout=9s",
                     env={"VEDETTE_HOLD_TIMEOUT": "8s"}).endswith("9s")


MISTAKES = {
    "unknown flag": (["--sentinal", "127.0.0.1:1"], ["--sentinel"]),
    "unknown key": (["--set", "proxy.worker=2"], ["worker", "workers"]),
    "unknown section": (["--set", "proxi.workers=2"], ["proxi"]),
    "bad number": (["--set", "proxy.workers=many"], ["workers", "many"]),
    "out of range": (["--set", "proxy.workers=1000"], ["workers", "1000"]),
    "bad duration": (["--set", "service.mymaster.hold-timeout=5 parsecs"], ["hold-timeout"]),
    "bad address": (["--listen", "127.0.0.1:99999"], ["99999"]),
    "value missing": (["--listen"], ["--listen"]),
    "no file": (["--config", "/nonexistent/vedette.ini"], ["/nonexistent/vedette.ini"]),
    "two secrets": (["--set", "sentinel.password=x1y2z3", "--set",
                     "sentinel.password-file=/dev/null"], ["password"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_end_with_2_and_a_reason(name):
    arguments, words = MISTAKES[name]
    code, out, err = run("--sentinel", "127.0.0.1:26379", *arguments)
    assert code == 2 and out == ""
    assert "error" in err
    for word in words:
        assert word in err
    assert "x1y2z3" not in err


def test_no_sentinel_at_all():
    code, _, err = run("--master", "mymaster")
    assert code == 2 and "--sentinel" in err


def test_file_mistakes_name_the_line(tmp_path):
    path = tmp_path / "bad.ini"
    path.write_text(GOOD + "hold-timout = 5s\nnonsense\n[servise x]\n")
    code, _, err = run("--config", str(path), "--check")
    assert code == 2
    assert "hold-timeout" in err  # did you mean
    for line in (8, 9, 10):
        assert f"bad.ini:{line}" in err
    assert "3ntinel-pw" not in err and "r3dis-pw" not in err


def test_listening_beyond_loopback_with_a_password_is_refused(file):
    code, _, err = run("--config", str(file), "--listen", "0.0.0.0:7777", "--check")
    assert code == 2 and "protected-mode" in err
    code, _, err = run("--config", str(file), "--listen", "0.0.0.0:7777", "--check",
                       "--set", "proxy.protected-mode=no")
    assert code == 0, err


def test_address_in_use():
    """A runtime error, not a mistake of usage; and it says which address."""
    with Proxy([("127.0.0.1", 1)]) as first:
        host, port = first.address
        code, _, err = run("--sentinel", "127.0.0.1:1", "--listen", f"{host}:{port}")
        assert code == 1
        assert str(port) in err


def test_environment_alone():
    port = Port()
    code, out, err = run("--print-config", env={
        "REDIS_SENTINEL_HOST": "127.0.0.1", "REDIS_SENTINEL_PORT": "tcp://127.0.0.1:26999",
        "REDIS_SENTINEL_MASTER": "other", "VEDETTE_LISTEN": f"127.0.0.1:{port.number}"})
    port.release()
    assert code == 0, err
    assert "127.0.0.1:26999" in out and "[service other]" in out and str(port.number) in out
