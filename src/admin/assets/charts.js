// Draws the charts of the page; the tables below them say the same.
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
      axes: [axis, { ...axis, size: 60 }],
      series: [{}].concat(chart.series.map((series, place) => ({
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

  async function load() {
    const response = await fetch(page.dataset.source, { credentials: "same-origin" });
    if (!response.ok || response.redirected) return;
    charts = await response.json();
    draw();
  }

  let resizing;
  addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(draw, 150);
  });
  dark.addEventListener("change", draw);
  setInterval(() => { if (!document.hidden) load(); }, 30000);
  load();
})();
