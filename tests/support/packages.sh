# shellcheck shell=sh disable=SC2086 # lists of words are split on purpose
# Read in by scripts (`. tests/support/packages.sh`): installs Debian packages that are missing.

# packages_need LOG PACKAGE...: installs those that are not installed, in one apt-get call, as root
# or with sudo. Says what it does on stdout, apt's own words go to LOG. Returns 1, with the reason
# on stderr, when something is still missing.
packages_need() {
    packages_log=$1
    shift
    command -v dpkg-query >/dev/null 2>&1 || {
        echo "This is not Debian; going on with what is installed. Needed are: $*"
        return 0
    }
    packages_missing=$(packages_absent "$@")
    [ -n "$packages_missing" ] || return 0
    packages_become_root || {
        echo "Missing packages, and neither root nor sudo to install them. As root, run:" >&2
        echo "  apt-get install --no-install-recommends $packages_missing" >&2
        return 1
    }
    echo "Installing:" $packages_missing
    if packages_install >"$packages_log" 2>&1; then
        return 0
    fi
    # No package lists yet, or lists that name what the mirror no longer has.
    if $packages_sudo apt-get $packages_options update >>"$packages_log" 2>&1 &&
        packages_install >>"$packages_log" 2>&1; then
        return 0
    fi
    tail -n 15 "$packages_log" >&2
    echo "apt-get could not install:" $packages_missing >&2
    return 1
}

packages_options='-q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Acquire::http::Timeout=60'

# Prints the arguments that are not installed, separated by spaces.
packages_absent() {
    # It fails for names it does not know, having printed the others.
    packages_have=" $(dpkg-query -W -f '${db:Status-Status}=${Package} ' "$@" 2>/dev/null || :) "
    packages_out=
    for packages_name in "$@"; do
        case $packages_have in
        *" installed=$packages_name "*) ;;
        *) packages_out="$packages_out${packages_out:+ }$packages_name" ;;
        esac
    done
    echo "$packages_out"
}

# Sets packages_sudo to the words that make a command run as root.
packages_become_root() {
    if [ "$(id -u)" -eq 0 ]; then
        packages_sudo='env'
    elif ! command -v sudo >/dev/null 2>&1; then
        return 1
    elif sudo -n true 2>/dev/null; then
        packages_sudo='sudo -n'
    elif [ -t 0 ]; then
        packages_sudo=sudo
    else
        return 1
    fi
}

packages_install() {
    $packages_sudo env DEBIAN_FRONTEND=noninteractive apt-get $packages_options install -y \
        --no-install-recommends $packages_missing </dev/null
}
