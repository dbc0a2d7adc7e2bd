#!/usr/bin/env python3
"""Checks that this program and huggingface_hub read each other's cache, against a small Hub on the loopback interface.

Usage:
  check_hub.py build/release/metal-marlin [models/minnow]        # exit 0 when everything fits

1. The program pulls; huggingface_hub finds every file offline, and downloads only what the program left out.
2. huggingface_hub downloads; the program opens the model, and has nothing left to pull.
3. huggingface_hub holds the lock of a file; the program waits for it.
Needs `pip install huggingface_hub`.
"""
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

REPOSITORY, COMMIT = "org/minnow", "1" * 40
LARGE = 10_000  # bytes from which a file lies on the second server


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Hub:
    """Two servers: the Hub, and the one that it redirects to for large files."""

    def __init__(self, folder: pathlib.Path):
        self.files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self.requests = []
        self.cdn = self.serve(self.answer_cdn)
        self.hub = self.serve(self.answer_hub)

    def serve(self, answer) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    def send(self, handler, status: int, body: bytes = b"", **headers) -> None:
        self.requests.append((handler.command, handler.path))
        handler.send_response(status)
        for name, value in ({"Content-Length": len(body)} | headers).items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body)

    def answer_hub(self, handler) -> None:
        path = urllib.parse.urlsplit(handler.path).path
        api = f"/api/models/{REPOSITORY}"
        if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            return self.send(handler, 200, json.dumps(self.info()).encode(), Content_Type="application/json")
        if path in (f"{api}/tree/main", f"{api}/tree/{COMMIT}"):
            return self.send(handler, 200, json.dumps(self.tree()).encode(), Content_Type="application/json")
        parts = path.removeprefix(f"/{REPOSITORY}/resolve/").split("/", 1)
        if len(parts) == 2 and parts[0] in ("main", COMMIT) and parts[1] in self.files:
            data = self.files[parts[1]]
            if len(data) < LARGE:
                return self.send(handler, 200, data, ETag=f'"{git_hash(data)}"', X_Repo_Commit=COMMIT)
            linked = {"X_Linked_Etag": f'"{sha256(data)}"', "X_Linked_Size": len(data), "X_Repo_Commit": COMMIT}
            return self.send(handler, 302, Location=f"{self.cdn}/{parts[1]}", **linked)
        return self.send(handler, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)

    def answer_cdn(self, handler) -> None:
        data = self.files[handler.path[1:]]
        self.send(handler, 200, data, ETag=f'"{sha256(data)}"')

    def lfs(self, data: bytes, key: str):
        return {key: sha256(data), "size": len(data), "pointerSize": 130} if len(data) >= LARGE else None

    def info(self) -> dict:
        siblings = [
            {"rfilename": name, "size": len(data), "blobId": git_hash(data)}
            | ({"lfs": self.lfs(data, "sha256")} if len(data) >= LARGE else {})
            for name, data in self.files.items()
        ]
        return {"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "private": False, "siblings": siblings}

    def tree(self) -> list:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": git_hash(data)}
            | ({"lfs": self.lfs(data, "oid")} if len(data) >= LARGE else {})
            for name, data in self.files.items()
        ]

    def downloads(self) -> list:
        found = [path for command, path in self.requests if command == "GET" and "/api/" not in path]
        self.requests.clear()
        return found


def expect(what: str, holds) -> None:
    print(("ok     " if holds else "FAILED ") + what)
    if not holds:
        sys.exit(1)


def main() -> None:
    program = os.path.abspath(sys.argv[1])
    model = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "models/minnow")
    hub = Hub(model)
    with tempfile.TemporaryDirectory(prefix="check-hub-") as folder:
        check(program, hub, pathlib.Path(folder))


def check(program: str, hub: Hub, folder: pathlib.Path) -> None:
    os.environ |= {"HF_ENDPOINT": hub.hub, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1",
                   "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        os.environ.pop(name, None)
    import huggingface_hub
    from huggingface_hub.utils import WeakFileLock

    def run(cache: pathlib.Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run([program, *words], capture_output=True, text=True, cwd=folder,
                              env=os.environ | {"HF_HUB_CACHE": str(cache)} | environment)

    ours = folder / "ours"
    pulled = run(ours, "pull", REPOSITORY, "--json")
    expect("the program pulls " + pulled.stderr.strip(), pulled.returncode == 0)
    names = [file["name"] for file in json.loads(pulled.stdout)["files"]]
    expect(f"files: {', '.join(names)}", {"config.json", "model.safetensors", "tokenizer.json"} <= set(names))
    hub.downloads()
    found = pathlib.Path(huggingface_hub.snapshot_download(REPOSITORY, cache_dir=ours, local_files_only=True))
    expect("huggingface_hub finds the snapshot offline", found.name == COMMIT)
    for name in names:
        path = huggingface_hub.hf_hub_download(REPOSITORY, name, cache_dir=ours, local_files_only=True)
        expect(f"huggingface_hub finds {name} offline", pathlib.Path(path).read_bytes() == hub.files[name])
    scan = huggingface_hub.scan_cache_dir(ours)
    expect("huggingface_hub lists the cache without warnings", not scan.warnings and len(scan.repos) == 1)
    expect("the branch is known", list(list(scan.repos)[0].refs) == ["main"])
    expect("nothing was downloaded for that", not hub.downloads())
    huggingface_hub.snapshot_download(REPOSITORY, cache_dir=ours)
    rest = hub.downloads()
    expect(f"huggingface_hub downloads only the rest: {rest}",
           sorted(os.path.basename(path) for path in rest) == sorted(set(hub.files) - set(names)))

    theirs = folder / "theirs"
    huggingface_hub.snapshot_download(REPOSITORY, cache_dir=theirs)
    hub.downloads()
    shown = run(theirs, "inspect", REPOSITORY, "--json", HF_ENDPOINT="http://127.0.0.1:1")
    expect("the program opens what huggingface_hub wrote " + shown.stderr.strip(),
           shown.returncode == 0 and json.loads(shown.stdout)["name"] == REPOSITORY)
    expect("and finds its hashes right", run(theirs, "verify", REPOSITORY).returncode == 0)
    expect("offline too", run(theirs, "pull", REPOSITORY, HF_HUB_OFFLINE="1").returncode == 0)
    again = run(theirs, "pull", REPOSITORY, "--json")
    expect("and has nothing left to pull", json.loads(again.stdout)["missing_bytes"] == 0 and not hub.downloads())

    shared = folder / "shared"
    weights = sha256(hub.files["model.safetensors"])
    lock = shared / ".locks" / ("models--" + REPOSITORY.replace("/", "--")) / (weights + ".lock")
    lock.parent.mkdir(parents=True)
    with WeakFileLock(lock):
        waiting = subprocess.Popen([program, "pull", REPOSITORY], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   text=True, cwd=folder, env=os.environ | {"HF_HUB_CACHE": str(shared)})
        said = next((line for line in waiting.stderr if "waiting for it" in line), "")
        expect("the program waits for a lock of huggingface_hub: " + said.strip(), "waiting for it" in said)
        time.sleep(0.3)
        expect("and does not go on before", waiting.poll() is None)
    expect("but after", waiting.wait(60) == 0)


if __name__ == "__main__":
    main()
