// Charts of the data that the page holds. Each point names the record of its row.

const kColors = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7f7f7f", "#8c564b", "#332288", "#e69f00", "#117733", "#882255"];
const kShapes = ["circle", "rect", "triangle", "rectRot", "star", "crossRot", "rectRounded"];
const kMostNamed = 12;  // entries of a legend

const kX = {
  bytes: { title: "size of the model, MB", of: (row) => row.bytes / 1e6, less: true },
  bits: { title: "bits per weight of the quantized tensors", of: (row) => row.bits, less: true },
  ratio: { title: "compression (16-bit bytes / bytes)", of: (row) => row.ratio, less: false },
};
const kY = {
  kl: { title: "mean KL from the baseline, 1e-3 nats per token", of: (row) => thousandths(row.kl), scale: "logarithmic" },
  ppl: { title: "perplexity delta, %", of: (row) => row.ppl, scale: "linear" },
};

// Nats as the tables show them.
function thousandths(values) {
  return values && values.map((x) => (x === null ? null : 1e3 * x));
}

const charts = [];        // {chart, box}
const filtered = new Set();  // rows that the filter hides
const pending = new Map();  // box -> function that draws into it

function theme(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function digits(x) {
  return x === null || x === undefined ? "not measured" : Number(x.toPrecision(4)).toString();
}

function interval(x, unit) {
  if (!x) return "not measured";
  return digits(x[0]) + unit + (x[1] === null ? "" : ` [${digits(x[1])}, ${digits(x[2])}]`);
}

// Lines of at most `width` characters.
function wrap(text, width) {
  const lines = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + word.length >= width) {
      lines.push(line);
      line = "  ";
    }
    line += (line.trim() === "" ? "" : " ") + word;
  }
  return lines.concat(line);
}

// The appendix has the whole of a long command.
function shorten(lines) {
  return lines.length <= 4 ? lines : [...lines.slice(0, 3), "  ..."];
}

// What a tooltip says of a row.
function describe(row) {
  const rank = row.rank === null ? "" : `, rank ${row.rank}${row.tied ? " (tie)" : ""}`;
  const notes = [row.few ? "few windows" : "", row.indistinguishable ? "not above the noise floor" : ""].filter(Boolean);
  return [
    `KL in 1e-3 nats: ${interval(thousandths(row.kl), "")}`,
    `perplexity delta: ${interval(row.ppl, " %")}${rank}`,
    `${digits(row.bytes / 1e6)} MB, ${digits(row.bits)} bits per weight, ${digits(row.ratio)}x smaller`,
    ...(row.runs && !row.baseline ? [`runs in ${row.runs}`] : []),
    ...(notes.length ? [notes.join(", ")] : []),
    `record ${row.records[0]}`,
    ...shorten(wrap(data.commands[row.command], 70)),
  ];
}

// Bars from point.low to point.high along the axis of the dataset's values.
const errorBars = {
  id: "errorBars",
  afterDatasetsDraw(chart) {
    const context = chart.ctx;
    chart.data.datasets.forEach((set, index) => {
      const meta = chart.getDatasetMeta(index);
      if (!chart.isDatasetVisible(index) || !set.errors) return;
      context.save();
      context.beginPath();
      context.rect(chart.chartArea.left, chart.chartArea.top, chart.chartArea.width, chart.chartArea.height);
      context.clip();
      context.strokeStyle = set.errorColor || set.borderColor;
      context.lineWidth = 1.5;
      set.data.forEach((point, i) => {
        const at = meta.data[i];
        const [low, high] = set.errors[i] || [null, null];
        if (low === null || !at || filtered.has(set.rows[i])) return;
        const along = set.errorAxis === "x" ? "x" : "y";
        const scale = chart.scales[along];
        const least = scale.type === "logarithmic" ? Math.max(low, scale.min) : low;
        const [a, b] = [scale.getPixelForValue(least), scale.getPixelForValue(high)];
        context.beginPath();
        for (const end of [a, b]) {
          context.moveTo(along === "x" ? end : at.x - 4, along === "x" ? at.y - 4 : end);
          context.lineTo(along === "x" ? end : at.x + 4, along === "x" ? at.y + 4 : end);
        }
        context.moveTo(along === "x" ? a : at.x, along === "x" ? at.y : a);
        context.lineTo(along === "x" ? b : at.x, along === "x" ? at.y : b);
        context.stroke();
      });
      context.restore();
    });
  },
};

// A horizontal line with its name at chart.options.plugins.floorLine.y, where the axis shows it.
const floorLine = {
  id: "floorLine",
  afterDatasetsDraw(chart, _, options) {
    const { y: value, name } = options;
    const scale = chart.scales.y;
    if (typeof value !== "number" || value < scale.min || value > scale.max) return;
    const y = scale.getPixelForValue(value);
    const { ctx, chartArea } = chart;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = theme("--soft");
    ctx.setLineDash([6, 4]);
    ctx.beginPath();
    ctx.moveTo(chartArea.left, y);
    ctx.lineTo(chartArea.right, y);
    ctx.stroke();
    ctx.fillText(name, chartArea.left + 6, y - 5);
    ctx.restore();
  },
};

function axis(title, type, extra) {
  const short = (value) => Number(Number(value).toPrecision(3)).toString();
  const isRound = (value) => ["1", "2", "5"].includes(Number(value).toExponential(6).replace(/\.?0*e.*/, ""));
  return Object.assign({
    type,
    title: { display: title !== "", text: title, color: theme("--fore") },
    grid: { color: theme("--line") },
    ticks: {
      color: theme("--fore"),
      callback(value) {
        if (type === "category") return this.getLabelForValue(value);
        return type === "logarithmic" && !isRound(value) ? "" : short(value);
      },
    },
  }, extra);
}

// A legend of colours, where the shapes mean something else.
function colorLabels(chart) {
  return Chart.defaults.plugins.legend.labels.generateLabels(chart).map((label) => {
    const set = chart.data.datasets[label.datasetIndex];
    return Object.assign(label, { pointStyle: set.type === "line" ? "line" : "rect" });
  });
}

// An axis that shows every value and interval. On logarithmic axes Chart.js leaves no room at the ends.
function room(values, scale) {
  if (scale !== "logarithmic") return { suggestedMin: Math.min(...values), suggestedMax: Math.max(...values), grace: "5%" };
  const ends = values.filter((value) => value > 0);
  return { min: Math.min(...ends) / 1.3, max: Math.max(...ends) * 1.3 };
}

// The values of points and the ends of their intervals; `along` is the axis of the values.
function endsOf(points, along = "y") {
  return points.flatMap((p) => [p[along], ...(p.error || [])]);
}

// Takes the points of filtered rows out of a chart, and puts those of others back. Axes and lines stay as they are.
function thin(chart) {
  for (const set of chart.data.datasets) {
    if (!set.rows) continue;
    set.all ??= set.data;
    set.data = set.all.map((point, i) => {
      if (!filtered.has(set.rows[i])) return point;
      return typeof point === "object" ? { x: NaN, y: NaN } : null;
    });
  }
}

// Draws into `box`. `label` says what a person would see.
function draw(box, label, config) {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label + ". The tables of this page hold the same numbers.");
  const frame = document.createElement("div");
  frame.className = "canvas";
  if (config.height) frame.style.height = config.height;
  frame.append(canvas);
  box.append(frame);
  const rowAt = (chart, item) => chart.data.datasets[item.datasetIndex].rows?.[item.index];
  const chart = new Chart(canvas, {
    type: config.type,
    data: { datasets: config.datasets, labels: config.labels },
    plugins: [errorBars, floorLine],
    options: {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      indexAxis: config.indexAxis || "x",
      interaction: { mode: "nearest", intersect: true },
      scales: config.scales,
      plugins: {
        legend: { display: config.legend !== false, labels: { color: theme("--fore"), usePointStyle: true, generateLabels: colorLabels } },
        floorLine: config.floor || {},
        tooltip: {
          filter: (item) => Boolean(item.dataset.rows),
          callbacks: {
            title: (items) => items.map((item) => item.dataset.rows[item.dataIndex].name),
            label: (item) => (item.dataset.says ? item.dataset.says[item.dataIndex] : []).concat(
              describe(item.dataset.rows[item.dataIndex])),
          },
        },
      },
      onHover(_, items, chart) {
        lightRows(items.map((item) => rowAt(chart, item)).filter(Boolean));
      },
      onClick(_, items, chart) {
        const row = items.map((item) => rowAt(chart, item)).find(Boolean);
        if (row) showRow(row);
      },
    },
  });
  if (filtered.size > 0) {
    thin(chart);
    chart.update();
  }
  charts.push({ chart, box });
  return chart;
}

// Points of one dataset, with their rows and intervals.
function series(name, color, shape, points, extra) {
  return Object.assign({
    label: name,
    data: points.map((p) => ({ x: p.x, y: p.y })),
    rows: points.map((p) => p.row),
    errors: points.map((p) => p.error),
    borderColor: color,
    backgroundColor: color,
    pointStyle: shape,
    pointRadius: points.map((p) => (p.row.best ? 8 : 5)),
    pointHoverRadius: 10,
    showLine: false,
  }, extra);
}

// Points that no other one beats in both, as the corners of stairs.
function paretoLine(points, less) {
  const sorted = [...points].sort((a, b) => (less ? a.x - b.x : b.x - a.x) || a.y - b.y);
  const line = [];
  for (const point of sorted) if (line.length === 0 || point.y < line[line.length - 1].y) line.push({ x: point.x, y: point.y });
  return line;
}

// Points of rows on the chosen axes. On a logarithmic axis nothing lies at 0 or below it.
function pointsOf(rows, x, y) {
  const points = [];
  for (const row of rows) {
    const value = kY[y].of(row), at = kX[x].of(row);
    if (!value || value[0] === null || at === null || row.baseline) continue;
    if (kY[y].scale === "logarithmic" && value[0] <= 0) continue;
    points.push({ x: at, y: value[0], row, error: value[1] === null ? null : [value[1], value[2]] });
  }
  return points;
}

function distinct(list) {
  return [...new Set(list)];
}

// What colours and shapes stand for is the same in every chart of the page.
const rowsWithLoss = () => data.groups.flatMap((group) => group.rows).filter((row) => !row.baseline);
const allTypes = () => distinct(rowsWithLoss().map((row) => row.type)).sort();
const allMethods = () => distinct(rowsWithLoss().map((row) => row.method)).sort();

function shapeOf(method) {
  return kShapes[allMethods().indexOf(method) % kShapes.length];
}

// `all`: every name that nameOf gives on this page, in the order of the colours.
function scatter(box, label, points, x, y, all, nameOf, floor, pareto) {
  const names = all.filter((name) => points.some((p) => nameOf(p.row) === name));
  const methods = distinct(points.map((p) => p.row.method)).sort();
  const sets = names.map((name) => {
    const own = points.filter((p) => nameOf(p.row) === name);
    return series(name, kColors[all.indexOf(name) % kColors.length], own.map((p) => shapeOf(p.row.method)), own);
  });
  if (pareto) {
    sets.push({ label: "Pareto line", data: paretoLine(points, kX[x].less), type: "line", stepped: "before",
      borderColor: theme("--soft"), backgroundColor: theme("--soft"), borderWidth: 1, pointRadius: 0, pointHitRadius: 0, pointStyle: "line" });
  }
  const chart = draw(box, label, {
    type: "scatter", datasets: sets, legend: names.length <= kMostNamed, floor,
    scales: { x: axis(kX[x].title, "linear", { grace: "5%" }), y: axis(kY[y].title, kY[y].scale, room(endsOf(points), kY[y].scale)) },
  });
  return { chart, methods };
}

function note(box, text) {
  const line = document.createElement("p");
  line.className = "note";
  line.textContent = text;
  box.append(line);
}

function shapesNote(methods) {
  const words = { circle: "circle", rect: "square", triangle: "triangle", rectRot: "diamond", star: "star", crossRot: "cross", rectRounded: "rounded square" };
  return methods.map((method) => `${words[shapeOf(method)]}: ${method}`).join(", ");
}

function choice(title, options, chosen) {
  const label = document.createElement("label");
  const select = document.createElement("select");
  for (const [value, text] of options) select.append(new Option(text, value, value === chosen, value === chosen));
  label.append(title + " ", select);
  return { label, select };
}

// Selects for both axes, and a chart that follows them. `paint` draws into a box: (box, x, y).
function withAxes(box, can, paint) {
  const bar = document.createElement("div");
  bar.className = "axes";
  const y = choice("Quality", Object.entries({ kl: "KL", ppl: "perplexity delta" }).filter(([key]) => can.includes(key)), can[0]);
  const x = choice("against", [["bytes", "size"], ["bits", "bits per weight"], ["ratio", "compression"]], "bytes");
  bar.append(y.label, x.label);
  const inner = document.createElement("div");
  const again = () => {
    forget(inner);
    inner.replaceChildren();
    paint(inner, x.select.value, y.select.value);
  };
  for (const select of [x.select, y.select]) select.addEventListener("change", again);
  box.append(bar, inner);
  again();
}

// Destroys the charts inside a box.
function forget(box) {
  for (let i = charts.length - 1; i >= 0; --i) {
    if (!box.contains(charts[i].box)) continue;
    charts[i].chart.destroy();
    charts.splice(i, 1);
  }
}

function figuresOf(rows) {
  return ["kl", "ppl"].filter((key) => pointsOf(rows, "bytes", key).length > 0);
}

// Quality against size of one group.
function drawGroup(box, group) {
  withAxes(box, figuresOf(group.rows), (inner, x, y) => {
    const points = pointsOf(group.rows, x, y);
    const floor = y === "kl" && group.floor !== null ? { y: 1e3 * group.floor, name: "noise floor" } : {};
    const label = `${data.models[group.model]}: ${kY[y].title}, against ${kX[x].title}`;
    const { chart, methods } = scatter(inner, label, points, x, y, allTypes(), (row) => row.type, floor, true);
    const hidden = group.rows.filter((row) => !row.baseline && !points.some((p) => p.row === row)).map((row) => row.name);
    note(inner, `Shapes are methods (${shapesNote(methods)}). Bars are 95 % intervals. The large point is the best row.` +
      (floor.name && floor.y < chart.scales.y.min ? ` The noise floor, ${digits(floor.y)} in 1e-3 nats, lies below the axis.` : "") +
      (hidden.length ? ` Not drawn: ${hidden.join(", ")}.` : ""));
  });
}

// All models on the same axes.
function drawOverview(box, groups, x, y) {
  const owner = new Map();
  for (const group of groups) for (const row of group.rows) owner.set(row, data.models[group.model]);
  const points = groups.flatMap((group) => pointsOf(group.rows, x, y));
  if (points.length === 0) return;
  const { methods } = scatter(box, `${kY[y].title} against ${kX[x].title}, all models`, points, x, y, data.models, (row) => owner.get(row), {}, false);
  note(box, `Colours are models, shapes are methods (${shapesNote(methods)}).`);
}

// Each group that has something to show gets a box of its own, drawn when it is near the screen.
function ofGroups(has, paint) {
  return (box, groups) => {
    for (const group of groups.filter(has)) {
      const inner = newBox("chart");
      box.append(inner);
      later(inner, () => paint(inner, group));
    }
  };
}

function drawThroughput(box, group) {
  for (const timing of group.timings) {
    const head = document.createElement("p");
    head.textContent = `${data.models[group.model]}, ${timing.about}`;
    const pair = document.createElement("div");
    pair.className = "pair";
    box.append(head, pair);
    [["prefill", 1], ["decode", 2]].forEach(([what, at], i) => {
      const timed = timing.rows.filter((entry) => entry[at]);
      if (timed.length === 0) return;
      const rows = timed.map((entry) => group.rows[entry[0]]);
      const cell = document.createElement("div");
      pair.append(cell);
      draw(cell, `${what} in tokens per second, ${data.models[group.model]}`, {
        type: "bar", indexAxis: "y", labels: rows.map((row) => row.name), height: `${7 + 1.6 * rows.length}rem`, legend: false,
        datasets: [{
          label: what, data: timed.map((entry) => entry[at][0]), rows, errors: timed.map((entry) => [entry[at][1], entry[at][2]]),
          says: timed.map((entry) => [`${what} ${digits(entry[at][0])} tok/s, p5 ${digits(entry[at][1])}, p95 ${digits(entry[at][2])}${entry[at][3] ? ", unstable" : ""}`]),
          errorAxis: "x", errorColor: theme("--fore"), backgroundColor: kColors[i], borderColor: kColors[i],
        }],
        scales: { x: axis(`${what}, tok/s`, "linear", { beginAtZero: true, suggestedMax: Math.max(...timed.map((entry) => entry[at][2])) }), y: axis("", "category") },
      });
    });
  }
}

function lossOf(group) {
  return group.kl ? "kl" : "ppl";
}

function drawMixed(box, group) {
  const y = lossOf(group);
  const part = (key) => group.mixed.filter((pair) => pair[key] !== null && kY[y].of(group.rows[pair[key]])).map((pair) => {
    const row = group.rows[pair[key]];
    const value = kY[y].of(row);
    return { x: pair.bits, y: value[0], row, error: value[1] === null ? null : [value[1], value[2]] };
  });
  const [uniform, mixed] = [part("uniform"), part("mixed")];
  draw(box, `${data.models[group.model]}: the best single configuration and the mixed plan of each budget`, {
    type: "scatter", datasets: [series("best single configuration", kColors[0], "rect", uniform), series("mixed", kColors[1], "circle", mixed)],
    scales: {
      x: axis(`${data.models[group.model]}: budget, bits per weight`, "linear", { grace: "10%" }),
      y: axis(kY[y].title, "linear", room(endsOf([...uniform, ...mixed]), "linear")),
    },
  });
}

function drawCalibration(box, group) {
  const y = lossOf(group);
  const names = group.calibration.map((entry) => entry.name);
  const texts = distinct(group.calibration.flatMap((entry) => entry.rows.map(([text]) => text)));
  const ends = [];
  const sets = texts.map((text, i) => {
    const points = [];
    for (const entry of group.calibration) {
      for (const [title, index] of entry.rows) {
        const value = title === text ? kY[y].of(group.rows[index]) : null;
        if (value) points.push({ x: value[0], y: entry.name, row: group.rows[index], error: value[1] === null ? null : [value[1], value[2]] });
      }
    }
    ends.push(...endsOf(points, "x"));
    return series(text, kColors[i % kColors.length], kShapes[i % kShapes.length], points, { errorAxis: "x" });
  });
  draw(box, `${data.models[group.model]}: each configuration by its calibration text`, {
    type: "scatter", datasets: sets, height: `${9 + 2 * names.length}rem`,
    scales: { x: axis(`${data.models[group.model]}: ${kY[y].title}`, "linear", room(ends, "linear")), y: axis("", "category", { labels: names, offset: true }) },
  });
}

// A table of cells, darker where the unit costs more.
function drawSensitivity(box, group) {
  for (const plan of group.plans) {
    const row = group.rows[plan.row];
    const values = plan.cells.map((cell) => cell[2]).filter((x) => x > 0);
    const [low, high] = [Math.log(Math.min(...values)), Math.log(Math.max(...values))];
    const layers = distinct(plan.cells.map((cell) => cell[0]));
    const frame = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = `${data.models[group.model]}, ${row.config}: ${plan.about}, in 1e-3 nats`;
    const table = document.createElement("table");
    table.className = "heat";
    const head = table.createTHead().insertRow();
    for (const name of ["layer", ...plan.units]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = name;
      head.append(cell);
    }
    const body = table.createTBody();
    for (const layer of layers) {
      const line = body.insertRow();
      const name = document.createElement("th");
      name.scope = "row";
      name.textContent = layer;
      line.append(name);
      plan.units.forEach((unit, column) => {
        const cell = line.insertCell();
        const found = plan.cells.find((x) => x[0] === layer && x[1] === column);
        if (!found) return;
        const share = found[2] > 0 && high > low ? (Math.log(found[2]) - low) / (high - low) : 0;
        // From white to a blue on which black text still reads.
        cell.style.background = `hsl(210 90% ${97 - 42 * share}%)`;
        cell.style.color = "#000000";
        cell.textContent = found[2] === null ? found[3] : `${found[3]} ${Number((1e3 * found[2]).toPrecision(2))}`;
        cell.title = `layer ${layer}, ${unit}: ${found[2] === null ? "not measured" : digits(1e3 * found[2]) + " in 1e-3 nats"}; the plan gives it ${found[3]}; record ${row.records[0]}`;
      });
    }
    frame.append(summary, table);
    box.append(frame);
  }
}

const kPlots = {
  ppl_vs_compression: (box, groups) => drawOverview(box, groups, "ratio", "ppl"),
  kl_vs_bpw: (box, groups) => drawOverview(box, groups, "bits", "kl"),
  uniform_vs_mixed: ofGroups((group) => group.mixed.length > 0, drawMixed),
  layer_sensitivity: ofGroups((group) => group.plans.length > 0, drawSensitivity),
  calibration_effect: ofGroups((group) => group.calibration.length > 0, drawCalibration),
  throughput_comparison: ofGroups((group) => group.timings.length > 0, drawThroughput),
};
