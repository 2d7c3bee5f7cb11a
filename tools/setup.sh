# SPDX-License-Identifier: MIT
# Shared by ./check, ./try and ./bench (sourced): saying, failing, installing what is missing.
# shellcheck shell=bash disable=SC2034

build_packages=(g++ cmake ninja-build python3 libcli11-dev libfmt-dev nlohmann-json3-dev)
test_packages=(ccache binutils pkgconf clang-format-14 libgtest-dev libgmock-dev zlib1g-dev strace libmono-2.0-dev)
mono_packages=(mono-runtime mono-mcs)

say() { printf '\033[1m== %s\033[0m\n' "$*"; }

# fail WHAT WHY WHAT-TO-DO: one line, exit 1
fail() {
    printf '%s: %s: %s. %s.\n' "${0##*/}" "$1" "$2" "$3" >&2
    exit 1
}

# need_packages PACKAGE...: installs those that are missing; asks the network only then
need_packages() {
    local package missing=() as_root=()
    if ! command -v dpkg-query >/dev/null; then
        say "this is not Debian: going on with what is installed (wanted: $*)"
        return
    fi
    for package in "$@"; do
        # shellcheck disable=SC2016
        if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done
    if [[ ${#missing[@]} -eq 0 ]]; then
        return
    fi
    if [[ $(id -u) -ne 0 ]]; then
        if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
            as_root=(sudo)
        else
            fail "packages are missing (${missing[*]})" "installing them takes root or sudo" \
                "Run as root: apt-get install ${missing[*]}"
        fi
    fi
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq ||
        fail "apt-get update failed" "the package lists could not be fetched" "Check the network and /etc/apt"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "apt-get install failed" "see the lines above" "Install by hand: ${missing[*]}"
}

# configure PRESET DIRECTORY [CMAKE-ARGUMENT...]
configure() {
    local preset=$1 directory=$2 log
    shift 2
    mkdir -p "$directory"
    log=$directory/configure.log
    if ! cmake --preset "$preset" -B "$directory" "$@" >"$log" 2>&1; then
        cat "$log" >&2
        fail "configuring $directory failed" "see the lines above" "Remove $directory if it is from another tree"
    fi
}
