// Keeps the page of how the server is up to date: asks for it again, and puts in what has changed.
"use strict";

(() => {
  const INTERVAL = 10000;
  const told = document.getElementById("kept");
  let isLost = false;

  function tell(text) {
    told.hidden = false;
    if (told.textContent !== text) told.textContent = text;
  }

  // What somebody is about to use stays as it is.
  function renew(fresh) {
    const sections = document.querySelectorAll("main > section");
    const others = fresh.querySelectorAll("main > section");
    if (others.length !== sections.length) return false;
    sections.forEach((section, place) => {
      const other = others[place];
      if (section.innerHTML === other.innerHTML || section.contains(document.activeElement)) return;
      section.replaceChildren(...document.importNode(other, true).childNodes);
    });
    return true;
  }

  async function load() {
    if (document.hidden || isLost) return;
    try {
      const response = await fetch("/", { credentials: "same-origin", cache: "no-store" });
      if (response.redirected) {
        isLost = true;
        tell("This page is no longer kept up to date: log in again.");
        return;
      }
      if (!response.ok) throw new Error(response.statusText);
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      if (!renew(fresh)) throw new Error("another page");
      tell("Up to date.");
    } catch (error) {
      tell("mppd does not answer; what is shown is what it said last.");
    }
  }

  setInterval(load, INTERVAL);
  document.addEventListener("visibilitychange", load);
  tell("Kept up to date.");
})();
