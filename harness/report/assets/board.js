// The leaderboard, and the tables of numbers under the charts.

const board = read("data-board");
const COLUMN = Object.fromEntries(board.columns.map((name, i) => [name, i]));
const metrics = new Map(board.metrics.map((metric) => [metric.name, metric]));

/** Which methods are shown: all, or those whose name holds one of the words between commas. */
const filter = {
  words: [],
  listeners: [],
  shows(method) {
    const name = method.toLowerCase();
    return this.words.length === 0 || this.words.some((word) => name.includes(word));
  },
  get shown() {
    return this.words.length ? board.methods.filter((method) => this.shows(method)) : null;
  },
  set(text) {
    this.words = text.toLowerCase().split(",").map((word) => word.trim()).filter(Boolean);
    this.listeners.forEach((listen) => listen());
  },
};

function swatch(method) {
  const look = board.looks[method];
  if (!look) return null;
  const box = { class: "swatch", viewBox: "-6 -6 12 12", "aria-hidden": "true" };
  return draw("svg", box, draw("path", { d: look.path, fill: look.colour }));
}

function methodCell(method) {
  const name = make("span", { class: "name" });
  for (const part of visible(method).split(/(?<=[_:+,=])/)) name.append(part, make("wbr"));
  const nodes = [swatch(method), name];
  if (method === board.baseline) nodes.push(make("span", { class: "tag" }, "baseline"));
  if (method === board.base) nodes.push(make("span", { class: "tag" }, "untrained"));
  return make("span", { class: "method" }, ...nodes);
}

function rowClass(method) {
  if (method === board.baseline) return "baseline";
  return method === board.base ? "base" : null;
}

/** A method's place in the page's lists; -1 for one the board hasn't got. */
function place(method) {
  return board.methods.indexOf(method);
}

function leaderboard() {
  const host = document.getElementById("board");
  const select = document.getElementById("metric");
  const interval = document.getElementById("interval");
  const percent = `${Math.round(100 * board.level)} %`;
  choices(select, board.metrics.map((m) => [m.name, m.label, m.group]));
  select.value = board.headline;
  if (!metrics.has(select.value)) select.selectedIndex = 0;

  function show() {
    const metric = metrics.get(select.value);
    if (!metric) {
      host.replaceChildren(make("p", {}, "No finished run has a number yet."));
      return;
    }
    const items = metric.cells.some((cells) => cells && known(cells[COLUMN.new_ci_low]));
    document.getElementById("items-choice").hidden = !items;
    const over = items && interval.value === "items" ? "new_" : "";
    const digits = DIGITS[metric.unit] ?? 2;
    const get = (name) => (row) => (row.cells ? row.cells[COLUMN[name]] : null);
    const three = (mean, low) => (row) => [mean, `${low}_low`, `${low}_high`].map((n) => get(n)(row));
    const value = three("mean", `${over}ci`);
    const difference = three("diff", over ? "diff_new_ci" : "diff_ci");
    const up = metric.better !== "lower";
    const rows = board.methods
      .filter((method) => filter.shows(method))
      .map((method) => ({
        method,
        cells: metric.cells[place(method)],
        seeds: metric.seeds[place(method)],
      }));
    const scale = range(metric, value);
    const columns = [
      { label: "method", value: (r) => r.method, cell: (r) => methodCell(r.method) },
      {
        label: metric.label,
        number: true,
        descending: up,
        value: get("mean"),
        cell: (r) => withInterval(value(r), digits),
      },
      { label: "runs and interval", cell: (r) => (r.cells ? plot(r, value(r), scale) : "") },
    ];
    if (board.baseline) {
      columns.push({
        label: "difference",
        title: `from ${board.baseline}, with Welch's ${percent} interval`,
        number: true,
        descending: up,
        value: get("diff"),
        cell: (r) => withInterval(difference(r), digits, true),
        mark: (r) => (clear(difference(r)) ? "clear" : ""),
      });
    }
    if (metric.primary) columns.push(...ranking(get));
    columns.push(...beside(), {
      label: "runs",
      number: true,
      value: get("n_seeds"),
      cell: (r) => status(r, get("n_seeds")(r)),
    });
    const intervals = over ? "over new runs and new items" : "over new runs";
    const table = sortable({
      caption: `${metric.label} (${metric.unit || "no unit"}, ${metric.better} is better) after the last iteration: mean [${percent} interval ${intervals}]`,
      columns,
      rowClass: (r) => rowClass(r.method),
      sort: { column: 1, down: up },
    });
    table.update(rows);
    host.replaceChildren(table.box);
  }

  select.addEventListener("change", show);
  interval.addEventListener("change", show);
  filter.listeners.push(show);
  show();
}

/** Whether an interval of a difference leaves 0 out. */
function clear([, low, high]) {
  return known(low) && known(high) && (low > 0 || high < 0);
}

function ranking(get) {
  const span = (r) => {
    const [low, high] = [get("rank_low")(r), get("rank_high")(r)];
    if (!known(low)) return "–";
    return low === high ? `${low}` : `${low}–${high}`;
  };
  return [
    {
      label: "p (Holm)",
      title: "Welch's test against the baseline, adjusted for all methods of the table",
      number: true,
      value: get("p_holm"),
      cell: (r) => probability(get("p_holm")(r)),
    },
    {
      label: "rank",
      title: "where the method comes out when its runs are resampled",
      number: true,
      value: get("rank"),
      cell: span,
    },
    {
      label: "ties",
      title: "methods that share a letter are not ordered",
      value: get("tie_group"),
      cell: (r) => get("tie_group")(r) || "–",
    },
  ];
}

/** Diversity from first to last iteration, well-posed share, label accuracy. */
function beside() {
  const columns = [];
  const last = (metric) => (r) => {
    const cells = metric.cells[place(r.method)];
    return cells ? cells[COLUMN.mean] : null;
  };
  const diversity = metrics.get(board.diversity);
  if (diversity) {
    columns.push({
      label: "diversity, first > last",
      title: `${diversity.label}, ${diversity.unit}, after the first and the last iteration`,
      number: true,
      descending: true,
      value: last(diversity),
      cell: (r) => {
        const end = last(diversity)(r);
        return known(end) ? `${number(diversity.first[place(r.method)], 2)} > ${number(end, 2)}` : "–";
      },
    });
  }
  for (const [name, label] of [
    ["proposer/well_posed", "well-posed"],
    ["curriculum/label_accuracy", "correct labels"],
  ]) {
    const metric = metrics.get(name);
    if (!metric) continue;
    const value = last(metric);
    columns.push({ label, number: true, descending: true, value, cell: (r) => number(value(r), 2) });
  }
  return columns;
}

function status(row, n) {
  const counts = (board.status[row.method] || "").split(";").filter(Boolean);
  const ends = counts.filter((part) => !part.startsWith("completed:"));
  const nodes = [known(n) ? `${n}` : "0"];
  for (const part of ends) {
    const [name, count] = part.split(":");
    nodes.push(make("span", { class: "span" }, `${count} ${name.replace("_", " ")}`));
  }
  return nodes;
}

/** Least and largest of what the small plots show, the same for all rows. */
function range(metric, value) {
  const all = metric.cells.flatMap((cells, i) => [
    ...(cells ? value({ cells }) : []),
    ...metric.seeds[i],
  ]);
  const there = all.filter(known);
  const [low, high] = [Math.min(...there), Math.max(...there)];
  const reference = metric.cells[place(board.baseline)];
  const zero = reference ? reference[COLUMN.mean] : null;
  return { at: (x) => 6 + (118 * (x - low)) / (high - low || 1), zero };
}

function plot(row, [mean, low, high], { at, zero }) {
  const marks = [draw("line", { class: "axis", x1: 0, x2: 130, y1: 11, y2: 11 })];
  if (known(zero)) marks.push(draw("line", { class: "zero", x1: at(zero), x2: at(zero), y1: 0, y2: 22 }));
  if (known(low)) marks.push(draw("line", { class: "interval", x1: at(low), x2: at(high), y1: 11, y2: 11 }));
  for (const x of row.seeds) marks.push(draw("circle", { class: "seed", cx: at(x), cy: 11, r: 3.4 }));
  if (known(mean)) marks.push(draw("rect", { class: "mean", x: at(mean) - 1, y: 3, width: 2, height: 16 }));
  const label = `${row.seeds.length} runs: ${row.seeds.map((x) => number(x)).join(", ")}`;
  return draw("svg", { class: "plot", viewBox: "0 0 130 22", role: "img", "aria-label": label }, ...marks);
}

/** The tables under the charts: filled when they are opened. */
function numberTables() {
  let tables = null;
  for (const details of document.querySelectorAll("[data-numbers]")) {
    const start = () => {
      if (!details.open || details.dataset.started) return;
      details.dataset.started = "yes";
      tables ??= read("data-numbers");
      numberTable(details.querySelector(".body"), tables[details.dataset.numbers], details.dataset.numbers);
    };
    details.addEventListener("toggle", start);
    start();
  }
}

function numberTable(host, parts, id) {
  if (!parts.length) {
    host.append(make("p", { class: "lead" }, "Not measured in these runs."));
    return;
  }
  const select = make("select", { id: `numbers-${id}` });
  const label = make("label", { for: select.id }, "Show");
  const body = make("div");
  choices(select, parts.map((part, i) => [i, part.label, part.group]));
  function show() {
    const part = parts[Number(select.value)];
    const first = (cell) => (Array.isArray(cell) ? cell[0] : cell);
    const columns = part.columns.map((name, i) => ({
      label: name,
      number: true,
      descending: true,
      value: (row) => first(row[i + 1]),
      cell: (row) => {
        const cell = row[i + 1];
        if (name.startsWith("p ")) return probability(cell);
        if (Array.isArray(cell)) return withInterval(cell, 3, name === "difference");
        return typeof cell === "string" ? cell : number(cell);
      },
    }));
    const table = sortable({
      caption: [part.group, part.label].filter(Boolean).join(": "),
      columns: [{ label: "method", value: (r) => r[0], cell: (r) => methodCell(r[0]) }, ...columns],
      rowClass: (r) => rowClass(r[0]),
    });
    table.update(part.rows.filter((row) => filter.shows(row[0])));
    body.replaceChildren(table.box, make("p", { class: "lead small" }, part.note || ""));
  }
  select.addEventListener("change", show);
  filter.listeners.push(show);
  host.append(make("div", { class: "row controls" }, make("p", {}, label, select)), body);
  show();
}
