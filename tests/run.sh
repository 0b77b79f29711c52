#!/bin/sh
# Installs what the tests need, builds, runs them all. `sh tests/run.sh --help` tells the options.
set -eu

usage() {
    cat <<'END'
usage: sh tests/run.sh [--label LABEL]... [--test NAME]... [--full] [--tls] [--list] [--help]

Installs missing Debian packages (as root or with sudo), builds and runs the tests. The last line is
`N passed, N failed` (and `, N skipped`); the exit status is 0 only if something ran and nothing
failed. A run without --full or --tls that takes longer than 27 minutes is stopped and has failed.

  --label LABEL  only these tests:
                   unit         one layer each, with ASan and UBSan
                   lint         format, static analysis, layering
                   fuzz         each parser for 15 seconds (with --full: 2 minutes)
                   integration  the proxy between clients and a real Redis
                   failover     real Redis and Sentinel, and a primary that dies or moves
                   exclusive    a part of both once more, with `links = exclusive`
                   tls          a part of failover once more, with TLS on all three sides
                   tsan         the tests of threads, built with TSan
                   bare         both commands of the README in a fresh minimal system (needs root)
                 Default: all but bare.
  --test NAME    only the tests of that name: `test_wheel`, `unit.base.test_wheel`, `fuzz_resp_scan`,
                 `test_x.py`, `test_function`, `tests/failover/test_x.py::test_function`
  --full         the long tests too, all of failover over TLS, and bare
  --tls          all of failover over TLS, without the long tests
  --list         print the names instead of running
END
}

started=$(date +%s)
root=$(cd "$(dirname "$0")/.." && pwd -P)
for option in "$@"; do
    case $option in
    -h | --help) usage && exit 0 ;;
    esac
done
. "$root/tests/support/packages.sh"
log=$(mktemp "${TMPDIR:-/tmp}/vedette-packages.XXXXXX")
trap 'rm -f "$log"' EXIT
packages_need "$log" gcc libc6-dev cmake ninja-build pkg-config libuv1-dev libhiredis-dev \
    libinih-dev libssl-dev openssl libcmocka-dev clang clang-format clang-tidy libclang-rt-14-dev python3 \
    python3-pytest python3-pytest-xdist python3-redis python3-celery python3-rq redis-tools iredis \
    netcat-openbsd patch procps iproute2 || {
    echo '0 passed, 1 failed'
    exit 1
}
rm -f "$log"
trap - EXIT
python=/usr/bin/python3 # the one that Debian's packages are for
[ -x "$python" ] || python=python3
exec "$python" -B "$root/tests/run.py" --started "$started" "$@"
