// Small conveniences; every page works without them.
(() => {
  "use strict";
  const lang = document.documentElement.lang || "it";
  const localise = (root) => {
    for (const t of root.querySelectorAll("time[datetime]")) {
      const at = new Date(t.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      t.title = t.textContent;
      t.textContent = new Intl.DateTimeFormat(lang, {
        day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
      }).format(at);
    }
  };
  localise(document);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const say = lang === "en" ? "Times are shown in your time zone: " : "Gli orari sono nel tuo fuso orario: ";
  for (const n of document.querySelectorAll(".zone-note")) n.textContent = say + zone + ".";
  document.addEventListener("click", (e) => {
    if (e.target.closest("[data-print]")) window.print();
  });
  // A second click on the same button must not send the form again; the
  // server would notice, but the person should not wonder.
  document.addEventListener("submit", (e) => {
    const form = e.target;
    if (form.target === "_blank") return;
    if (form.dataset.sent) {
      e.preventDefault();
      return;
    }
    form.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => {
    for (const f of document.querySelectorAll("form[data-sent]")) delete f.dataset.sent;
  });
  // Narrow a long list by what is typed.
  for (const box of document.querySelectorAll("[data-filter]")) {
    box.hidden = false;
    const plain = (s) => s.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "");
    box.querySelector("input").addEventListener("input", (e) => {
      const want = plain(e.target.value);
      for (const item of document.querySelectorAll(box.dataset.filter)) item.hidden = !plain(item.textContent).includes(want);
    });
  }
  const first = document.querySelector("#problems");
  if (first) {
    first.tabIndex = -1;
    first.focus();
  }
})();
