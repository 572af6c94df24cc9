// Draws the charts of the page, and keeps them up to date; the tables below them say the same.
"use strict";

(() => {
  const page = document.getElementById("charts");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // Told apart also without colours: by their dashes.
  const LIGHT = ["#0b5cad", "#b3540a", "#14652f", "#8a2be2", "#a4161a", "#5a5a00", "#00707a", "#7a3b69"];
  const DARK = ["#8cc1f7", "#ffb061", "#8bd7a1", "#d3a6ff", "#ff9c9c", "#e3e36b", "#66d9e8", "#f0a6d8"];
  const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [1, 4], [12, 6], [6, 2, 2, 2]];
  let charts = [];
  let plots = [];

  // As in the tables: 24 hours, and the day where it changes.
  const time = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
  const moment = (seconds) => (seconds === null || seconds === undefined ? "–" : time.format(seconds * 1000));

  function marks(plot, seconds, axis, space, step) {
    let day = "";
    return seconds.map((second) => {
      const [date, clock] = moment(second).split(" ");
      const label = step < 60 ? clock : clock.slice(0, 5);
      if (date === day) return label;
      day = date;
      return `${label}\n${date}`;
    });
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function options(chart, width) {
    const strokes = dark.matches ? DARK : LIGHT;
    const [first, last] = [chart.times[0], chart.times[chart.times.length - 1]];
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    return {
      width,
      height: 220,
      cursor: { drag: { x: true, y: false } },
      scales: { x: { range: (plot, low, high) => (low <= first || high > last ? [Math.min(first, last - 600), last] : [low, high]) }, y: { range: (plot, low, high) => [0, Math.max(high * 1.1, 0.1)] } },
      axes: [{ ...axis, values: marks }, { ...axis, size: 60 }],
      series: [{ label: "Time", value: (plot, seconds) => moment(seconds) }].concat(chart.series.map((series, place) => ({
        label: series.name,
        stroke: strokes[place % strokes.length],
        dash: DASHES[place % DASHES.length],
        width: 1.75,
        spanGaps: false,
        points: { show: chart.times.length < 60 },
      }))),
    };
  }

  function draw() {
    plots.forEach((plot) => plot.destroy());
    plots = [];
    for (const chart of charts) {
      const place = page.querySelector(`[data-chart="${CSS.escape(chart.id)}"]`);
      if (!place || chart.times.length === 0 || chart.series.length === 0) continue;
      place.hidden = false;
      const data = [chart.times].concat(chart.series.map((series) => series.values));
      plots.push(new uPlot(options(chart, place.clientWidth), data, place));
    }
  }

  // A chart that had nothing to show, or has nothing any more, comes as a whole; of all others the
  // tables are renewed. What somebody is about to use stays as it is.
  function renew(fresh) {
    const others = [...fresh.querySelectorAll("section.chart")];
    const sections = [...page.querySelectorAll("section.chart")];
    const name = (section) => section.getAttribute("aria-labelledby");
    if (others.map(name).join() !== sections.map(name).join()) {
      page.replaceChildren(...others.map((other) => document.importNode(other, true)));
      return;
    }
    sections.forEach((section, place) => {
      const other = others[place];
      const [table, renewed] = [section.querySelector("table"), other.querySelector("table")];
      if (table && renewed) {
        if (table.innerHTML === renewed.innerHTML || table.contains(document.activeElement)) return;
        table.replaceChildren(...document.importNode(renewed, true).childNodes);
      } else if (table || renewed) {
        section.replaceChildren(...document.importNode(other, true).childNodes);
      }
    });
  }

  async function ask(address) {
    const response = await fetch(address, { credentials: "same-origin", cache: "no-store" });
    return response.ok && !response.redirected ? response : null;
  }

  async function load() {
    if (document.hidden) return;
    const [said, drawn] = await Promise.all([ask(location.href), ask(page.dataset.source)]).catch(() => []);
    if (!said || !drawn) return;
    const fresh = new DOMParser().parseFromString(await said.text(), "text/html");
    renew(fresh);
    const unknown = fresh.getElementById("unknown");
    document.getElementById("unknown").hidden = !unknown || unknown.hidden;
    charts = await drawn.json();
    draw();
  }

  let resizing;
  addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(draw, 150);
  });
  dark.addEventListener("change", draw);
  setInterval(load, 30000);
  document.addEventListener("visibilitychange", load);
  load();
})();
