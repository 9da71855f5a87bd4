"use strict";
(() => {
  const root = document.documentElement;
  const asked = new URLSearchParams(location.hash.slice(1));
  const speak = (zh) => { root.lang = zh ? "zh" : "en"; };
  const typed = "opens" in root.dataset ? root.lang : "";
  speak(/^zh/i.test(asked.get("lang") || typed || navigator.language || ""));
  document.getElementById("language").addEventListener("click", () => speak(root.lang !== "zh"));
  const filter = document.getElementById("filter");
  if (!filter) return;
  const rows = [...document.querySelectorAll("#rows tbody tr")].map((row) => [row, row.textContent.toLowerCase()]);
  const sift = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [row, text] of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    document.getElementById("shown").textContent = shown;
  };
  filter.value = asked.get("filter") || "";
  filter.addEventListener("input", sift);
  sift();
})();
