// Search over the boards of the index.
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const rows = [...document.querySelectorAll("tbody tr")];
  const field = document.querySelector("input[type=search]");
  const said = document.querySelector("output");
  const apply = () => {
    const words = field.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    const shown = rows.filter((row) => !row.hidden).length;
    said.textContent = `${shown} of ${rows.length} boards`;
    history.replaceState(null, "", words.length ? `#q=${encodeURIComponent(field.value)}` : location.pathname + location.search);
  };
  field.value = new URLSearchParams(location.hash.slice(1)).get("q") ?? "";
  field.addEventListener("input", apply);
  apply();
})();
