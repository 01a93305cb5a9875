// What script adds; every page works without it. Copy an id, theme, live figures, keys (each can be switched off under /keys).
const root = document.documentElement, kept = {
  get(name) { try { return localStorage[name] || ""; } catch { return ""; } },
  set(name, value) { try { localStorage[name] = value; } catch { /* no storage: for this page only */ } },
};

document.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.copy) {
    navigator.clipboard?.writeText(button.dataset.copy);
    const was = button.textContent;
    button.textContent = "copied";
    setTimeout(() => { button.textContent = was; }, 900);
  }
  if ("themeToggle" in button.dataset) {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme:dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    kept.set("theme", root.dataset.theme);
  }
});

// Live: figures change in place, rows never move. What is newer is counted, and shown when the reader wants it.
const live = document.querySelector("[data-live]");
if (live) {
  const word = live.querySelector("[data-live-word]"), newer = document.querySelector("[data-newer]");
  let source = null, since = 0;
  const say = (text, lost) => { if (word.textContent !== text) word.textContent = text; live.classList.toggle("is-live", !lost); live.classList.toggle("is-paused", lost); };
  const open = () => {
    source = new EventSource(live.dataset.live);
    source.onmessage = message => {
      const told = JSON.parse(message.data);
      since = Date.now();
      say("Live", false);
      for (const [name, text] of Object.entries(told.figures || {}))
        for (const place of document.querySelectorAll(`[data-figure="${CSS.escape(name)}"]`))
          if (place.textContent !== text) place.textContent = text;
      if (newer && told.newer) { newer.hidden = false; newer.textContent = told.newer; }
      if (told.changed) location.reload();
    };
    source.onerror = () => say(since ? `Connection lost; as of ${new Date(since).toISOString().slice(11, 19)} UTC` : "Not live now; load the page again", true);
  };
  // A page that nobody sees asks nothing.
  document.addEventListener("visibilitychange", () => { if (document.hidden) { source?.close(); source = null; } else if (!source) open(); });
  addEventListener("pagehide", () => source?.close());
  if (!document.hidden) open();
}

// Keys.
const off = () => new Set(kept.get("keysOff").split(" ").filter(Boolean));
for (const box of document.querySelectorAll("[data-key-switch]")) {
  box.disabled = false;
  box.checked = !off().has(box.dataset.keySwitch);
  box.addEventListener("change", () => {
    const set = off();
    set[box.checked ? "delete" : "add"](box.dataset.keySwitch);
    kept.set("keysOff", [...set].join(" "));
  });
}
const step = by => {
  const rows = [...document.querySelectorAll("tbody a.go")], at = rows.indexOf(document.activeElement);
  (rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by] || document.activeElement).focus();
};
document.addEventListener("keydown", event => {
  if (event.key === "Escape") {
    root.classList.add("no-tips");
    if (event.target.closest("input,select,textarea")) event.target.blur();
    return;
  }
  root.classList.remove("no-tips");
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input,select,textarea,[contenteditable]") || off().has(event.key)) return;
  switch (event.key) {
    case "/": document.getElementById("q")?.focus(); break;
    case "j": step(1); break;
    case "k": step(-1); break;
    case "?": location.assign("/keys"); break;
    default: return;
  }
  event.preventDefault();
});
