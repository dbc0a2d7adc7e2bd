"""Runs ctest on a build folder with all cores, names every failed case, and says before ctest's summary how many cases ran
and why some were skipped.

One test of ctest can be many cases of GoogleTest; each process writes an XML report into test_results/. The summary of ctest
ends the output.
"""

import collections
import glob
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree

RAN = re.compile(r"\[ RUN      \] (\S+)")
PASSED = re.compile(r"\[       OK \] ")


class Cases:
    """What the XML reports of GoogleTest say."""

    def __init__(self, folder: str):
        self.ran, self.failed, self.reasons = 0, [], collections.Counter()
        for path in sorted(glob.glob(os.path.join(folder, "**", "*.xml"), recursive=True)):
            # APART writes NAME.xml; two programs may have a case of the same name, so the folder says which it was.
            for case in xml.etree.ElementTree.parse(path).iter("testcase"):
                if case.get("status") == "notrun":
                    continue
                self.ran += 1
                skipped = case.find("skipped")
                if skipped is not None:
                    words = skipped.get("message", "").split("\n", 1)[-1]  # the first line is the place in the source
                    self.reasons[" ".join(words.split()) or "no reason given"] += 1
                elif case.find("failure") is not None:
                    self.failed.append(f"{case.get('classname')}.{case.get('name')}")


def other_skips(report: str) -> collections.Counter:
    """Tests of ctest that are no GoogleTest program and did not run, by their last line."""
    reasons = collections.Counter()
    for test in xml.etree.ElementTree.parse(report).iter("testcase"):
        skipped = test.find("skipped")
        output = (test.findtext("system-out") or "").strip()
        if skipped is None or not skipped.get("message", "").startswith("SKIP_") or "[  SKIPPED" in output:
            continue
        reasons[output.splitlines()[-1] if output else "did not run"] += 1
    return reasons


def crashed(report: str) -> list[str]:
    """Cases that a process was in when it ended without a word."""
    names = []
    for test in xml.etree.ElementTree.parse(report).iter("testcase"):
        output = test.findtext("system-out") or ""
        begun = RAN.findall(output)
        if test.get("status") == "fail" and begun and f"] {begun[-1]}" not in output.split(f"[ RUN      ] {begun[-1]}")[-1]:
            names.append(f"{begun[-1]} (the process ended in it)")
    return names


def print_lines(lines) -> list[str]:
    """Prints ctest's output without the cases that passed; returns what comes from "98% tests passed, ..." on."""
    tail, held = [], None
    for line in lines:
        if tail or re.match(r"\d+% tests passed", line):
            tail.append(line)
        elif PASSED.match(line):
            held = None
        elif RAN.match(line):
            held = line
        elif not re.match(r" +Start +\d+: ", line):
            print((held or "") + line, end="", flush=True)
            held = None
    return tail


def main(build: str) -> int:
    build = os.path.abspath(build)
    environment = dict(os.environ)
    if environment.get("METAL_MARLIN_DATA"):  # tests run in other folders
        environment["METAL_MARLIN_DATA"] = os.path.abspath(environment["METAL_MARLIN_DATA"])
    report = os.path.join(build, "tests.xml")
    folders = [os.path.join(build, "test_results"), os.path.join(build, "aarch64", "test_results")]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    command = ["ctest", "--test-dir", build, "--output-on-failure", "-j", str(len(os.sched_getaffinity(0)))]
    ctest = subprocess.Popen(command + ["--output-junit", report], env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, text=True, errors="replace")
    tail = print_lines(ctest.stdout)
    status = ctest.wait()
    lists_begin = next((i for i, line in enumerate(tail) if line.startswith("The following tests")), len(tail))
    print("".join(tail[lists_begin:]), end="")
    if tail:
        cases = [Cases(folder) for folder in folders]
        failed = [name for part in cases for name in part.failed] + crashed(report)
        if failed:
            print("\nFailed cases:\n  " + "\n  ".join(failed))
        reasons = sum((part.reasons for part in cases), other_skips(report))
        if reasons:
            print(f"\nSkipped: {sum(reasons.values())} cases")
            for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
                print(f"  {count:4} x {reason}")
        print(f"\nCases: {sum(part.ran for part in cases)}, {len(failed)} failed, {sum(reasons.values())} skipped")
    print("\n" + "".join(tail[:lists_begin]).strip())
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
