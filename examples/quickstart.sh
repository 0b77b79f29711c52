#!/bin/sh
# Vedette on one machine, to play with: a primary, two replicas and three Sentinels on free loopback
# ports, and Vedette in front of them. Everything lives in a temporary folder and is gone in the end.
set -eu

master=mymaster
down_after=2000       # below 1000, Sentinel itself starts needless second failovers
failover_timeout=10000

usage() {
    cat <<'END'
usage: sh examples/quickstart.sh [--demo] [--build-only] [--keep] [--help]

Installs what is missing (Debian packages, as root or with sudo), builds Vedette, starts a primary,
two replicas, three Sentinels and Vedette on loopback, and says what to type. Ctrl-C stops and
removes all of it. Without a terminal it ends by itself.

  --demo        run clients through a crash (kill -9) and a planned failover and count what they
                saw; exit status 1 if a promise was broken
  --build-only  install and build, then end
  --keep        leave the temporary folder with all logs behind
END
}

say() {
    printf '%s\n' "$*"
}

# The reason, the end of the log that explains it ('' for none), and out.
die() {
    printf '\nquickstart: %s\n' "$1" >&2
    if [ -n "${2:-}" ] && [ -s "$2" ]; then
        printf 'The last lines of %s:\n' "$2" >&2
        tail -n 20 "$2" | sed 's/^/  | /' >&2
    fi
    [ -z "$dir" ] || [ "$keep" = yes ] || say 'Run again with --keep to keep all logs.' >&2
    exit 1
}

# --- installing and building

install_packages() {
    . "$root/tests/support/packages.sh"
    packages_need "$dir/apt.log" gcc libc6-dev cmake ninja-build pkg-config libuv1-dev \
        libhiredis-dev libinih-dev libssl-dev redis-tools python3 ||
        die 'some packages are missing; see above'
}

build() {
    cache=$root/build/release/CMakeCache.txt
    if [ -f "$cache" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$cache"; then
        rm -rf "$root/build/release" # made for another place
    fi
    say 'Building Vedette (release) ...'
    (
        cd "$root"
        cmake --preset release -DBUILD_TESTING=OFF && cmake --build --preset release
    ) >"$dir/build.log" 2>&1 || die 'the build failed' "$dir/build.log"
    vedette=$root/build/release/vedette
    say "Built: $vedette ($("$vedette" --version))"
}

# --- processes: each with its log and pid in $dir, where it also works

# start NAME COMMAND...: in the background. It dies with this script, even if that is killed.
start() {
    start_name=$1
    shift
    (
        cd "$dir"
        exec $dies_with_us "$@" >>"$start_name.log" 2>&1 </dev/null
    ) &
    echo $! >"$dir/$start_name.pid"
}

# The pid was given to another process if that one does not work in our folder.
alive() {
    [ -f "$dir/$1.pid" ] && [ "$(readlink "/proc/$(cat "$dir/$1.pid")/cwd" 2>/dev/null)" = "$dir" ]
}

stop_all() {
    for stop_file in "$dir"/*.pid; do
        [ -f "$stop_file" ] || continue
        stop_name=${stop_file##*/}
        ! alive "${stop_name%.pid}" || kill -KILL "$(cat "$stop_file")" 2>/dev/null || true
    done
    wait
}

finish() {
    finish_status=$?
    set +e
    trap - EXIT
    trap '' INT TERM HUP
    [ -n "$dir" ] || exit "$finish_status"
    stop_all 2>/dev/null
    if [ "$keep" = yes ]; then
        say "The logs are in $dir."
    else
        rm -rf "$dir"
    fi
    exit "$finish_status"
}

# within SECONDS WHAT LOG COMMAND...: repeats COMMAND until it succeeds.
within() {
    within_end=$(($(date +%s) + $1))
    within_what=$2
    within_log=$3
    shift 3
    until "$@"; do
        [ "$(date +%s)" -lt "$within_end" ] || die "$within_what" "$within_log"
        sleep 0.2
    done
}

# --- Redis and Sentinel

# ask PORT COMMAND...: one command, its plain answer; nothing when there is none within 2 seconds.
ask() {
    ask_port=$1
    shift
    timeout 2 redis-cli -h 127.0.0.1 -p "$ask_port" "$@" 2>/dev/null </dev/null || true
}

# Debian's redis-tools brings the server's binary under the name of a checking tool; what it is
# depends on the name it is called by. Nothing is installed that starts a service.
find_redis() {
    for binary in redis-check-rdb redis-server valkey-server; do
        command -v "$binary" >/dev/null 2>&1 || continue
        mkdir "$dir/bin"
        ln -s "$(readlink -f "$(command -v "$binary")")" "$dir/bin/redis-server"
        ln -s redis-server "$dir/bin/redis-sentinel"
        return
    done
    die 'no Redis server found'
}

# Prints $1 free ports, below those that the kernel gives to outgoing connections.
free_ports() {
    python3 - "$1" <<'END'
import random, socket, sys
held = []
while len(held) < int(sys.argv[1]):
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", random.randrange(12000, 32000)))
        held.append(s)
    except OSError:
        s.close()
print(*[s.getsockname()[1] for s in held])
END
}

# start_node PORT [PRIMARY]: a replica if PRIMARY is given.
start_node() {
    start "node-$1" "$dir/bin/redis-server" --port "$1" --bind 127.0.0.1 --save '' \
        --appendonly no --repl-diskless-sync-delay 0 ${2:+--replicaof 127.0.0.1 "$2"}
}

answers() {
    [ "$(ask "$1" ping)" = PONG ]
}

start_nodes() {
    start_node "$node1"
    start_node "$node2" "$node1"
    start_node "$node3" "$node1"
    for port in $nodes; do
        within 10 "the Redis node on port $port does not answer" "$dir/node-$port.log" \
            answers "$port"
    done
}

start_sentinels() {
    for port in $sentinels; do
        cat >"$dir/sentinel-$port.conf" <<END
port $port
bind 127.0.0.1
sentinel monitor $master 127.0.0.1 $node1 2
sentinel down-after-milliseconds $master $down_after
sentinel failover-timeout $master $failover_timeout
END
        start "sentinel-$port" "$dir/bin/redis-sentinel" "sentinel-$port.conf"
    done
    for port in $sentinels; do
        within 40 "the Sentinel on port $port did not find the others and the replicas" \
            "$dir/sentinel-$port.log" sentinel_ready "$port"
    done
}

# One field of what a Sentinel knows of the primary.
sentinel_field() {
    ask "$1" sentinel master "$master" | awk -v "name=$2" 'found { print; found = 0 }
        $0 == name { found = 1 }'
}

sentinel_ready() {
    [ "$(sentinel_field "$1" num-other-sentinels)" = 2 ] &&
        [ "$(sentinel_field "$1" num-slaves)" = 2 ] &&
        [ "$(ask "$1" sentinel replicas "$master" | grep -cx ok)" = 2 ] && # master-link-status
        ask "$1" sentinel ckquorum "$master" | grep -q '^OK 3 usable'
}

# The port of the primary that at least two Sentinels name; nothing if no two agree.
agreed_primary() {
    for port in $sentinels; do
        ask "$port" sentinel get-master-addr-by-name "$master" | sed -n 2p
    done | sort | uniq -d
}

# --- Vedette

start_vedette() {
    set -- --master "$master" --listen "127.0.0.1:$listen"
    for port in $sentinels; do
        set -- "$@" --sentinel "127.0.0.1:$port"
    done
    start vedette "$vedette" "$@"
    vedette_line="vedette $*"
    within 10 'Vedette does not answer' "$dir/vedette.log" answers "$listen"
}

explain() {
    cat <<END

Three Redis nodes (ports $nodes), three Sentinels (ports $sentinels)
and Vedette in front of them, started as

  $vedette_line

Talk to it as if it were the primary, in another terminal:

  redis-cli -p $listen set greeting hello
  redis-cli -p $listen get greeting

Kill the primary, whichever node it is now, and go on talking; the answer comes about three seconds
later, from another node (the killed one is started again as a replica):

  kill -9 \$(redis-cli -p $listen info server | tr -d '\\r' | sed -n 's/^process_id://p')

Move the primary without a crash:

  redis-cli -p ${sentinels%% *} sentinel failover $master

See what Vedette makes of it:

  tail -f '$dir/vedette.log'

END
}

# A killed node comes back as a replica, but not before another one is primary: it would come back
# empty and its replicas would follow it.
revive() {
    for port in $nodes; do
        ! alive "node-$port" || continue
        primary=$(agreed_primary)
        if [ -n "$primary" ] && [ "$primary" != "$port" ]; then
            say "(the killed node on port $port is started again as a replica of port $primary)"
            start_node "$port" "$primary"
        fi
    done
}

# Keeps the nodes alive while the process with the name $1 lives.
tend() {
    while alive "$1"; do
        alive vedette || die 'Vedette has ended' "$dir/vedette.log"
        revive
        sleep 0.5
    done
}

run_demo() {
    (
        cd "$dir"
        exec $dies_with_us python3 "$root/examples/demo.py" "$listen" $sentinels </dev/null
    ) &
    demo_pid=$!
    echo "$demo_pid" >"$dir/demo.pid"
    tend demo
    status=0
    wait "$demo_pid" || status=$?
    return "$status"
}

# Without a terminal nobody will type anything: show that it answers, and end.
greet() {
    say "SET through Vedette: $(ask "$listen" set greeting hello)"
    say "GET through Vedette: $(ask "$listen" get greeting)"
    [ "$(ask "$listen" get greeting)" = hello ] ||
        die 'a write was not read back' "$dir/vedette.log"
    say 'There is no terminal, so this ends here. Try --demo.'
}

# --- the order of things

demo=no build_only=no keep=no dir=
for option in "$@"; do
    case $option in
    --demo) demo=yes ;;
    --build-only) build_only=yes ;;
    --keep) keep=yes ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
    esac
done

root=$(cd "$(dirname "$0")/.." && pwd -P)
# Settings of the caller's own Redis and Vedette are not for this one.
for name in $(env | sed -n 's/^\([A-Z_]*\)=.*/\1/p' | grep -e '^VEDETTE_' -e '^REDIS'); do
    unset "$name"
done
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
dir=$(cd "$(mktemp -d "${TMPDIR:-/tmp}/vedette-quickstart.XXXXXX")" && pwd -P)
dies_with_us=
! setpriv --pdeathsig KILL true 2>/dev/null || dies_with_us='setpriv --pdeathsig KILL'

install_packages
build
[ "$build_only" = no ] || exit 0
find_redis
set -- $(free_ports 7)
node1=$1 node2=$2 node3=$3
nodes="$1 $2 $3"
sentinels="$4 $5 $6"
listen=$7
say 'Starting a primary, two replicas and three Sentinels ...'
start_nodes
start_sentinels
say 'Starting Vedette ...'
start_vedette

status=0
if [ "$demo" = yes ]; then
    run_demo || status=$?
fi
if [ -t 0 ] && [ -t 1 ]; then
    explain
    say 'Ctrl-C stops and removes everything.'
    trap 'exit "$status"' INT
    tend vedette
elif [ "$demo" = no ]; then
    explain
    greet
fi
exit "$status"
