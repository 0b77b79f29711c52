#!/bin/sh
# Are all C files as clang-format would write them? Exit status: 0 yes, 1 no, 77 no clang-format.
set -eu

usage() {
    cat <<'END'
usage: sh tests/lint/format.sh [--fix | --self-test | --help]

  --fix        rewrites the files instead of complaining
  --self-test  proves on a tree of its own that bad format is found
END
}

# check DIR [OPTION]...: formats the C files under DIR, by the .clang-format there.
check() (
    cd "$1"
    shift
    find proxy sentinel config tests -name '*.[ch]' -exec clang-format --style=file "$@" {} +
)

self_test() {
    tree=$(mktemp -d "${TMPDIR:-/tmp}/vedette-format.XXXXXX")
    trap 'rm -rf "$tree"' EXIT
    cp "$root/.clang-format" "$tree"
    for layer in proxy/base sentinel config tests/unit; do
        mkdir -p "$tree/$layer"
        printf 'int good(void)\n{\n    return 0;\n}\n' >"$tree/$layer/good.c"
    done
    check "$tree" --dry-run -Werror
    for layer in proxy/base sentinel config tests/unit; do
        printf 'int  bad( void ){return 0;}\n' >"$tree/$layer/bad.h"
        if check "$tree" --dry-run -Werror 2>/dev/null; then
            echo "format: bad format in $layer was not found" >&2
            exit 1
        fi
        rm "$tree/$layer/bad.h"
    done
    echo "format: bad format is found"
}

root=$(cd "$(dirname "$0")/../.." && pwd -P)
if ! command -v clang-format >/dev/null; then
    echo "format: skipped: no clang-format"
    exit 77
fi
case ${1-} in
'') check "$root" --dry-run -Werror ;;
--fix) check "$root" -i ;;
--self-test) self_test ;;
--help) usage ;;
*) usage >&2 && exit 2 ;;
esac
