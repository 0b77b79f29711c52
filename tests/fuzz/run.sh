#!/bin/sh
# Fuzzes every target for a while, two at once, and tells of each in a line what came of it.
set -eu

usage() {
    cat <<'END'
usage: sh tests/fuzz/run.sh SECONDS [TARGET]...

Builds the fuzz targets (clang, see the preset `fuzz`) and runs each for SECONDS, two at a time; or
only those named: fuzz_resp_request, or resp_request. One line a target: executions, what of the code
was reached, and findings; a finding is kept below build/fuzz/found with the log. What was learnt on
the way goes to build/fuzz/corpus; the inputs in tests/fuzz/corpus are only read. The exit status is
0 if nothing was found.
END
}

# Runs one target: fuzz_one ROOT SECONDS TARGET. Called by xargs.
if [ "${1:-}" = --one ]; then
    root=$2 seconds=$3 target=$4
    plain=${target#fuzz_}
    found=$root/build/fuzz/found learnt=$root/build/fuzz/corpus/$target
    mkdir -p "$found" "$learnt"
    set -- "$learnt"
    for folder in "$plain" "${plain%%_*}"; do # its own, or that of its layer
        [ ! -d "$root/tests/fuzz/corpus/$folder" ] || set -- "$@" "$root/tests/fuzz/corpus/$folder"
    done
    log=$found/$target.log
    status=0
    "$root/build/fuzz/tests/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$found/$target-" "$@" >"$log" 2>&1 || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    reached=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    findings=$(grep -c '^Test unit written to' "$log" || true)
    if [ "$status" -ne 0 ] && [ "$findings" -eq 0 ]; then
        findings="ended with status $status,"
    fi
    echo "$target: ${runs:-no} executions, ${reached:-0} places reached, $findings findings$(
        [ "$status" -eq 0 ] || echo ", see $log")"
    exit $((status != 0))
fi

case ${1:-} in
'' | *[!0-9]*)
    usage
    [ "${1:-}" = --help ] || [ "${1:-}" = -h ]
    exit
    ;;
esac
root=$(cd "$(dirname "$0")/../.." && pwd -P)
seconds=$1
shift
if [ $# -eq 0 ]; then
    for source in "$root"/tests/fuzz/fuzz_*.c; do
        set -- "$@" "$(basename "$source" .c)"
    done
fi
targets=
for name in "$@"; do
    target=fuzz_${name#fuzz_}
    if [ ! -f "$root/tests/fuzz/$target.c" ]; then
        echo "tests/fuzz/run.sh: no target $name; there are: $(cd "$root/tests/fuzz" && echo fuzz_*.c)" >&2
        exit 2
    fi
    targets="$targets $target"
done
cd "$root"
log=$(mktemp "${TMPDIR:-/tmp}/vedette-fuzz.XXXXXX")
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # words on purpose
if ! { cmake --preset fuzz -DBUILD_TESTING=ON && cmake --build --preset fuzz --target $targets; } \
    >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    exit 1
fi
# shellcheck disable=SC2086
printf '%s\n' $targets | xargs -P 2 -I '{}' sh "$root/tests/fuzz/run.sh" --one "$root" "$seconds" '{}'
