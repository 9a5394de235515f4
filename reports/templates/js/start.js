// The page begins: static tables can be sorted, and the table of methods shows what the address asks for.
const valueOf = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.sort === undefined ? cell.textContent.trim().toLowerCase() : cell.dataset.sort;
};
const order = (a, b, direction) => {
  if (a === "" || b === "") return (a === "") - (b === ""); // what is not there stays at the end
  const [x, y] = [Number(a), Number(b)];
  return direction * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y);
};
const sortBy = (own, head, column) => {
  const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of own.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  const body = own.tBodies[0];
  const found = [...body.rows].map((row) => [valueOf(row, column), row]);
  found.sort((a, b) => order(a[0], b[0], direction));
  body.append(...found.map(([, row]) => row));
};
for (const own of document.querySelectorAll("table.sortable")) {
  for (const head of own.querySelectorAll("th[data-column]")) {
    const button = head.querySelector("button");
    button.disabled = false;
    button.addEventListener("click", () => sortBy(own, head, Number(head.dataset.column)));
  }
}

const show = async () => {
  readAddress();
  if (!VIEWS[state.view]) state.view = DEFAULTS.view;
  const wanted = new Set([...state.columns.matchAll(/m(\d+)\./g)].map(([, number]) => Number(number)));
  for (const number of wanted) if (data.further[number]) await addFurther(number);
  fillBar();
  render();
  if (state.cell) openCell(state.cell, false);
  else if (dialog.open) dialog.close();
  if (state.compare.length === 2) openCompare();
  if (location.hash.includes("=")) section.scrollIntoView({ behavior: "instant" });
};
window.addEventListener("popstate", show);
buildBar();
if (matchMedia("(max-width: 44rem)").matches) bar.querySelector(".fold").open = false;
fillMeanings();
show();
