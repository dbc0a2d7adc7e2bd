"""Fails when a file under src/ includes a room that its own room may not include (ARCHITECTURE.md, "Rooms")."""

import pathlib
import re
import sys

ALLOWED = {
    "base": "",
    "formats": "base",
    "files": "base formats",
    "text": "base formats files",
    "hub": "base",
    "kernels": "base formats",
    "model": "base formats files text kernels",
    "quantize": "base formats files text kernels model",
    "eval": "base formats files text kernels model",
    "bench": "base formats files text kernels model",
    "records": "base",
    "report": "base formats records",
    "study": "base formats files text hub kernels model quantize eval bench records report",
    "cli": "base formats files text hub kernels model quantize eval bench records report study",
}

# Headers that give pointers into device memory: for backends alone.
PRIVATE = {"kernels/host_buffer.h"}


def check(root: pathlib.Path) -> int:
    bad = 0
    for path in sorted(root.rglob("*")):
        if path.suffix not in {".h", ".cc", ".cu", ".cuh", ".metal", ".mm", ".inc"}:
            continue
        room = path.relative_to(root).parts[0]
        if room not in ALLOWED:
            print(f"{path}: {room} is not a room")
            bad += 1
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
            if not found:
                continue
            target = found[1].split("/")[0]
            if "/" not in found[1] and found[1] != "version_info.h":
                print(f'{path}:{number}: write includes as "room/file.h", not "{found[1]}"')
                bad += 1
            elif "/" in found[1] and target != room and target not in ALLOWED[room].split():
                print(f"{path}:{number}: {room} must not include {target}")
                bad += 1
            elif found[1] in PRIVATE and target != room:
                print(f"{path}:{number}: {found[1]} is for {target} alone")
                bad += 1
    return bad


if __name__ == "__main__":
    sys.exit(check(pathlib.Path(sys.argv[1])) != 0)
