#!/bin/sh
# Does clang-tidy find anything in our sources? Exit status: 0 no, 1 yes, 77 no clang-tidy.
set -eu

usage() {
    cat <<'END'
usage: sh tests/lint/tidy.sh BUILD [FILE]... | --self-test | --help

  BUILD        a build folder with compile_commands.json
  FILE         only these files, by their path from the root
  --self-test  proves on a tree of its own that a fault is found, in a header too
END
}

fail() {
    echo "tidy: $*" >&2
    exit 1
}

# The files of the compile database in BUILD ($2) that lie in the root ($1), by their path from it.
our_files() {
    sed -n 's/^ *"file": "\(.*\)",*$/\1/p' "$2/compile_commands.json" | sort -u |
        sed -n "s#^$1/##p" | grep -E '^(proxy|sentinel|config|tests)/'
}

# check ROOT BUILD [FILE]...: one process a file, two at a time. The compile database may be gcc's.
check() (
    tree=$1
    build=$(cd "$2" && pwd -P)
    shift 2
    [ -f "$build/compile_commands.json" ] || fail "$build has no compile_commands.json"
    if [ $# -eq 0 ]; then
        set -- $(our_files "$tree" "$build")
    fi
    [ $# -gt 0 ] || fail "$build compiles none of our files"
    cd "$tree"
    echo "tidy: $# files"
    printf '%s\n' "$@" | xargs -P 2 -n 1 clang-tidy -p "$build" --quiet \
        --extra-arg=-Wno-unknown-warning-option 2>&1 | grep -v 'warnings\{0,1\} generated\.$' >&2 &&
        fail "there is something to put right"
    echo "tidy: clean"
)

# compiles TREE FILE: a compile database of that one file.
compiles() {
    mkdir -p "$1/build"
    printf '[{"directory": "%s",\n  "command": "cc -I. -Wno-gcc-only -c %s",\n  "file": "%s"\n}]\n' \
        "$1" "$2" "$1/$2" >"$1/build/compile_commands.json"
}

# finds TREE WHAT: the check fails there, for the reason that was planted.
finds() {
    if check "$1" "$1/build" >"$1/said" 2>&1 || ! grep -q 'misc-redundant-expression' "$1/said"; then
        cat "$1/said" >&2
        fail "$2 was not found"
    fi
}

self_test() {
    tree=$(cd "$(mktemp -d "${TMPDIR:-/tmp}/vedette-tidy.XXXXXX")" && pwd -P)
    trap 'rm -rf "$tree"' EXIT
    mkdir -p "$tree/proxy"
    cp "$root/.clang-tidy" "$tree"
    header='static inline int twice(int x)\n{\n    return x %s x;\n}\n'
    source='#include "proxy/x.h"\nint f(int x);\nint f(int x)\n{\n    return twice(x) %s;\n}\n'
    printf "$header" + >"$tree/proxy/x.h"
    printf "$source" '' >"$tree/proxy/x.c"
    compiles "$tree" proxy/x.c
    check "$tree" "$tree/build" || fail "a clean file was not clean"
    printf "$header" == >"$tree/proxy/x.h"
    finds "$tree" "a fault in a header"
    printf "$header" + >"$tree/proxy/x.h"
    printf "$source" '+ (x == x)' >"$tree/proxy/x.c"
    finds "$tree" "a fault"
    printf "$source" '' >"$tree/proxy/x.c"
    printf '[]\n' >"$tree/build/compile_commands.json"
    if (check "$tree" "$tree/build") 2>/dev/null; then
        fail "a build of nothing was clean"
    fi
    echo "tidy: faults are found"
}

root=$(cd "$(dirname "$0")/../.." && pwd -P)
if ! command -v clang-tidy >/dev/null; then
    echo "tidy: skipped: no clang-tidy"
    exit 77
fi
case ${1-} in
'') usage >&2 && exit 2 ;;
--self-test) self_test ;;
--help) usage ;;
*) check "$root" "$@" ;;
esac
