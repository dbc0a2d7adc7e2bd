#!/usr/bin/env bash
# Installs the packages that the build and the tests need; with --demo, also those of the demo's download; with
# --test, also optional ones of the tests; with --fuzz, also Clang and its libFuzzer. Silent if nothing is missing. Installs
# with apt-get (Debian 12, Ubuntu 24.04 and newer) as root or through sudo. Elsewhere it names the missing packages and
# exits with 1, unless they are optional.
set -euo pipefail
export LC_ALL=C

# Debian's package and how to see that it is there: cmd:PROGRAM, lib:PKG_CONFIG_NAME or file:A:B (one of them exists).
needs='
g++                     cmd:g++
make                    cmd:make
cmake                   cmd:cmake
ninja-build             cmd:ninja
pkg-config              cmd:pkg-config
libfmt-dev              lib:fmt
nlohmann-json3-dev      lib:nlohmann_json
libcli11-dev            lib:CLI11
libpcre2-dev            lib:libpcre2-8
libutf8proc-dev         lib:libutf8proc
libcurl4-openssl-dev    lib:libcurl
libarchive-dev          lib:libarchive
libssl-dev              lib:openssl
libgtest-dev            lib:gtest
gnuplot-nox             cmd:gnuplot
libjs-chart.js          file:/usr/share/javascript/chart.js/chart.min.js:/usr/share/nodejs/chart.js/dist/chart.umd.min.js
fonts-dejavu-core       file:/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf:/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf:/usr/share/fonts/TTF/DejaVuSans.ttf
python3                 cmd:python3
git                     cmd:git
ca-certificates         file:/etc/ssl/certs/ca-certificates.crt:/etc/pki/tls/certs/ca-bundle.crt:/etc/ssl/cert.pem
'
# On other machines the kernels of AArch64 are tested in an emulator.
wants=
if [[ ${1:-} == --demo ]]; then
  needs+='python3-pip cmd:pip3'
elif [[ ${1:-} == --fuzz ]]; then
  needs+="
clang                   cmd:clang++
libclang-rt-dev         file:$(clang++ -print-runtime-dir 2>/dev/null)/libclang_rt.fuzzer-$(uname -m).a
"
elif [[ ${1:-} == --test && $(uname -m) != aarch64 ]]; then
  wants='
g++-aarch64-linux-gnu   cmd:aarch64-linux-gnu-g++
qemu-user-static        cmd:qemu-aarch64-static
chromium                cmd:chromium
googletest              file:/usr/src/googletest/googletest/src/gtest-all.cc
'
elif [[ $# -gt 0 && $1 != --test ]]; then
  echo "usage: tools/bootstrap.sh [--demo | --test | --fuzz]" >&2
  exit 2
fi

say() { echo "bootstrap: $*" >&2; }

is_there() {  # PACKAGE PROBE
  local what=${2#*:} path
  case $2 in
    cmd:*) command -v "$what" >/dev/null 2>&1 && return ;;
    lib:*) pkg-config --exists "$what" >/dev/null 2>&1 && return ;;
    file:*)
      IFS=: read -ra paths <<<"$what"
      for path in "${paths[@]}"; do [[ -e $path ]] && return; done
      ;;
  esac
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

find_missing() {  # LIST
  missing=()
  local package probe
  while read -r package probe; do
    [[ -z $package ]] || is_there "$package" "$probe" || missing+=("$package")
  done <<<"$1"
}

at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }  # HAVE WANT

check_versions() {
  local have
  have=$(cmake --version | sed -n '1s/^cmake version //p')
  at_least "$have" 3.25 || { say "CMake 3.25 or newer is needed, $(command -v cmake) is $have; install a newer one."; exit 1; }
  [[ -z ${CXX:-} ]] || return 0
  have=$(g++ -dumpfullversion)
  at_least "$have" 12 || { say "g++ 12 or newer is needed, $(command -v g++) is $have; install a newer one or set CXX."; exit 1; }
}

lists_are_old() {  # true when apt knows no version of some package
  local package policy
  for package in "${missing[@]}"; do
    policy=$(apt-cache policy "$package" 2>/dev/null)
    [[ $policy =~ Candidate:\ [^\(] ]] || return 0
  done
  return 1
}

# "61 packages with their dependencies: 93 MB to download, ...": apt's own figures; the time is at 5 MB/s from the network
# and 10 MB/s of unpacking, which a small virtual machine reaches.
describe_cost() {
  local plan
  plan=$(apt-get "${apt_options[@]}" -o quiet=0 -o Debug::NoLocking=1 --assume-no "${missing[@]}" </dev/null 2>/dev/null || true)
  awk '
    function megabytes(n, unit) { gsub(",", "", n); return n * (unit == "GB" ? 1000 : unit == "kB" ? 0.001 : unit == "B" ? 1e-6 : 1) }
    /^Need to get/ { split($4, part, "/"); get = megabytes(part[1], $5 ~ /\// ? substr($5, 1, 2) : $5) }
    /^After this operation/ { disk = megabytes($4, $5) }
    /newly installed/ { count = $3 }
    END {
      if (count == "") exit
      minutes = int((get / 5 + disk / 10) / 60 + 1)
      printf "%d packages with their dependencies: %.0f MB to download, %.0f MB on disk, about %d minute%s.\n",
             count, get, disk, minutes, minutes == 1 ? "" : "s"
    }' <<<"$plan"
}

install_missing() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "${apt_options[@]}" -y "${missing[@]}" </dev/null >"$log" 2>&1
}
update_lists() {
  say "updating apt's package lists"
  "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update </dev/null >&2 || say "apt-get update failed; continuing with the existing lists"
}

# LIST: installs what is missing of it, or says why not and returns 1.
provide() {
  find_missing "$1"
  [[ ${#missing[@]} -gt 0 ]] || return 0
  if ! command -v apt-get >/dev/null 2>&1; then
    say "missing, by Debian's names: ${missing[*]}"
    say "this system has no apt-get; install your distribution's packages of these, then run this again."
    return 1
  fi
  if [[ $(id -u) -ne 0 ]]; then
    if command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [[ -t 0 && -t 2 ]]; }; then
      as_root=(sudo)
    else
      say "these packages are missing and installing them needs an administrator, who can run:"
      echo "  apt-get update && apt-get install --no-install-recommends -y ${missing[*]}" >&2
      return 1
    fi
  fi

  say "missing: ${missing[*]}"
  if lists_are_old; then update_lists; fi
  say "installing $(describe_cost)"
  if ! install_missing; then
    update_lists  # a version named in an old list is gone from the mirror
    install_missing || { tail -n 30 "$log" >&2; say "apt-get could not install them; its last messages are above."; return 1; }
  fi
  find_missing "$1"
  if [[ ${#missing[@]} -gt 0 ]]; then
    say "still missing after the installation: ${missing[*]}"
    return 1
  fi
  say "done"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt_options=(install --no-install-recommends --no-remove -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
as_root=()
provide "$needs" || exit 1
check_versions
provide "$wants" || say "continuing without them; the tests of the AArch64 kernels are skipped."
