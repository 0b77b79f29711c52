#!/bin/sh
# Compares Vedette with others on this machine. `sh tests/bench/run.sh --help` tells the options.
set -eu

usage() {
    cat <<'END'
usage: sh tests/bench/run.sh [--quick] [--rounds N] [--seconds X] [--scenario NAME]...
                             [--contender NAME]... [--json FILE] [--client-cpu N]
                             [--server-cpus N[,N]...] [--self-test] [--help]

Installs missing Debian packages (as root or with sudo; haproxy and nutcracker are among them, and
Debian starts the services of what it installs), builds Vedette (release), starts all on loopback and
prints one table. The exit status is 0 only if every reply of every run was right.

  --quick            about two minutes instead of about eighteen
  --rounds N         rounds of each scenario, whose medians are printed (5; quick: 3)
  --seconds X        how long a contender is loaded in each round (1; quick: 0.3)
  --scenario NAME    only this one; repeat it for more
  --contender NAME   only this one, and direct; repeat it for more
  --json FILE        everything measured, each round by itself
  --client-cpu N     the load runs there (the first processor)
  --server-cpus N    Redis and the proxies run there (the last)
  --self-test        proves that the load notices wrong replies, and ends
END
}

for option in "$@"; do
    case $option in
    -h | --help) usage && exit 0 ;;
    esac
done
root=$(cd "$(dirname "$0")/../.." && pwd -P)
build=$root/build/release
. "$root/tests/support/packages.sh"
dir=$(mktemp -d "${TMPDIR:-/tmp}/vedette-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
packages_need "$dir/apt.log" gcc libc6-dev cmake ninja-build pkg-config libuv1-dev libhiredis-dev \
    libinih-dev libssl-dev libcmocka-dev python3 redis-tools
for package in haproxy nutcracker linux-perf; do
    packages_need "$dir/apt.log" "$package" || echo "bench: going on without $package" >&2
done
cache=$build/CMakeCache.txt
if [ -f "$cache" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$cache"; then
    rm -rf "$build" # made for another place
fi
echo 'Building (release) ...'
cd "$root"
{ cmake --preset release -DBUILD_TESTING=ON && cmake --build --preset release --target bench; } \
    >"$dir/build.log" 2>&1 || {
    tail -n 40 "$dir/build.log" >&2
    echo 'bench: the build failed' >&2
    exit 1
}
rm -rf "$dir"
trap - EXIT
PATH=$PATH:/usr/sbin # where Debian has haproxy and nutcracker
export PATH
module=bench.main
case " $* " in
*' --self-test '*) module=bench.self_test ;;
esac
python=/usr/bin/python3 # the one that is installed above
[ -x "$python" ] || python=python3
VEDETTE=$build/vedette PYTHONPATH=$root/tests exec "$python" -B -m "$module" --build "$build" "$@"
