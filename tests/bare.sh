#!/bin/sh
# Do the README's two commands work on a machine that has nothing? Runs both in a fresh minimal
# Debian 12 made by mmdebstrap, on a fresh clone of HEAD. Exit status: 0 both worked, 1 one did not,
# 77 skipped for want of root or a tool.
set -eu

usage() {
    cat <<'END'
usage: sh tests/bare.sh [--root DIR] [--full] [--keep] [--help]

  --root DIR  use this Debian 12 root (it is changed) instead of making one
  --full      run all tests in it, not only the unit tests and those of integration
  --keep      leave the root that was made behind
END
}

skip() {
    echo "bare: skipped: $*"
    exit 77
}

fail() {
    echo "bare: $*" >&2
    exit 1
}

# --- outside: makes the root and removes it

# What this machine's apt needs to reach its packages (proxy, laxer checks), for the root's apt.
carry_apt_config() {
    apt-config dump | grep -E \
        -e '^Acquire::https?::.*"' -e '^Acquire::(Check-|Max-FutureTime|Retries|ForceIPv)' || true
}

# The sources of this machine if it runs the same Debian; else mmdebstrap knows where to look.
host_sources() {
    grep -qx 'VERSION_CODENAME=bookworm' /etc/os-release || return 0
    for source in /etc/apt/sources.list /etc/apt/sources.list.d/debian.*; do
        case $source in
        *.list | *.sources) [ ! -s "$source" ] || printf '%s\n' "$source" ;;
        esac
    done
}

make_root() {
    carry_apt_config >"$work/apt.conf"
    set --
    for source in $(host_sources); do
        set -- "$@" "$source"
    done
    echo 'Making a minimal Debian 12 ...'
    mmdebstrap --variant=minbase --aptopt="$work/apt.conf" bookworm "$target" "$@" \
        >"$work/mmdebstrap.log" 2>&1 || {
        tail -n 40 "$work/mmdebstrap.log" >&2
        fail 'mmdebstrap failed'
    }
}

# The network as this machine knows it, and what its apt trusts if packages come by https.
furnish_root() {
    for file in /etc/resolv.conf /etc/hosts; do
        cp -L "$file" "$target$file"
    done
    if grep -rqs 'https://' "$target/etc/apt/sources.list" "$target/etc/apt/sources.list.d"; then
        mkdir -p "$target/etc/ssl/certs"
        cp -L /etc/ssl/certs/ca-certificates.crt "$target/etc/ssl/certs/"
    fi
    rm -rf "$target$clone"
    git -c safe.directory='*' clone -q --no-hardlinks "$root" "$target$clone"
}

clean_up() {
    status=$?
    trap - EXIT
    # The mounts were made in a namespace that has ended with its processes, so none is left here.
    [ "$keep" = yes ] || rm -rf --one-file-system "$work"
    exit "$status"
}

outside() {
    [ "$(id -u)" -eq 0 ] || skip 'needs root'
    . "$root/tests/support/packages.sh"
    work=$(mktemp -d "${TMPDIR:-/tmp}/vedette-bare.XXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    packages_need "$work/apt.log" mmdebstrap git util-linux || skip 'mmdebstrap is missing'
    for tool in mmdebstrap git unshare chroot; do
        command -v "$tool" >/dev/null 2>&1 || skip "$tool is missing"
    done
    unshare --mount --pid --fork --kill-child true 2>/dev/null || skip 'namespaces are not allowed'
    git -c safe.directory='*' -C "$root" rev-parse -q --verify HEAD >/dev/null ||
        skip 'not a git clone'
    if [ -z "$target" ]; then
        target=$work/root
        make_root
    fi
    furnish_root
    # All that runs inside ends with this, and so do the mounts, however it ends.
    status=0
    unshare --mount --propagation private --pid --fork --kill-child \
        sh "$root/tests/bare.sh" --inside "$target" "$full" || status=$?
    [ "$keep" = no ] || echo "The root is $target."
    exit "$status"
}

# --- inside: the namespace in which the root is mounted

mount_devices() {
    mount -t tmpfs -o mode=755 tmpfs "$target/dev"
    for device in null zero full random urandom tty; do
        : >"$target/dev/$device"
        mount --bind "/dev/$device" "$target/dev/$device"
    done
    mkdir "$target/dev/pts" "$target/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=666 devpts "$target/dev/pts"
    ln -s pts/ptmx "$target/dev/ptmx"
    mount -t tmpfs -o mode=1777 tmpfs "$target/dev/shm"
    ln -s /proc/self/fd "$target/dev/fd"
}

# enter COMMAND...: in the root, with nothing of our environment but the way to the network.
enter() {
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        ${no_proxy:+no_proxy="$no_proxy"} chroot "$target" "$@" </dev/null
}

# Nothing may run that did not before, and nothing may lie about.
check_clean() {
    # Process 1 is this script, the other one that has to be there is find.
    enter find /proc -maxdepth 2 -path '/proc/[0-9]*/exe' -printf '%p %l\n' >"$target/run/left" \
        2>/dev/null || true
    left=$(grep -v -e '^/proc/1/' -e '/find$' -e ' $' "$target/run/left" || true)
    [ -z "$left" ] || fail "$1 left processes behind: $left"
    for left in "$target"/tmp/vedette-quickstart.* "$target"/tmp/vedette-packages.*; do
        [ ! -e "$left" ] || fail "$1 left files behind: $left"
    done
}

# run_command WHAT COMMAND...
run_command() {
    what=$1
    shift
    printf '\n=== %s\n' "$what"
    begin=$(date +%s)
    enter "$@" || fail "$what failed with status $?"
    check_clean "$what"
    echo "=== $what worked, $(($(date +%s) - begin)) seconds"
}

inside() {
    mount -t proc proc "$target/proc"
    mount_devices
    run_command quickstart.sh sh "$clone/examples/quickstart.sh" --demo
    if [ "$full" = yes ]; then
        run_command run.sh sh "$clone/tests/run.sh"
    else
        run_command run.sh sh "$clone/tests/run.sh" --label unit --label integration
    fi
}

# --- the order of things

root=$(cd "$(dirname "$0")/.." && pwd -P)
clone='/srv/a fresh clone'
target='' full=no keep=no
if [ "${1:-}" = --inside ]; then
    target=$2 full=$3
    inside
    exit 0
fi
while [ $# -gt 0 ]; do
    case $1 in
    --root)
        [ -d "${2:-}/etc" ] || fail '--root needs the folder of a Debian root'
        target=$(cd "$2" && pwd -P)
        shift
        ;;
    --full) full=yes ;;
    --keep) keep=yes ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
outside
