// What the reader has chosen, kept in the address: a link shows the same table again.
const DEFAULTS = {
  view: "defense", sort: "", objective: "", attack: "", repair: "", dataset: "", rule: "", status: "", text: "",
  columns: "", open: [], compare: [], cell: "", budget: Math.max(0, data.budgets.length - 1),
};
const state = { ...DEFAULTS, open: new Set(), compare: [] };
const readAddress = () => {
  const words = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  for (const name of Object.keys(DEFAULTS)) {
    const value = words.get(name);
    if (name === "open") state.open = new Set(words.getAll("open"));
    else if (name === "compare") state.compare = words.getAll("compare").slice(0, 2);
    else if (name === "budget") {
      const place = data.budgets.indexOf(Number(value));
      state.budget = place < 0 ? DEFAULTS.budget : place;
    } else state[name] = value ?? DEFAULTS[name];
  }
};
const address = () => {
  const words = new URLSearchParams();
  for (const name of Object.keys(DEFAULTS)) {
    if (name === "open" || name === "compare") for (const id of state[name]) words.append(name, id);
    else if (name === "budget") {
      if (state.budget !== DEFAULTS.budget) words.set(name, data.budgets[state.budget]);
    } else if (state[name] !== DEFAULTS[name]) words.set(name, state[name]);
  }
  const text = words.toString();
  return location.pathname + location.search + (text ? `#${text}` : "");
};
const writeAddress = (push = false) => {
  const now = address();
  if (!push && !location.hash.includes("=") && !now.includes("#")) return; // an anchor of the page stays
  history[push ? "pushState" : "replaceState"](null, "", now);
};
