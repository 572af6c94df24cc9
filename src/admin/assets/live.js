// Decisions as they happen. Everything that comes is text, and is shown as nothing else.
"use strict";

(() => {
  const table = document.getElementById("decisions");
  const state = document.getElementById("state");
  const pause = document.getElementById("pause");
  const filter = document.getElementById("filter");
  const MOST = 200;
  const waiting = [];
  let missed = 0;
  let isPaused = false;

  document.getElementById("controls").hidden = false;
  for (const row of table.rows) row.dataset.text = row.textContent.toLowerCase();

  const words = () => filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (row, wanted) => wanted.every((word) => row.dataset.text.includes(word));

  function cell(row, label, kind, text, link) {
    const cell = row.insertCell();
    cell.className = kind;
    // What stands before it where there is no room for columns.
    if (text !== "") cell.dataset.label = label;
    if (link) {
      const anchor = document.createElement("a");
      anchor.href = link;
      anchor.textContent = text;
      cell.append(anchor);
    } else {
      cell.textContent = text;
    }
  }

  function shown(decision) {
    const row = document.createElement("tr");
    row.className = "fresh";
    row.dataset.text = Object.values(decision).join(" ").toLowerCase();
    cell(row, "Time", "time", decision.local_time, "/request/" + encodeURIComponent(decision.id));
    cell(row, "Decision", "word " + decision.kind, decision.decision);
    cell(row, "Text", "text", decision.text);
    cell(row, "Engine", "", decision.engine);
    cell(row, "Stage", "", decision.state);
    cell(row, "Client", "text", decision.client);
    cell(row, "Sender", "text", decision.sender);
    cell(row, "Recipient", "text", decision.recipient);
    cell(row, "ms", "number", decision.milliseconds.toFixed(1));
    row.hidden = !fits(row, words());
    return row;
  }

  function tell(text) {
    if (state.textContent !== text) state.textContent = text;
  }

  function report() {
    if (isPaused) tell("Paused; " + waiting.length + " wait.");
    else if (missed > 0) tell("Connected; " + missed + " came too fast and were not shown.");
    else tell("Connected.");
  }

  function flush() {
    const rows = waiting.splice(0).slice(-MOST).map(shown).reverse();
    table.prepend(...rows);
    while (table.rows.length > MOST) table.deleteRow(-1);
    report();
  }

  const events = new EventSource("/live/events");
  events.onopen = report;
  events.onerror = () => tell("Not connected; trying again.");
  events.addEventListener("decision", (event) => {
    waiting.push(JSON.parse(event.data));
    if (isPaused) {
      missed += Math.max(0, waiting.length - MOST);
      waiting.splice(0, waiting.length - MOST);
      report();
    } else if (waiting.length === 1) {
      // Many that come at once are shown at once.
      setTimeout(() => { if (!isPaused) flush(); }, 200);
    }
  });
  events.addEventListener("missed", (event) => {
    missed += Number(event.data);
    report();
  });

  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    if (isPaused) report();
    else flush();
  });
  filter.addEventListener("input", () => {
    const wanted = words();
    for (const row of table.rows) row.hidden = !fits(row, wanted);
  });
})();
