// Before the first paint: the theme that was chosen here last. Nothing chosen: the system's.
try { document.documentElement.dataset.theme = localStorage.theme || ""; } catch { /* no storage: the system's */ }
