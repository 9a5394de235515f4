// The page's rows by columns, decoded once, and how numbers are written.
const data = JSON.parse(document.getElementById("table-data").textContent);
const decode = (column) => {
  if ("all" in column) return Array(data.length).fill(column.all);
  return "at" in column ? column.at.map((code) => column.of[code]) : column.list;
};
const rows = Object.fromEntries(Object.entries(data.columns).map(([name, column]) => [name, decode(column)]));
// Shares came with six digits: with their totals they are exact again, and net ASR with them.
for (const name of ["ca", "asr", "pa", "floor", "repaired_floor"]) {
  const totals = rows[`${name}_total`];
  rows[name] = rows[name].map((value, row) => (value !== null && totals[row] ? Math.round(value * totals[row]) / totals[row] : value));
}
rows.net = rows.net.map((value, row) => {
  const exact = rows.asr[row] - rows.floor[row];
  return value !== null && rows.asr[row] !== null && Math.abs(exact - value) < 2e-6 ? exact : value;
});
const titleOf = Object.fromEntries(
  Object.entries(data.labels).map(([axis, entries]) => [axis, new Map(entries)]),
);
titleOf.attack.set("none", "no attack (clean twin)");
const methodOf = new Map(data.methods.map((method) => [method.label, method]));
const judged = (name, row) => (rows[`judged_${name}`] || rows[name])[row];
const several = new Set(rows.seed).size > 1;
const DASH = "–";

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
const unsigned = (number) => (Math.abs(number) < 0.05 ? 0 : number);
// One digit behind the point, exact halves to the even digit, as the rest of the page has them.
const oneDigit = (number) => {
  const half = Number.isInteger(4 * number) && !Number.isInteger(2 * number);
  const low = Math.floor(10 * number);
  return half ? ((low % 2 === 0 ? low : low + 1) / 10).toFixed(1) : number.toFixed(1);
};
const percent = (value) => (known(value) ? oneDigit(unsigned(100 * value)).replace("-", "−") : DASH);
const signed = (value) => {
  if (!known(value)) return DASH;
  const number = unsigned(100 * value);
  return number === 0 ? "±0.0" : (number > 0 ? "+" : "−") + oneDigit(Math.abs(number));
};
const seconds = (value) => {
  if (!known(value)) return DASH;
  if (value < 99.5) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  const [minutes, rest] = [Math.floor(Math.round(value) / 60), Math.round(value) % 60];
  const two = (number) => String(number).padStart(2, "0");
  return minutes < 60 ? `${minutes} min ${two(rest)} s` : `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
};
const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

// An element with text or elements in it; nothing that comes from data ever becomes markup.
const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
};
const pill = (row) => make("span", { class: `pill ${rows.tone[row]}` }, rows.status[row]);
// An arXiv id as a link; every other citation as text.
const cited = (citation) => {
  const id = /^arXiv:(\d{4}\.\d{4,5})$/.exec(citation);
  return id ? make("a", { href: `https://arxiv.org/abs/${id[1]}`, rel: "noreferrer" }, citation) : citation;
};
