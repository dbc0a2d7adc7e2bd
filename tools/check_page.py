#!/usr/bin/env python3
"""Opens pages that `report generate` wrote in headless Chromium and checks what a reader relies on: no request and no error,
sorting, the picker of models, the filter, charts whose points all have a row, contrast (WCAG 2.1 AA) in light and dark colours,
plain tables without scripts. With --axe, axe-core checks all of its rules of WCAG 2 A and AA as well.

  tools/check_page.py [--axe axe.min.js] index.html...

Ends with 77 and a reason if there is no Chromium.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
SKIPPED = 77
MOST_BYTES = 1_500_000
LONGEST = 900  # seconds

# What a page says about itself, once everything is drawn.
STATE = """(() => {
  drawAll();
  const drawn = charts.flatMap(({chart}) => chart.data.datasets.flatMap((set) => set.rows || []));
  const wanted = data.groups.flatMap((group) => group.rows.filter((row) => !row.baseline && (row.kl?.[0] > 0 || row.ppl)));
  return {
    charts: charts.length,
    tables: tables.length,
    points: drawn.length,
    withoutLine: drawn.filter((row) => linesOf(row).length === 0).map((row) => row.name),
    withoutPoint: wanted.filter((row) => !drawn.includes(row)).map((row) => row.name),
  };
})()"""

# Clicks every header of the first tables twice and looks at the order of the rows. Returns what is wrong.
SORTING = """(() => {
  const wrong = [];
  const keyOf = (head, row) => {
    const text = row.cells[head.cellIndex].textContent.trim();
    return head.classList.contains("n") ? numberOf(text) : text;
  };
  for (const table of tables.slice(0, 15)) {
    const before = table.tBodies[0].rows.length;
    for (const head of table.tHead.rows[0].cells) {
      for (const direction of ["ascending", "descending"]) {
        head.querySelector("button").click();
        if (head.getAttribute("aria-sort") !== direction) wrong.push(`${head.textContent}: not ${direction}`);
        const keys = Array.from(table.tBodies[0].rows, (row) => keyOf(head, row));
        const known = keys.filter((key) => key !== null);
        if (keys.slice(0, known.length).includes(null)) wrong.push(`${head.textContent}: rows without a number are in front`);
        for (let i = 1; i < known.length; ++i) {
          const order = typeof known[i] === "number" ? known[i - 1] - known[i] : known[i - 1].localeCompare(known[i], "en", {numeric: true});
          if (direction === "ascending" ? order > 0 : order < 0) wrong.push(`${head.textContent}: ${known[i - 1]} before ${known[i]}`);
        }
      }
    }
    if (table.tBodies[0].rows.length !== before) wrong.push("rows were lost");
  }
  return wrong;
})()"""

# Chooses each of the first models, then a word; returns what is wrong.
CHOOSING = """(() => {
  const wrong = [];
  const [model] = document.querySelectorAll(".bar select");
  const filter = document.querySelector(".bar input");
  const choose = (value) => { model.value = value; model.dispatchEvent(new Event("change")); };
  const sections = sectionsOfModels();
  const named = new Set(sections.map((section) => section.firstElementChild.textContent));
  if (named.size !== data.models.length) wrong.push(`sections of ${named.size} models, want ${data.models.length}`);
  for (const name of data.models.slice(0, 3)) {
    choose(name);
    const shown = sections.filter((section) => !section.hidden).map((section) => section.firstElementChild.textContent);
    if (shown.length === 0 || shown.some((other) => other !== name)) wrong.push(`with ${name} chosen: ${shown}`);
    for (const table of tables) {
      const column = modelColumn(table);
      for (const row of column < 0 ? [] : table.tBodies[0].rows) {
        if (row.dataset.records && !row.hidden && row.cells[column].textContent !== name) wrong.push(`${name}: a row of another model`);
      }
    }
    drawAll();
    const groups = new Set(charts.flatMap(({chart}) => chart.data.datasets.flatMap((set) => set.rows || [])));
    if (groups.size === 0) wrong.push(`${name}: no points`);
  }
  choose("");
  const rows = () => tables.flatMap((table) => Array.from(table.tBodies[0].rows)).filter((row) => row.dataset.records && !row.hidden && row.cells[0].textContent !== "baseline").length;
  const all = rows();
  filter.value = "no-such-word";
  filter.dispatchEvent(new Event("input"));
  if (rows() !== 0) wrong.push("a word that is nowhere leaves rows");
  const left = charts.flatMap(({chart}) => chart.data.datasets.flatMap((set) => (set.rows ? set.data : [])));
  if (left.some((point) => point !== null && !Number.isNaN(point.y))) wrong.push("a word that is nowhere leaves points");
  const programs = new Set(data.groups.flatMap((group) => group.rows).filter((row) => !row.baseline).flatMap((row) => (row.runs || "").split(", ")).filter(Boolean));
  for (const program of programs) {
    filter.value = program;
    filter.dispatchEvent(new Event("input"));
    for (const row of data.groups.flatMap((group) => group.rows).filter((row) => !row.baseline && row.runs)) {
      const matches = program.toLowerCase().split(" ").every((word) => row.runs.toLowerCase().includes(word));
      if (matches === filtered.has(row) && !row.name.toLowerCase().includes(program.toLowerCase())) wrong.push(`the filter ${program}: ${row.name} runs in ${row.runs}`);
    }
  }
  filter.value = "";
  filter.dispatchEvent(new Event("input"));
  if (rows() !== all) wrong.push("an empty filter hides rows");
  if (charts.some(({chart}) => chart.data.datasets.some((set) => set.all && set.data.some((point, i) => point !== set.all[i])))) wrong.push("an empty filter hides points");
  drawAll();
  return wrong;
})()"""

# Focus of a row marks its points, and a point marks its rows.
LINKING = """(() => {
  const wrong = [];
  const {chart} = charts.find(({chart}) => chart.data.datasets.some((set) => set.rows?.length)) || {};
  if (!chart) return wrong;
  const set = chart.data.datasets.find((set) => set.rows?.length);
  const row = set.rows[0];
  lightPoints(row);
  if (chart.getActiveElements().length === 0) wrong.push("a row marks no point");
  const body = (chart.tooltip.body || []).flatMap((x) => x.lines).join(" ");
  if (!body.includes(row.records[0]) || !body.includes("metal-marlin")) wrong.push("a tooltip names no record or command: " + body);
  if (row.runs && !row.baseline && !body.includes(`runs in ${row.runs}`)) wrong.push("a tooltip names no programs: " + body);
  lightPoints(null);
  lightRows([row]);
  if (document.querySelectorAll("tr.lit").length === 0) wrong.push("a point marks no row");
  lightRows([]);
  showRow(row);
  if (!linesOf(row).includes(document.activeElement)) wrong.push("a click on a point leads to no row");
  return wrong;
})()"""


# Texts whose contrast is below 4.5 (3 for large ones), by the formula of WCAG 2.1.
CONTRAST = """(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((x) => (x / 255 <= 0.03928 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = (element) => {
    for (let x = element; x; x = x.parentElement) {
      const color = parse(getComputedStyle(x).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const wrong = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (node.data.trim() === "" || element.getClientRects().length === 0) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(parse(style.color)), light(back(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    if (ratio < (size >= 24 || (bold && size >= 18.66) ? 3 : 4.5)) wrong.add(`contrast ${ratio.toFixed(2)} of ${element.tagName} "${node.data.trim().slice(0, 30)}"`);
  }
  return [...wrong];
})()"""

AXE = """axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}).then((result) =>
  result.violations.flatMap((x) => x.nodes.slice(0, 3).map((node) => `axe ${x.id}: ${node.target} ${node.failureSummary.split("\\n")[1]}`)))"""


class Browser:
    """Chromium, driven through its DevTools pipe."""

    def __init__(self, program: str):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)

        def pipes():
            # 3 and 4 are where Chromium looks; neither may be overwritten before it is copied.
            a, b = os.dup(to_browser), os.dup(from_browser)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self._process = subprocess.Popen(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
             "--host-resolver-rules=MAP * ~NOTFOUND", "--no-first-run", "--disable-background-networking",
             f"--user-data-dir={self.folder.name}", "--window-size=1280,2000", "about:blank"],
            preexec_fn=pipes, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self._rest, self._last, self.events = b"", 0, []
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = None
        self._session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self.folder.cleanup()

    def _next(self) -> dict:
        while b"\0" not in self._rest:
            more = os.read(self._read, 1 << 20)
            if not more:
                raise RuntimeError("Chromium ended")
            self._rest += more
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method: str, params: dict | None = None) -> dict:
        self._last += 1
        message = {"id": self._last, "method": method, "params": params or {}}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method: str):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next())

    def open(self, url: str):
        self.events.clear()
        self.call("Page.navigate", {"url": url})
        self.wait_for("Page.loadEventFired")

    def run(self, script: str):
        answer = self.call("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:600])
        return answer["result"].get("value")

    def problems(self, url: str) -> list[str]:
        """Requests other than of the page, errors of scripts, errors that the browser logs."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            match event.get("method"):
                case "Network.requestWillBeSent" if params["request"]["url"] != url and not params["request"]["url"].startswith("data:"):
                    found.append("a request: " + params["request"]["url"])
                case "Runtime.exceptionThrown":
                    details = params["exceptionDetails"]
                    found.append("an exception: " + details.get("exception", {}).get("description", details["text"]))
                case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                    found.append("on the console: " + json.dumps(params["args"])[:300])
                case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                    found.append("logged: " + params["entry"]["text"])
        return found


def check(browser: Browser, page: pathlib.Path, axe: str) -> list[str]:
    url = page.resolve().as_uri()
    found = []
    if page.stat().st_size > MOST_BYTES:
        found.append(f"{page.stat().st_size} bytes, want at most {MOST_BYTES}")
    browser.open(url)
    state = browser.run(STATE)
    for what in ("withoutLine", "withoutPoint"):
        if state[what]:
            found.append(f"{what}: {state[what]}")
    if browser.run("data.groups.length") > 0:
        found += browser.run(LINKING) + browser.run(SORTING) + browser.run(CHOOSING)
        for look in ("light", "dark"):
            browser.run(f"document.documentElement.dataset.theme = '{look}'; redraw();")
            browser.run(axe)
            found += [f"{look}: {problem}" for problem in browser.run(CONTRAST) + (browser.run(AXE) if axe else [])]
        browser.run("for (const fold of document.querySelectorAll('details')) fold.open = true; drawAll();")
    found += browser.problems(url)
    browser.call("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.open(url)
    browser.call("Emulation.setScriptExecutionDisabled", {"value": False})
    if browser.run("document.querySelectorAll('main table').length") != state["tables"]:
        found.append("without scripts: tables are missing")
    if browser.run("document.querySelectorAll('.bar, [hidden]').length") != 0:
        found.append("without scripts: controls that do nothing, or hidden parts")
    print(f"{page}: {page.stat().st_size} bytes, {state['tables']} tables, {state['charts']} charts, {state['points']} points: "
          f"{'; '.join(found) or 'as it should be'}")
    return found


def main() -> int:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        print("there is no Chromium; tools/bootstrap.sh --test installs it")
        return SKIPPED
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axe", type=pathlib.Path)
    parser.add_argument("pages", type=pathlib.Path, nargs="+")
    options = parser.parse_args()
    axe = options.axe.read_text() if options.axe else ""
    signal.alarm(LONGEST)  # a browser that hangs ends the check
    browser = Browser(program)
    try:
        return int(any([check(browser, page, axe) for page in options.pages]))
    finally:
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
