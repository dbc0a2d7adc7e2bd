// Puts the page together: the bar of controls, charts where they belong, links between rows and points.

const data = JSON.parse(document.getElementById("data").textContent);
const tables = Array.from(document.querySelectorAll("main table"));
const rowsOfRecord = new Map();  // id -> lines of tables
for (const table of tables) {
  for (const line of table.tBodies[0].rows) {
    for (const id of (line.dataset.records || "").split(" ").filter(Boolean)) {
      if (!rowsOfRecord.has(id)) rowsOfRecord.set(id, []);
      rowsOfRecord.get(id).push(line);
    }
  }
}
const groupOfRecord = new Map(data.groups.flatMap((group) => group.rows.map((row) => [row.records[0], group])));
const rowOfRecord = new Map(data.groups.flatMap((group) => group.rows.map((row) => [row.records[0], row])));

function linesOf(row) {
  return row.records.flatMap((id) => rowsOfRecord.get(id) || []);
}

// Those that show no other row beside it.
function ownLinesOf(row) {
  return linesOf(row).filter((line) => line.dataset.records.split(" ").every((id) => row.records.includes(id)));
}

// The programs that run what a line shows; only the table of a model has them in a column.
const runsOfRecord = new Map(data.groups.flatMap((group) => group.rows.flatMap((row) => row.records.map((id) => [id, row.runs]))));

function runsOfLine(line) {
  return (line.dataset.records || "").split(" ").map((id) => runsOfRecord.get(id) || "").join(" ");
}

function lightRows(rows) {
  for (const line of document.querySelectorAll("tr.lit")) line.classList.remove("lit");
  for (const row of rows) for (const line of linesOf(row)) line.classList.add("lit");
}

// Scrolls to the line of the first table that shows the row, if possible in the section of its model.
function showRow(row) {
  const shown = linesOf(row).filter((x) => x.offsetParent !== null);
  const line = shown.find((x) => modelColumn(x.closest("table")) < 0) || shown[0] || linesOf(row)[0];
  if (!line) return;
  for (let fold = line.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  line.scrollIntoView({ block: "center" });
  line.focus({ preventScroll: true });
}

// Marks the points of a row in all charts that are drawn; none for null.
function lightPoints(row) {
  for (const { chart } of charts) {
    const active = [];
    if (row) {
      chart.data.datasets.forEach((set, datasetIndex) => {
        (set.rows || []).forEach((own, index) => {
          if (own === row && !filtered.has(row) && chart.isDatasetVisible(datasetIndex)) active.push({ datasetIndex, index });
        });
      });
    }
    if (active.length === 0 && chart.getActiveElements().length === 0) continue;
    chart.setActiveElements(active);
    chart.tooltip.setActiveElements(active, active.length ? chart.getDatasetMeta(active[0].datasetIndex).data[active[0].index] : { x: 0, y: 0 });
    chart.update();
  }
}

// Draws when the box comes near the screen, so that a page of many models opens at once.
const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) drawPending(entry.target);
}, { rootMargin: "400px" });

function later(box, paint) {
  pending.set(box, paint);
  observer.observe(box);
}

function drawPending(box) {
  const paint = pending.get(box);
  if (!paint) return;
  pending.delete(box);
  observer.unobserve(box);
  paint(box);
}

function drawAll() {
  const visible = () => [...pending.keys()].filter((box) => !box.closest("[hidden]"));
  for (let boxes = visible(); boxes.length > 0; boxes = visible()) boxes.forEach(drawPending);
}

// Takes back what was to be drawn into a box, and what was drawn.
function clear(box) {
  for (const waiting of [...pending.keys()].filter((x) => box.contains(x))) {
    observer.unobserve(waiting);
    pending.delete(waiting);
  }
  forget(box);
}

function newBox(className) {
  const box = document.createElement("div");
  box.className = className;
  return box;
}

// A chart in front of the first table of each group that lies in a section of its own.
function placeGroupCharts() {
  const placed = new Set();
  for (const table of tables) {
    if (modelColumn(table) >= 0 || table.closest("details")) continue;
    const ids = Array.from(table.tBodies[0].rows, (line) => (line.dataset.records || "").split(" ")[0]);
    const group = ids.map((id) => groupOfRecord.get(id)).find(Boolean);
    if (!group || placed.has(group) || figuresOf(group.rows).length === 0) continue;
    placed.add(group);
    const box = newBox("chart");
    table.closest(".table").before(box);
    later(box, (inner) => drawGroup(inner, group));
  }
}

// The figures of the section of plots, for one model or (-1) for all.
function placePlots(model) {
  const groups = data.groups.filter((group) => model < 0 || group.model === model);
  for (const figure of document.querySelectorAll("figure[data-plot]")) {
    const paint = kPlots[figure.dataset.plot];
    if (!paint) continue;
    for (const old of figure.querySelectorAll(":scope > .chart")) {
      clear(old);
      old.remove();
    }
    const box = newBox("chart");
    figure.append(box);
    later(box, (inner) => paint(inner, groups));
  }
}

function sectionsOfModels() {
  const names = new Set(data.models);
  return Array.from(document.querySelectorAll("main section section")).filter((section) => names.has(section.firstElementChild.textContent));
}

function makeBar() {
  const bar = newBox("bar");
  const model = choice("Model", [["", "all models"], ...data.models.map((name) => [name, name])], "");
  const label = document.createElement("label");
  const filter = document.createElement("input");
  filter.type = "search";
  filter.placeholder = "int4 llama.cpp";
  label.append("Rows with ", filter);
  const look = choice("Colours", [["", "as the system"], ["light", "light"], ["dark", "dark"]], "");
  const count = document.createElement("output");
  const sections = sectionsOfModels();
  // Charts show the rows that the words leave in the tables.
  const thinAll = (words) => {
    const before = filtered.size;
    filtered.clear();
    for (const row of data.groups.flatMap((group) => group.rows)) {
      if (words.length > 0 && !row.baseline && ownLinesOf(row).every((line) => line.hidden)) filtered.add(row);
    }
    if (before === 0 && filtered.size === 0) return;
    for (const { chart } of charts) {
      thin(chart);
      chart.update();
    }
  };
  const apply = () => {
    for (const section of sections) section.hidden = model.select.value !== "" && section.firstElementChild.textContent !== model.select.value;
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    filterRows(tables, model.select.value, words, runsOfLine);
    thinAll(words);
    for (const item of document.querySelectorAll("main section > ul > li")) {
      const other = data.models.find((name) => item.textContent.startsWith(name + ": "));
      item.hidden = model.select.value !== "" && other !== undefined && other !== model.select.value;
    }
    const all = data.groups.flatMap((group) => group.rows);
    const shown = all.filter((row) => ownLinesOf(row).some((line) => line.offsetParent !== null));
    count.textContent = `${shown.length} of ${all.length} rows`;
  };
  model.select.addEventListener("change", () => {
    apply();
    placePlots(data.models.indexOf(model.select.value));
  });
  filter.addEventListener("input", apply);
  look.select.addEventListener("change", () => {
    document.documentElement.dataset.theme = look.select.value;
    redraw();
  });
  bar.append(model.label, label, look.label, count);
  document.body.prepend(bar);
  apply();
}

// Charts take their colours when they are drawn.
function redraw() {
  for (const { chart } of charts) {
    for (const scale of Object.values(chart.options.scales)) {
      scale.title.color = scale.ticks.color = theme("--fore");
      scale.grid.color = theme("--line");
    }
    chart.options.plugins.legend.labels.color = theme("--fore");
    chart.update();
  }
}

function linkRows() {
  for (const [id, lines] of rowsOfRecord) {
    const row = rowOfRecord.get(id);
    if (!row) continue;
    for (const line of lines) {
      line.tabIndex = 0;
      for (const event of ["mouseenter", "focus"]) line.addEventListener(event, () => lightPoints(row));
      for (const event of ["mouseleave", "blur"]) line.addEventListener(event, () => lightPoints(null));
    }
  }
}

// Links to the sections of the page, below its title.
function makeContents() {
  const list = document.createElement("ul");
  list.className = "contents";
  document.querySelectorAll("main > section > section > h2").forEach((head, index) => {
    head.parentElement.id = `s${index + 1}`;
    const link = document.createElement("a");
    link.href = `#s${index + 1}`;
    link.textContent = head.textContent;
    const item = document.createElement("li");
    item.append(link);
    list.append(item);
  });
  const frame = document.createElement("nav");
  frame.setAttribute("aria-label", "Sections");
  frame.append(list);
  document.querySelector("h1").after(frame);
}

makeContents();
tables.forEach(makeSortable);
linkRows();
placeGroupCharts();
placePlots(-1);
if (data.groups.length > 0) makeBar();
window.addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  drawAll();
  for (const { chart } of charts) chart.resize();
});
window.addEventListener("afterprint", () => {
  for (const { chart } of charts) chart.resize();
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
