// Building blocks. What a model or a person wrote enters the page as text nodes only.

const SVG = "http://www.w3.org/2000/svg";

/** The data of one of the JSON blocks. */
function read(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An element; strings among the children become text. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Text with what can't be seen or would reorder its surroundings spelled out. */
function visible(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}]/gu, (c) =>
    c === "\n" || c === "\t"
      ? c
      : `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
  );
}

const DIGITS = { share: 3, nats: 2, texts: 1, BLEU: 3, questions: 0 };

function known(value) {
  return value !== null && value !== undefined;
}

/** A number for people; a dash where there is none. */
function number(value, digits = 3, sign = false) {
  if (!known(value)) return "–";
  const text = Math.abs(value).toFixed(digits);
  const negative = value < 0 && Number(text) !== 0;
  return (negative ? "−" : sign ? "+" : "") + text;
}

function probability(p) {
  return known(p) && p < 0.001 ? "< 0.001" : number(p);
}

/** Mean with its interval below. */
function withInterval([mean, low, high], digits, sign = false) {
  if (!known(mean)) return ["–"];
  const nodes = [number(mean, digits, sign)];
  if (known(low)) {
    const bounds = `[${number(low, digits, sign)}, ${number(high, digits, sign)}]`;
    nodes.push(make("span", { class: "span" }, bounds));
  }
  return nodes;
}

/** A <select> filled with options; `options` are [value, label, group]. */
function choices(select, options) {
  const groups = new Map([["", select]]);
  select.replaceChildren();
  for (const [value, label, group = ""] of options) {
    if (!groups.has(group)) {
      const made = make("optgroup", { label: visible(group) });
      groups.set(group, made);
      select.append(made);
    }
    groups.get(group).append(make("option", { value }, visible(label)));
  }
}

/**
 * A table whose columns sort by buttons in their headers.
 *
 * columns: {label, value: row => what it sorts by, cell: row => nodes, number, title, descending};
 * one without `value` doesn't sort. The first column heads its row. Rows without a value come last.
 */
function sortable({ caption, columns, rowClass = () => null, sort = null }) {
  const body = make("tbody");
  const state = { rows: [], column: sort ? sort.column : null, down: sort ? sort.down : false };
  const heads = columns.map((column, i) => {
    const head = make("th", {
      scope: "col",
      class: column.number ? "number" : null,
      title: column.title,
    });
    if (!column.value) {
      head.append(column.label);
      return head;
    }
    const button = make("button", { type: "button" }, visible(column.label));
    button.addEventListener("click", () => {
      state.down = state.column === i ? !state.down : Boolean(column.descending);
      state.column = i;
      render();
    });
    head.append(button);
    return head;
  });

  function compare(a, b) {
    const value = columns[state.column].value;
    const [x, y] = [value(a), value(b)];
    if (!known(x) || !known(y)) return Number(known(y)) - Number(known(x));
    const order = typeof x === "string" ? x.localeCompare(y) : x - y;
    return state.down ? -order : order;
  }

  function render() {
    const rows = [...state.rows];
    if (state.column !== null) rows.sort(compare);
    heads.forEach((head, i) => {
      if (!columns[i].value) return;
      const here = i === state.column;
      head.setAttribute("aria-sort", here ? (state.down ? "descending" : "ascending") : "none");
    });
    body.replaceChildren(
      ...rows.map((row) =>
        make(
          "tr",
          { class: rowClass(row) },
          ...columns.map((column, i) => {
            const nodes = [column.cell(row)].flat();
            if (i === 0) return make("th", { scope: "row" }, ...nodes);
            const extra = column.mark ? column.mark(row) : "";
            const classes = `${column.number ? "number" : ""} ${extra}`.trim();
            return make("td", { class: classes || null }, ...nodes);
          }),
        ),
      ),
    );
  }

  const table = make(
    "table",
    {},
    make("caption", {}, make("span", { class: "caption" }, caption)),
    make("thead", {}, make("tr", {}, ...heads)),
    body,
  );
  const place = { class: "scroll", tabindex: "0", role: "region", "aria-label": caption };
  const box = make("div", place, table);
  return {
    box,
    update(rows) {
      state.rows = rows;
      render();
    },
  };
}

/** Items a page at a time; `show` makes an item's node. */
function paged({ size, show, list, what }) {
  const status = make("span", { role: "status" });
  const back = make("button", { type: "button" }, "Previous");
  const on = make("button", { type: "button" }, "Next");
  const state = { items: [], page: 0 };

  function render() {
    const last = Math.max(0, Math.ceil(state.items.length / size) - 1);
    state.page = Math.min(state.page, last);
    const start = state.page * size;
    const here = state.items.slice(start, start + size);
    list.replaceChildren(...here.map(show));
    back.disabled = state.page === 0;
    on.disabled = state.page === last;
    const count = state.items.length.toLocaleString("en");
    status.textContent = here.length
      ? `${start + 1} to ${start + here.length} of ${count} ${what}`
      : `no ${what} fit`;
  }
  function turn(by) {
    state.page += by;
    render();
  }
  back.addEventListener("click", () => turn(-1));
  on.addEventListener("click", () => turn(1));
  return {
    bar: make("div", { class: "pager" }, back, on, status),
    update(items) {
      state.items = items;
      state.page = 0;
      render();
    },
  };
}
