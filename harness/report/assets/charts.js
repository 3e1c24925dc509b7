// Charts, by Vega-Lite: drawn when they come near the window, the others while nobody does anything.

const theme = read("data-theme");
const QUIET = 1000; // milliseconds without a key, a touch or scrolling
let touched = 0;

/** A chart's state: `stale` until it is drawn and shows the methods that the filter leaves. */
function chartOf(figure) {
  const host = figure.querySelector(".canvas");
  host.classList.add("waiting");
  return { figure, host, view: null, near: false, stale: true, busy: false };
}

async function refresh(chart) {
  if (chart.busy) return;
  chart.busy = true;
  try {
    while (chart.stale) {
      chart.stale = false;
      chart.view ??= await embed(chart);
      await chart.view.signal("shown", filter.shown).runAsync();
    }
  } catch (error) {
    chart.host.replaceChildren(make("p", {}, `This chart can't be drawn: ${error.message}`));
    console.error(error);
  }
  chart.busy = false;
  chart.host.classList.remove("waiting");
  chart.figure.dataset.drawn = "yes";
}

async function embed({ figure, host }) {
  const { view } = await window.vegaEmbed(host, read(`chart-${figure.dataset.chart}`), {
    actions: false,
    ast: true, // expressions are interpreted: the page's policy allows no eval
    config: theme,
    defaultStyle: false,
    logLevel: 1, // errors only
    renderer: "svg",
    tooltip: { disableDefaultStyle: true },
  });
  scale(host.querySelector("svg"));
  return view;
}

/** A chart grows and shrinks a little with its box, and scrolls where that isn't enough. */
function scale(svg) {
  const width = Number(svg.getAttribute("width"));
  svg.style.width = "100%";
  svg.style.height = "auto";
  svg.style.minWidth = `${0.85 * width}px`;
  svg.style.maxWidth = `${1.27 * width}px`;
}

function charts() {
  const all = [...document.querySelectorAll("[data-chart]")].map(chartOf);
  const near = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const chart = all.find(({ figure }) => figure === target);
        chart.near = isIntersecting;
        if (isIntersecting) refresh(chart);
      }
    },
    { rootMargin: "300px" },
  );
  all.forEach(({ figure }) => near.observe(figure));

  for (const kind of ["keydown", "pointerdown", "pointermove", "scroll", "wheel"]) {
    window.addEventListener(kind, () => (touched = performance.now()), { passive: true });
  }
  // One at a time, so that the page answers in between. Who prints later then has them all.
  let resting = 0;
  function later(wait) {
    clearTimeout(resting);
    resting = setTimeout(rest, wait);
  }
  async function rest() {
    const next = all.find((chart) => chart.stale && !chart.busy);
    if (next && performance.now() - touched > QUIET) await refresh(next);
    if (all.some((chart) => chart.stale)) later(100);
  }
  later(QUIET);

  let typing = 0;
  filter.listeners.push(() => {
    all.forEach((chart) => (chart.stale = true));
    clearTimeout(typing);
    typing = setTimeout(() => all.filter((chart) => chart.near).forEach(refresh), 150);
    later(QUIET);
  });
  window.addEventListener("beforeprint", () => all.forEach(refresh));
}
