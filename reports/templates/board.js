// Sorting and filtering of the board's tables. The page is whole without it.
(() => {
  "use strict";
  document.documentElement.classList.add("js");

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort === undefined ? cell.textContent.trim().toLowerCase() : cell.dataset.sort;
  };
  const compare = (a, b, direction) => {
    if (a === "" || b === "") return (a === "") - (b === ""); // what is not there stays at the end
    const [x, y] = [Number(a), Number(b)];
    const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
    return direction * order;
  };
  const sortBy = (table, header, column) => {
    const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
    rows.sort((a, b) => compare(a[0], b[0], direction));
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    for (const header of table.querySelectorAll("th[data-column]")) {
      const button = header.querySelector("button");
      button.disabled = false;
      button.addEventListener("click", () => sortBy(table, header, Number(header.dataset.column)));
    }
  }

  const form = document.querySelector("form.filters");
  if (!form) return;
  const rows = [...document.querySelectorAll("tr[data-objective]")];
  const grid = rows.filter((row) => row.closest("#grid"));
  const shown = form.querySelector("output");
  const apply = () => {
    const wanted = [...form.querySelectorAll("select")].filter((select) => select.value !== "");
    const words = form.elements.text.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const hit = wanted.every((select) => row.dataset[select.name] === select.value);
      row.hidden = !(hit && words.every((word) => text.includes(word)));
    }
    const count = grid.filter((row) => !row.hidden).length;
    shown.textContent = count === grid.length ? `${count} rows` : `${count} of ${grid.length} rows`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  apply();
})();
