// What a page can do beyond plain HTML: shortcuts, marking all rows, asking before what cannot be undone.
"use strict";
(() => {
  const typing = () => ["INPUT", "TEXTAREA", "SELECT"].includes(document.activeElement?.tagName);
  let isGoing = false;

  // On a phone the pages' names are a strip: this one is in sight.
  const strip = document.querySelector("nav.main");
  const here = strip?.querySelector("a[aria-current]");
  if (here) strip.scrollLeft = here.offsetLeft - (strip.clientWidth - here.offsetWidth) / 2;

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.key === "Escape") { document.activeElement?.blur(); return; }
    if (typing()) return;
    if (isGoing) {
      isGoing = false;
      const target = document.querySelector(`nav.main a[data-key="${CSS.escape(event.key)}"]`);
      if (target) { event.preventDefault(); target.click(); }
      return;
    }
    if (event.key === "/") { event.preventDefault(); document.querySelector("#q")?.focus(); }
    if (event.key === "g") { isGoing = true; setTimeout(() => { isGoing = false; }, 1500); }
    if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  });

  function step(by) {
    const rows = [...document.querySelectorAll("main tbody a.row")];
    if (!rows.length) return;
    const at = rows.indexOf(document.activeElement);
    rows[Math.min(rows.length - 1, Math.max(0, at + by))].focus();
  }

  document.addEventListener("change", (event) => {
    const all = event.target;
    if (!(all instanceof HTMLInputElement) || !all.matches("[data-all]")) return;
    for (const one of document.querySelectorAll(`input[name="${CSS.escape(all.dataset.all)}"]`)) one.checked = all.checked;
  });

  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.ask ?? event.target.dataset.ask;
    if (question && !window.confirm(question)) event.preventDefault();
  });
})();
