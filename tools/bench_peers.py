"""Runs `metal-marlin bench throughput` and the llama-bench of other programs, interleaved, and prints one table.

    python tools/bench_peers.py --ours PROGRAM MODEL [--config fp4-g128] --peer NAME LLAMA_BENCH MODEL.gguf [--peer ...]

    python tools/bench_peers.py --ours build/release/metal-marlin model-f16.gguf --config fp4-g128 \\
        --peer llama.cpp ~/llama.cpp/build/bin/llama-bench model-q4_0.gguf \\
        --peer ik_llama.cpp "~/ik_llama.cpp/build/bin/llama-bench -rtr 1" model-q4_0.gguf -t 2

LLAMA_BENCH is a command, so it may have options of its own; it must print JSON. In every round each program starts in a fresh process,
warms up, and runs pp and tg once, A B C A B C ..., so that changes of the machine's speed affect all of them. The table shows medians over
the rounds, their range, and the ratio of the medians. Speeds of different models are not comparable: give files of the same shape.
"""

import argparse
import dataclasses
import json
import os
import shlex
import statistics
import subprocess
import sys


@dataclasses.dataclass
class Sample:
    commit: str
    weights: str
    threads: int
    tok_s: dict[str, float]  # by test: "pp512"


@dataclasses.dataclass
class Contestant:
    name: str
    command: list[str]
    model: str
    read: object  # text -> Sample
    samples: list[Sample] = dataclasses.field(default_factory=list)


def words_of(command: str) -> list[str]:
    return [os.path.expanduser(word) for word in shlex.split(command)]


def run(name: str, command: list[str]) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        sys.exit(f"{name}: {command[0]}: {error.strerror}")


def output_of(name: str, command: list[str]) -> str:
    done = run(name, command)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        sys.exit(f"{name}: exit code {done.returncode} of {shlex.join(command)}: {' '.join(last)}")
    return done.stdout


def parse(name: str, text: str, start: str):
    try:
        return json.loads(text[text.index(start):])
    except ValueError:
        sys.exit(f"{name}: want JSON on its standard output, got {text[:200]!r}")


def read_ours(text: str) -> Sample:
    document = parse("ours", text, "{")
    rows = document["rows"]
    return Sample(document["commit"], rows[0]["weights"], document["threads"],
                  {row["test"]: row["median_tok_s"] for row in rows})


def read_peer(text: str) -> Sample:
    rows = parse("peer", text, "[")
    first = rows[0]
    speeds = {f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}": row["avg_ts"] for row in rows}
    return Sample(str(first["build_commit"]), first["model_type"], int(first["n_threads"]), speeds)


def mmap_words(name: str, command: list[str], mmap: int) -> list[str]:
    """Older builds and ik_llama.cpp take --mmap, newer ones --load-mode."""
    done = run(name, [*command, "--help"])
    usage = done.stdout + done.stderr
    if "--mmap" in usage:
        return ["--mmap", str(mmap)]
    if "--load-mode" in usage:
        return ["--load-mode", "mmap" if mmap else "none"]
    sys.exit(f"{name}: the usage of {shlex.join(command)} names neither --mmap nor --load-mode")


def contestants(options: argparse.Namespace) -> list[Contestant]:
    lengths = ["-p", str(options.prompt), "-n", str(options.generate), "-r", "1"]
    program, model = options.ours
    ours = [*words_of(program), "bench", "throughput", model, *lengths, "--threads", str(options.threads), "--no-limits",
            "--json", "-q", *words_of(options.our_options)]
    if options.config:
        ours += ["--config", options.config]
    found = [Contestant("metal-marlin", ours, model, read_ours)]
    for name, bench, model in options.peer:
        command = words_of(bench)
        peer = [*command, "-m", model, *lengths, "-t", str(options.threads), "-o", "json",
                *mmap_words(name, command, options.mmap)]
        found.append(Contestant(name, peer, model, read_peer))
    return found


def take_sample(one: Contestant, options: argparse.Namespace) -> Sample:
    text = output_of(one.name, one.command)
    try:
        sample = one.read(text)
    except (KeyError, IndexError, TypeError) as error:
        sys.exit(f"{one.name}: {one.command[0]} prints JSON, but not that of llama-bench ({type(error).__name__}: {error})")
    if sample.threads != options.threads:
        sys.exit(f"{one.name}: ran with {sample.threads} threads, want {options.threads}")
    tests = [f"{kind}{count}" for kind, count in (("pp", options.prompt), ("tg", options.generate)) if count > 0]
    if sorted(sample.tok_s) != sorted(tests):
        sys.exit(f"{one.name}: timed {', '.join(sample.tok_s) or 'nothing'}, want {', '.join(tests)}")
    return sample


def measure(all_of_them: list[Contestant], options: argparse.Namespace) -> None:
    for number in range(options.rounds):
        for one in all_of_them:
            print(f"round {number + 1}/{options.rounds}: {one.name}", file=sys.stderr)
            one.samples.append(take_sample(one, options))


def digits(x: float) -> str:
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def table(all_of_them: list[Contestant]) -> str:
    tests = list(all_of_them[0].samples[0].tok_s)
    ours = all_of_them[0]
    lines = ["| program | commit | model | weights | threads | " + " | ".join(f"{test} tok/s" for test in tests) + " | " +
             " | ".join(f"ours / this, {test}" for test in tests) + " |",
             "| --- | --- | --- | --- | ---: |" + " ---: |" * (2 * len(tests))]

    def median(one: Contestant, test: str) -> float:
        return statistics.median(sample.tok_s[test] for sample in one.samples)

    for one in all_of_them:
        first = one.samples[0]
        cells = [one.name, first.commit, os.path.basename(one.model.rstrip("/")), first.weights, str(first.threads)]
        for test in tests:
            speeds = [sample.tok_s[test] for sample in one.samples]
            cells.append(f"{digits(median(one, test))} [{digits(min(speeds))}, {digits(max(speeds))}]")
        for test in tests:
            cells.append("" if one is ours else f"{median(ours, test) / median(one, test):.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", nargs=2, required=True, metavar=("PROGRAM", "MODEL"))
    parser.add_argument("--config", help="round the linear layers of our model into this configuration")
    parser.add_argument("--our-options", default="", metavar="WORDS", help="more options of bench throughput, as one word")
    parser.add_argument("--peer", nargs=3, action="append", required=True, metavar=("NAME", "LLAMA_BENCH", "MODEL"))
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--generate", type=int, default=128)
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mmap", type=int, choices=(0, 1), default=0, help="of the peers; this program never runs on mapped weights")
    options = parser.parse_args()
    if options.rounds < 1 or (options.prompt < 1 and options.generate < 1):
        parser.error("want at least one round and one token")

    all_of_them = contestants(options)
    measure(all_of_them, options)
    print(f"{options.rounds} rounds in turn, one run of each test after a warm-up; median tok/s [least, most]; "
          f"memory-mapping of the peers {'on' if options.mmap else 'off'}\n")
    print(table(all_of_them))
    return 0


if __name__ == "__main__":
    sys.exit(main())
