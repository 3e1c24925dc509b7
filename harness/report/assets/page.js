// The runs' manifests, and what starts the page.

function runBrowser() {
  const data = read("data-manifests");
  const list = make("div");
  const pages = paged({ size: 25, show: runDetails, list, what: "runs" });
  document.getElementById("runs-list").append(pages.bar, list);

  function manifest(i) {
    const found = {};
    for (const [name, { values, where }] of Object.entries(data.fields)) {
      const value = values[where[i]];
      if (value !== data.absent) found[name] = value;
    }
    return found;
  }

  function runDetails(i) {
    const run = data.runs[i];
    const recorded = manifest(i);
    const wall = run.cost?.wall_seconds;
    const line = [
      `seed ${recorded.seed}`,
      run.status.replace("_", " "),
      recorded.config_hash,
      known(wall) ? `${(wall / 60).toFixed(1)} min` : null,
    ];
    const summary = make("summary", {}, make("strong", {}, visible(recorded.method)), ` · ${line.filter(Boolean).map(visible).join(" · ")}`);
    const details = make("details", { class: "run" }, summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(...record(run, recorded));
    });
    return details;
  }

  function show() {
    pages.update([...data.runs.keys()].filter((i) => filter.shows(String(manifest(i).method))));
  }
  filter.listeners.push(show);
  show();
}

function record(run, manifest) {
  const brief = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const named = {
    folder: run.folder,
    harness: manifest.harness,
    commit: manifest.git && `${manifest.git.commit}${manifest.git.dirty ? " (changed)" : ""}`,
    configuration: manifest.config_hash,
    "base model": manifest.base_model_hash,
    engine: manifest.engine,
    detail: run.done?.detail,
  };
  const facts = Object.entries(named)
    .filter(([, value]) => value)
    .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, visible(brief(value)))));
  const versions = Object.entries(manifest.versions || {}).map(([name, v]) => `${name} ${v}`);
  const block = (title, text) => [
    make("p", { class: "where" }, title),
    make("pre", { tabindex: "0", "aria-label": title }, visible(text)),
  ];
  return [
    make("dl", { class: "facts small" }, ...facts),
    ...block("The command that repeats it", run.command),
    ...(versions.length ? block("Versions", versions.join("\n")) : []),
    ...block("Manifest", JSON.stringify(manifest, null, 1)),
    ...(run.cost ? block("Cost", JSON.stringify(run.cost, null, 1)) : []),
  ];
}

/** Marks the view that is being read in the navigation. */
function navigation() {
  const links = new Map(
    [...document.querySelectorAll("nav a")].map((link) => [link.getAttribute("href").slice(1), link]),
  );
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        links.forEach((link) => link.removeAttribute("aria-current"));
        links.get(target.id).setAttribute("aria-current", "true");
      }
    },
    { rootMargin: "-30% 0px -65% 0px" },
  );
  links.forEach((_, id) => seen.observe(document.getElementById(id)));
}

function methodFilter() {
  const input = document.getElementById("filter");
  const count = document.getElementById("filter-count");
  const tell = () => {
    const all = board.methods.length;
    count.value = `${(filter.shown ?? board.methods).length} of ${all}`;
  };
  filter.listeners.push(tell);
  input.addEventListener("input", () => filter.set(input.value));
  tell();
}

/** Below the first view, lists are filled when the window has been painted. */
function whenPainted(...work) {
  requestAnimationFrame(() => setTimeout(() => work.forEach((each) => each())));
}

methodFilter();
leaderboard();
navigation();
charts();
whenPainted(numberTables, questionBrowser, runBrowser, () => {
  document.documentElement.dataset.ready = "yes";
});
window.addEventListener("beforeprint", () => {
  document.getElementById("how").open = true;
});
