// The browser of generated questions.

const KINDS = [
  ["", "all"],
  ["selected", "in the curriculum"],
  ["posed", "well-posed"],
  ["ill", "ill-posed"],
  ["right", "label right"],
  ["wrong", "label wrong"],
  ["copy", "close to an earlier one (0.9 or more)"],
  ["invalid", "invalid"],
];

function questionBrowser() {
  const data = read("data-questions");
  const c = data.columns;
  const [method, seed, iteration, kind, text] = ["method", "seed", "iteration", "kind", "text"].map(
    (name) => document.getElementById(`q-${name}`),
  );
  const question = (i) => data.texts[c.question[i]];
  const nearest = (i) => data.texts[c.nearest[i]];
  const checked = (i) => known(c.true_answer[i]) && known(c.label[i]);
  const tests = {
    "": () => true,
    selected: (i) => c.selected[i] === true,
    posed: (i) => c.well_posed[i] === true,
    ill: (i) => c.well_posed[i] === false,
    right: (i) => checked(i) && c.right[i] === true,
    wrong: (i) => checked(i) && c.right[i] === false,
    copy: (i) => c.similarity[i] >= 0.9,
    invalid: (i) => c.valid[i] === false,
  };
  const every = [...Array(data.rows).keys()];
  const distinct = (column) => [...new Set(column)].sort((a, b) => a - b).map((v) => [v, `${v}`]);
  choices(method, [["", "all"], ...data.methods.map((name, i) => [i, name])]);
  choices(seed, [["", "all"], ...distinct(c.seed)]);
  choices(iteration, [["", "all"], ...distinct(c.iteration)]);
  choices(kind, KINDS.filter(([name]) => every.some(tests[name])));

  const flag = (value, yes, no) =>
    known(value) ? make("span", { class: value ? "yes" : "no" }, value ? yes : no) : null;
  const fact = (name, ...nodes) => make("div", {}, make("dt", {}, name), make("dd", {}, ...nodes));

  function votes(i) {
    if (!known(c.p_hat[i])) return [];
    if (!c.votes[i]) return [fact("share of votes for the label", number(c.p_hat[i], 2))];
    const share = `${Math.round(c.p_hat[i] * c.votes[i])} of ${c.votes[i]}`;
    const tally = (c.answers[i] || []).map(([answer, n]) => `${visible(answer)} (${n})`);
    const all = tally.length ? [fact("most frequent answers", tally.join(", "))] : [];
    return [fact("votes for the label", share), ...all];
  }

  function card(i) {
    const where = `${visible(data.methods[c.method[i]])} · seed ${c.seed[i]} · iteration ${c.iteration[i]} · question ${c.question_id[i]}`;
    const facts = [];
    if (known(c.label[i])) facts.push(fact("label", visible(c.label[i])));
    if (known(c.true_answer[i])) {
      facts.push(fact("true answer", visible(c.true_answer[i]), " ", flag(c.right[i], "✓ same", "✗ differs") ?? ""));
    }
    facts.push(...votes(i));
    if (known(c.topic[i])) facts.push(fact("topic", visible(c.topic[i])));
    const flags = [
      flag(c.valid[i], "valid", "invalid"),
      flag(c.well_posed[i], "well-posed", "ill-posed"),
      known(c.selected[i]) ? make("span", {}, c.selected[i] ? "in the curriculum" : "left out") : null,
    ].filter(Boolean);
    if (flags.length) facts.push(fact("status", ...flags.flatMap((node, k) => (k ? [", ", node] : [node]))));
    const parts = [
      make("p", { class: "where" }, where),
      make("p", { class: "text", dir: "auto" }, visible(question(i)) || "(empty)"),
      make("dl", {}, ...facts),
    ];
    if (known(nearest(i))) {
      const about = `Nearest earlier question (iteration ${c.nearest_iteration[i] ?? "?"}, similarity ${number(c.similarity[i], 2)}): `;
      parts.push(make("p", { class: "near" }, about, make("bdi", {}, visible(nearest(i)))));
    }
    return make("li", { class: "card" }, ...parts);
  }

  const list = make("ol", { class: "cards" });
  const pages = paged({ size: 12, show: card, list, what: "questions" });
  document.getElementById("questions-list").append(pages.bar, list);

  function show() {
    const words = text.value.toLowerCase().trim();
    const fits = (select, value) => select.value === "" || select.value === String(value);
    const found = every.filter(
      (i) =>
        filter.shows(data.methods[c.method[i]]) &&
        fits(method, c.method[i]) &&
        fits(seed, c.seed[i]) &&
        fits(iteration, c.iteration[i]) &&
        tests[kind.value](i) &&
        (!words || question(i).toLowerCase().includes(words)),
    );
    pages.update(found);
  }

  const form = document.getElementById("questions-form");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", show);
  filter.listeners.push(show);
  show();
}
