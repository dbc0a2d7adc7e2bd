#!/usr/bin/env bash
# Runs fuzz targets for SECONDS each, as many side by side as there are cores, and prints what each of them did.
#   tools/fuzz.sh SECONDS [TARGET...]
# FUZZ_PROGRAMS: folder of the programs (build/fuzz/fuzz). FUZZ_OUT: where everything new goes (build/fuzz-out): inputs that
# reached new code in corpus/TARGET, findings in found/, logs in logs/. FUZZ_COPIES: processes for each target (1).
# Fails when there is a finding. A target that has one goes on after it, up to 10 times.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C UBSAN_OPTIONS=print_stacktrace=1
seeds=$PWD/fuzz
programs=${FUZZ_PROGRAMS:-build/fuzz/fuzz} out=${FUZZ_OUT:-build/fuzz-out} copies=${FUZZ_COPIES:-1}

if [[ ! ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: tools/fuzz.sh SECONDS [TARGET...]" >&2
  exit 2
fi
seconds=$1
shift
targets=("$@")
if [[ $# -eq 0 ]]; then targets=($(cd "$seeds/corpus" && echo *)); fi
for target in "${targets[@]}"; do
  if [[ ! -x $programs/fuzz_$target ]]; then
    echo "fuzz: there is no target $target ($programs/fuzz_$target); targets are: $(cd "$seeds/corpus" && echo *)" >&2
    exit 2
  fi
done

# TARGET COPY: one process at a time until the seconds are over.
fuzz_one() {
  local target=$1 log=$out/logs/$1.$2.log end=$((SECONDS + seconds)) dictionary=$seeds/dictionaries/$1.dict tries=0
  local options=(-max_len=16384 -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 -print_final_stats=1 -reload=10
    "-artifact_prefix=$out/found/$target-")
  if [[ -e $dictionary ]]; then options+=("-dict=$dictionary"); fi
  : >"$log"
  while ((SECONDS < end && tries++ < 10)); do
    "$programs/fuzz_$target" "${options[@]}" -max_total_time=$((end - SECONDS)) \
      "$out/corpus/$target" "$seeds/corpus/$target" >>"$log" 2>&1 && break
  done
  times >"$log.times"  # not in a pipe, whose shell has no children
  awk 'NR == 2 { split($0, t, /[ms ]+/); print "cpu seconds:", t[1] * 60 + t[2] + t[3] * 60 + t[4] }' "$log.times" >>"$log"
}

summary() {  # TARGET
  local found
  found=$(find "$out/found" -name "$1-*" | wc -l)
  cat "$out/logs/$1".*.log | awk -v target="$1" -v found="$found" -v seeds="$(find "$seeds/corpus/$1" -type f | wc -l)" \
    -v grown="$(find "$out/corpus/$1" -type f | wc -l)" '
    /^stat::number_of_executed_units/ { runs += $2 }
    /^cpu seconds/ { cpu += $3 }
    END { printf "%-12s %12d %10.0f %12d %7d %7d %9d\n", target, runs, cpu, cpu ? runs / cpu : 0, seeds, grown, found }'
}

mkdir -p "$out/found" "$out/logs"
out=$(cd "$out" && pwd)
programs=$(cd "$programs" && pwd)
temporary=$(mktemp -d "$([[ -w /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")/marlin-fuzz-XXXXXX")
trap 'rm -rf "$temporary"' EXIT
trap 'exit 130' INT TERM
export TMPDIR=$temporary
side_by_side=$(nproc)
((copies == 1)) || side_by_side=$((copies * ${#targets[@]}))
for target in "${targets[@]}"; do
  mkdir -p "$out/corpus/$target"
  for ((copy = 0; copy < copies; copy++)); do
    while (($(jobs -rp | wc -l) >= side_by_side)); do wait -n; done
    fuzz_one "$target" "$copy" &
  done
done
wait

printf '%-12s %12s %10s %12s %7s %7s %9s\n' target executions 'CPU s' 'per CPU s' seeds grown findings
for target in "${targets[@]}"; do summary "$target"; done
if [[ -n $(ls "$out/found") ]]; then
  echo "fuzz: findings in $out/found; run one again with $programs/fuzz_TARGET FILE, the logs are in $out/logs" >&2
  exit 1
fi
