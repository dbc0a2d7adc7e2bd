"""Runs ctest on a build folder with all cores and says, before ctest's summary, why tests were skipped.

ctest lists skipped tests without their reasons and prints the lists after its summary. Here the summary is last.
"""

import collections
import os
import re
import subprocess
import sys
import xml.etree.ElementTree


def skip_reasons(report: str) -> collections.Counter:
    reasons = collections.Counter()
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        skipped = case.find("skipped")
        if skipped is None or not skipped.get("message", "").startswith("SKIP_"):  # a missing program is a failure
            continue
        output = (case.findtext("system-out") or "").strip()
        found = re.search(r": Skipped\n(.*?)\n+\[  SKIPPED", output, re.DOTALL)  # GoogleTest's wording
        reason = found[1] if found else output.splitlines()[-1] if output else "did not run"
        reasons[" ".join(reason.split())] += 1
    return reasons


def main(build: str) -> int:
    environment = dict(os.environ)
    if environment.get("METAL_MARLIN_DATA"):  # tests run in other folders
        environment["METAL_MARLIN_DATA"] = os.path.abspath(environment["METAL_MARLIN_DATA"])
    report = os.path.join(os.path.abspath(build), "tests.xml")
    command = ["ctest", "--test-dir", build, "--output-on-failure", "-j", str(len(os.sched_getaffinity(0)))]
    ctest = subprocess.Popen(command + ["--output-junit", report], env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, text=True, errors="replace")
    tail = []  # from the line "98% tests passed, ..." on
    for line in ctest.stdout:
        if tail or re.match(r"\d+% tests passed", line):
            tail.append(line)
        elif not re.match(r" +Start +\d+: ", line):
            print(line, end="", flush=True)
    status = ctest.wait()
    lists_begin = next((i for i, line in enumerate(tail) if line.startswith("The following tests")), len(tail))
    print("".join(tail[lists_begin:]), end="")
    reasons = skip_reasons(report) if tail else {}
    if reasons:
        print(f"\nSkipped: {sum(reasons.values())} tests")
        for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
            print(f"  {count:4} x {reason}")
    print("\n" + "".join(tail[:lists_begin]).strip())
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
