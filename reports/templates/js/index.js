// Search over the boards of the index; columns of the table of methods by data set and model.
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const rows = [...document.querySelectorAll("[aria-label=Boards] tbody tr")];
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

  const table = document.querySelector("table.span");
  const chosen = [...document.querySelectorAll("select[data-axis]")];
  const narrow = () => {
    const heads = [...table.tHead.rows[0].cells];
    const shown = heads.map((head, at) => !at || chosen.every((one) => !one.value || head.dataset[one.dataset.axis] === one.value));
    for (const row of table.rows) {
      if (row.className === "group") continue;
      [...row.cells].forEach((cell, at) => { cell.hidden = !shown[at]; });
      // a method that no shown board has
      if (row.parentNode !== table.tHead) row.hidden = ![...row.cells].some((cell, at) => at && shown[at] && cell.textContent.trim() !== "–");
    }
  };
  for (const one of chosen) one.addEventListener("change", narrow);
})();
