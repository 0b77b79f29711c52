"""What the compiler and the linker did for the binary's safety, read from the binary itself."""

import os
import re
import subprocess

import pytest

from support.proxy import executable, is_sanitized


def readelf(binary, *options):
    return subprocess.run(["readelf", "-W", *options, str(binary)], check=True, text=True,
                          capture_output=True).stdout


def lacks(binary, fortified=True):
    """What the binary has not of what it should have."""
    header = readelf(binary, "-h")
    segments = readelf(binary, "-l")
    dynamic = readelf(binary, "-d")
    imported = readelf(binary, "--dyn-syms")
    has = {
        "pie": "DYN (" in header and re.search(r"\(FLAGS_1\).*\bPIE\b", dynamic),
        "relro": "GNU_RELRO" in segments,
        "now": re.search(r"\(FLAGS_1\).*\bNOW\b", dynamic),
        "stack not executable": re.search(r"GNU_STACK .* RW ", segments),
        "no segment to write and execute": not re.search(r"\bLOAD .* RWE ", segments),
        "canary": "__stack_chk_fail" in imported,
        "fortify": not fortified or re.search(r"__(memcpy|snprintf|vsnprintf)_chk", imported),
    }
    return [what for what, there in has.items() if not there]


def starts_with_landing(binary, function):
    """Whether an indirect call may end at that function: what -fcf-protection puts there."""
    code = subprocess.run(["objdump", "-d", f"--disassemble={function}", str(binary)], check=True,
                          text=True, capture_output=True).stdout
    lines = code[code.index(f"<{function}>:"):].splitlines()
    return "endbr64" in lines[1]


def is_x86(binary):
    return "X86-64" in readelf(binary, "-h")


def test_the_binary_under_test():
    """A sanitizer checks calls by itself; the debug build it goes with can't be fortified."""
    cache = os.path.join(os.path.dirname(executable()), "CMakeCache.txt")
    if os.path.exists(cache):
        with open(cache, encoding="utf-8") as file:
            if "VEDETTE_HARDEN:BOOL=OFF" in file.read():
                pytest.skip("built without VEDETTE_HARDEN, which no preset for use does")
    assert lacks(executable(), fortified=not is_sanitized()) == []


def test_the_release_binary(release):
    assert lacks(release) == []
    if is_x86(release):
        assert starts_with_landing(release, "main")


PLAIN = r"""
#include <stdio.h>
int main(int argc, char **argv) { char to[64]; sprintf(to, argv[0], argc); return to[0] == 'x'; }
"""

WITHOUT = {
    "pie": ["-no-pie", "-fno-pie"],
    "relro": ["-Wl,-z,norelro"],
    "now": ["-Wl,-z,lazy"],
    "stack not executable": ["-Wl,-z,execstack"],
    "canary": ["-fno-stack-protector"],
    "fortify": ["-U_FORTIFY_SOURCE"],
}


@pytest.mark.parametrize("what", [None, *WITHOUT])
def test_each_is_missed(tmp_path, what):
    source = tmp_path / "plain.c"
    source.write_text(PLAIN.replace("sprintf(to", "snprintf(to, (unsigned)argc * 40"))
    done = subprocess.run(
        ["cc", "-w", "-O2", "-fPIE", "-pie", "-fstack-protector-all", "-U_FORTIFY_SOURCE",
         "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro,-z,now,-z,noexecstack", *WITHOUT.get(what, []),
         str(source), "-o", str(tmp_path / "plain")], check=False, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert lacks(tmp_path / "plain") == ([what] if what else [])
