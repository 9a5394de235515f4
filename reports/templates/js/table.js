// The table: columns, order, lines and what they open to, the tool bar, and the keyboard.
const CHUNK = 100; // lines that are made at once; more come as the reader scrolls
const interval = (pair, write = percent) => (pair ? `${write(pair[0])} to ${write(pair[1])}` : "");
const counted = (name) => (item) => {
  const text = percent(item.numbers[name]);
  if (item.kind !== "leaf" || !known(rows[name][item.row])) return [text, ""];
  const total = rows[`${name}_total`] && rows[`${name}_total`][item.row];
  if (!known(total)) return [text, ""];
  const count = Math.round(rows[name][item.row] * total);
  return [percent(rows[name][item.row]), `${count} of ${total}`];
};
const ofSearch = (item) => item.kind === "line" || item.leaves.every((row) => rows.rule[row] === "oracle");
const whereText = (where) =>
  `${titleOf.attack.get(where[1])} after ${titleOf.objective.get(where[0])}`;
const plainNumber = (name) => ({ value: (item) => item.numbers[name], text: (item) => [known(item.numbers[name]) ? String(Math.round(item.numbers[name] * 100) / 100) : DASH, ""] });
// id: title, what it means in words, value that sorts, [text, small text]; `for`: views that show it at first
const COLUMNS = {
  objective: { title: "Objective", about: "", means: "pre-training objective", left: true, only: "row", for: ["row"], value: (item) => named("objective", item.row) },
  attack: { title: "Attack", about: "", means: "attack on pre-training", left: true, only: "row", for: ["row"], value: (item) => named("attack", item.row) },
  dataset: { title: "Data", about: "", means: "data set", left: true, only: "row", for: [], value: (item) => named("dataset", item.row) },
  seed: { title: "Seed", about: "", means: "seed of the run", only: "row", for: ["row"], value: (item) => rows.seed[item.row], text: (item) => [String(rows.seed[item.row]), ""] },
  rule: { title: "Rule", about: "", means: "how trial and epoch were chosen", left: true, only: "row", for: ["row"], value: (item) => named("rule", item.row) },
  net: {
    title: "Net ASR", about: "lower is better", means: "attack success rate minus floor; lower is better", for: ["defense", "attack", "objective", "dataset", "row"],
    value: (item) => item.numbers.net, strong: true,
    text: (item) => [item.kind === "line" ? percent(item.numbers.net) : signed(item.numbers.net), interval(item.numbers.interval, item.kind === "line" ? percent : signed)],
  },
  worst: {
    title: "Worst case", about: "highest net ASR", means: "highest net ASR of an (objective, attack), mean over seeds", for: ["defense", "attack", "objective", "dataset"],
    value: (item) => item.numbers.worst,
    text: (item) => [known(item.numbers.worst) ? percent(item.numbers.worst) : "", item.numbers.worstWhere ? whereText(item.numbers.worstWhere) : ""],
  },
  start: { title: "Net ASR before", about: "undefended", means: "of the undefended models", for: ["attack", "objective", "dataset"], value: (item) => item.numbers.start, text: (item) => [percent(item.numbers.start), ""] },
  lost: { title: "CA lost", about: "points", means: "clean accuracy below the undefended model", for: ["defense", "attack", "objective", "dataset"], value: (item) => item.numbers.lost, text: (item) => [signed(item.numbers.lost), ""] },
  ca: { title: "CA", about: "", means: "clean accuracy", for: ["row"], value: (item) => item.numbers.ca, text: counted("ca"), meter: "ca" },
  asr: { title: "ASR", about: "", means: "attack success rate, target-class images left out", for: ["row"], value: (item) => item.numbers.asr, text: counted("asr"), meter: "hot" },
  pa: { title: "PA", about: "higher is better", means: "true label under the trigger; higher is better", for: ["defense", "attack", "objective", "dataset", "row"], value: (item) => item.numbers.pa, text: counted("pa") },
  floor: { title: "Floor", about: "", means: "ASR of the undefended clean twin", for: ["row"], value: (item) => item.numbers.floor, text: counted("floor") },
  repaired_floor: { title: "Repaired floor", about: "", means: "ASR of the clean twin after the same repair", for: [], value: (item) => item.numbers.repaired_floor, text: counted("repaired_floor") },
  coverage: {
    title: "Coverage", about: "of planted cells", means: "planted cells with a result, of all", for: ["defense", "attack", "objective", "dataset"],
    value: (item) => (item.numbers.planted ? item.numbers.covered / item.numbers.planted : null),
    text: (item) => (item.kind === "leaf" ? [pill(item.row), ""] : [`${item.numbers.covered} of ${item.numbers.planted}`, item.kind === "fold" ? "seeds" : ""]),
  },
  status: { title: "Status", about: "", means: "what became of it", left: true, wide: true, for: ["row"], only: "row", value: (item) => rows.status[item.row], text: (item) => [pill(item.row), [rows.marks[item.row], rows.reason[item.row]].filter(Boolean).join("; ")] },
  cost: { title: "Cost", about: "wall time", means: "wall time of a repair; of the trials behind the rule where it was searched", for: ["defense", "row"], value: (item) => item.numbers.cost, text: (item) => [seconds(item.numbers.cost), ""] },
  trials: { title: "Trials", about: "", means: "behind the rule", for: [], ...plainNumber("trials") },
  pairs: { title: "Clean pairs", about: "", means: "given to the repair", for: [], ...plainNumber("pairs") },
  area: {
    title: "Front area", about: data.budgets.length ? "on validation" : "", means: "share of CA that can be kept, over every net ASR that may be left; on validation, within the budget of trials", for: [],
    value: (item) => item.numbers.area, text: (item) => [ofSearch(item) ? percent(item.numbers.area) : "", ""],
  },
  cut: {
    title: "Cut", about: data.budgets.length ? "on validation" : "", means: "change of CA of the best epoch within the bound; on validation, within the budget of trials", for: [],
    value: (item) => item.numbers.cut,
    text: (item) => [ofSearch(item) ? signed(item.numbers.cut) : "", item.numbers.cutOf[0] < item.numbers.cutOf[1] ? `${item.numbers.cutOf[0]} of ${item.numbers.cutOf[1]} cells met it` : ""],
  },
  needs: { title: "Asks for", about: "", means: "what the method must be given", left: true, wide: true, only: "defense", for: ["defense"], value: (item) => (item.method ? item.method.needs : ""), text: (item) => [item.method ? item.method.needs || DASH : "", item.method ? item.method.access : ""] },
  source: { title: "Source", about: "", means: "the paper", left: true, only: "defense", for: ["defense"], value: (item) => (item.method ? item.method.citation : ""), text: (item) => [item.method ? cited(item.method.citation) : "", ""] },
};
// where all rows say the same, the note above the table says it once
COLUMNS.evidence = { title: "Evidence", about: "", means: "what stands behind the row", left: true, for: new Set(rows.evidence).size > 1 ? ["defense", "row"] : [], value: (item) => item.numbers.evidence };
for (const [name, [title, about, means]] of Object.entries(data.optional)) {
  COLUMNS[name] = { title, about, means, for: ["defense", "row"], value: (item) => item.numbers[name], text: (item) => [percent(item.numbers[name]), ""] };
}
if (data.searches.order.length) COLUMNS.area.for = ["defense", "objective", "attack"];
const VIEWS = {
  defense: "Defense", attack: "Attack", objective: "Objective",
  ...(data.labels.dataset.length > 1 ? { dataset: "Data set" } : {}), row: "Every row",
};

const further = new Map(); // number of a table of further measures -> promise of its columns
const loadFurther = (number) => {
  if (!further.has(number)) {
    further.set(number, new Promise((resolve, reject) => {
      waiting.set(`columns ${number}`, resolve);
      loadScript(`columns/${number}.js`, reject);
    }));
  }
  return further.get(number);
};
const addFurther = async (number) => {
  const columns = await loadFurther(number);
  columns.forEach((column, k) => {
    const [sort, text] = [decode(column.sort), decode(column.text)];
    COLUMNS[`m${number}.${k}`] = {
      title: column.title, about: data.further[number].title, means: "", for: [], only: "row",
      value: (item) => sort[item.row], text: (item) => [text[item.row] ?? DASH, ""],
    };
  });
};

const section = document.getElementById("methods-table");
const table = section.querySelector("table");
const bar = section.querySelector("form");
const said = section.querySelector("output");
const scroller = section.querySelector(".scroll");
const ofView = (name) => !COLUMNS[name].only || COLUMNS[name].only === state.view;
const shownColumns = () => {
  const wanted = state.columns ? state.columns.split(",") : null;
  return Object.keys(COLUMNS).filter((name) => ofView(name) && (wanted ? wanted.includes(name) : COLUMNS[name].for.includes(state.view)));
};
const textOf = (item) => {
  const words = [item.title, item.method && [item.method.needs, item.method.holds, item.method.citation, item.method.access]];
  for (const row of item.leaves) words.push(rows.status[row], rows.reason[row], rows.marks[row]);
  if (item.flat) words.push(named("objective", item.row), named("attack", item.row), named("rule", item.row), `seed ${rows.seed[item.row]}`);
  return words.flat().join(" ").toLowerCase();
};
const itemsOfView = () => {
  if (state.view === "row") return flatItems();
  return state.view === "defense" ? defenseItems() : axisItems(state.view);
};
const wantedItems = () => {
  const words = state.text.trim().toLowerCase().split(/\s+/).filter(Boolean);
  return itemsOfView().filter((item) => {
    if (state.status && !item.leaves.some((row) => rows.state[row] === state.status)) return false;
    if (!words.length) return true;
    const text = textOf(item);
    return words.every((word) => text.includes(word));
  });
};
const compareValues = (a, b, direction) => {
  const empty = (value) => value === null || value === undefined || value === "";
  if (empty(a) || empty(b)) return empty(a) - empty(b); // what is not there stays at the end
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return direction * order;
};
const sorted = (items) => {
  const name = state.sort.replace(/^-/, "");
  if (!name || (name !== "name" && !COLUMNS[name])) return items;
  const direction = state.sort.startsWith("-") ? -1 : 1;
  const value = name === "name" ? (item) => item.title : COLUMNS[name].value;
  return items.map((item) => [value(item), item]).sort((a, b) => compareValues(a[0], b[0], direction)).map(([, item]) => item);
};
const filtered = () => ["objective", "attack", "dataset", "repair"].some((axis) => state[axis]) || ruleWanted() !== "default";

let lines = []; // {item, depth, band}
let made = 0;
const flatten = (items, depth) => items.flatMap((item) => {
  const own = { item, depth };
  return item.kind !== "leaf" && state.open.has(item.id) ? [own, ...flatten(childrenOf(item), depth + 1)] : [own];
});
const layOut = () => {
  const items = sorted(wantedItems());
  lines = flatten(items, 0);
  if (state.view === "defense" && !state.sort) {
    let last = null;
    lines = lines.flatMap((line) => {
      const band = line.depth === 0 && line.item.group !== last;
      if (band) last = line.item.group;
      return band ? [{ band: data.groups[last] }, line] : [line];
    });
  }
  return items;
};

const header = () => {
  const cell = (name, title, about, left) => {
    const order = state.sort === name ? "ascending" : state.sort === `-${name}` ? "descending" : null;
    const button = make("button", { type: "button", "data-sort-by": name }, title);
    return make("th", { scope: "col", class: left ? "" : "num", "aria-sort": order }, button, about ? make("small", {}, about) : "");
  };
  const first = state.view === "row" ? "Defense" : VIEWS[state.view];
  const ranked = state.view === "defense" && !state.sort && !filtered() && several;
  return make("tr", {}, cell("name", first, ranked ? "in the order of rank" : "", true),
    ...shownColumns().map((name) => cell(name, COLUMNS[name].title, COLUMNS[name].about, COLUMNS[name].left)));
};
const rankOf = (item) => {
  if (state.view !== "defense" || item.kind !== "line" || filtered() || !item.ranked.rank) return "";
  return make("span", { class: "rank" }, make("span", { class: "hidden" }, "rank "), item.ranked.rank);
};
const noteOf = (item) => {
  const notes = [];
  if (item.kind === "line" && item.ranked && !filtered()) {
    if (item.ranked.band) notes.push(item.ranked.band);
    if (item.ranked.alike) notes.push(`not told from ${item.ranked.alike}`);
  }
  if (item.kind === "leaf") {
    notes.push(rows.note[item.row]);
    if (state.view !== "row") notes.push(rows.marks[item.row], rows.reason[item.row]);
  }
  return notes.filter(Boolean).join("; ");
};
const nameCell = ({ item, depth }) => {
  const opens = item.kind !== "leaf";
  const button = opens
    ? make("button", { type: "button", class: "opens", "data-id": item.id, "aria-expanded": String(state.open.has(item.id)) }, item.title)
    : make("button", { type: "button", class: "cell-link", "data-id": item.id, "data-cell": item.id, "aria-haspopup": "dialog" }, item.title);
  const note = noteOf(item);
  const box = make("input", { type: "checkbox", "data-compare": item.id, "aria-label": `compare ${item.title}` });
  box.checked = state.compare.includes(item.id);
  return make("th", { scope: "row", class: `depth-${depth}` }, make("div", { class: "name" }, box, rankOf(item), button), note ? make("small", {}, note) : "");
};
const bodyRow = (line) => {
  if (line.band) {
    const { title, seeds, lost } = line.band;
    const told = [seeds > 1 ? `ranked among themselves, ${seeds} seeds` : "one seed: no rank", lost && `did not plant in every seed: ${lost}`];
    return make("tr", { class: "band" }, make("th", { colspan: shownColumns().length + 1, scope: "rowgroup" }, make("div", {}, title, make("span", {}, told.filter(Boolean).join("; ")))));
  }
  const { item } = line;
  const off = item.kind === "leaf" && rows.tone[item.row] !== "good";
  const cells = shownColumns().map((name) => {
    const column = COLUMNS[name];
    const usable = !column.only || (column.only === "defense" ? item.kind === "line" : item.kind === "leaf");
    const [main, small] = !usable ? ["", ""] : column.text ? column.text(item) : [column.value(item) ?? "", ""];
    const meter = column.meter && item.kind === "leaf" && known(column.value(item)) ? make("i", { class: `meter ${column.meter}` }) : "";
    if (meter) meter.style.setProperty("--share", `${(100 * column.value(item)).toFixed(1)}%`);
    return make("td", { class: (column.left ? "" : "num ") + (column.wide ? "wrap" : "") || null, "data-column": name },
      column.strong ? make("strong", {}, main) : main, small ? make("small", {}, small) : "", meter);
  });
  return make("tr", { class: [off ? "off" : "", `kind-${item.kind}`].join(" ").trim(), "data-line": item.id }, nameCell(line), ...cells);
};
const more = (number = CHUNK) => {
  const end = Math.min(lines.length, made + number);
  table.tBodies[0].append(...lines.slice(made, end).map(bodyRow));
  made = end;
};
const render = ({ keep = false } = {}) => {
  const focused = keep && document.activeElement ? document.activeElement.dataset.id || document.activeElement.dataset.sortBy : null;
  const [wanted, top] = keep ? [Math.max(made, CHUNK), scroller.scrollTop] : [CHUNK, 0];
  const items = layOut();
  table.tHead.replaceChildren(header());
  table.tBodies[0].replaceChildren();
  made = 0;
  more(wanted);
  scroller.scrollTop = top;
  const all = state.view === "row" ? data.length : null;
  const word = { defense: "defense", attack: "attack", objective: "objective", dataset: "data set", row: "row" }[state.view];
  const count = `${items.length}${all && items.length !== all ? ` of ${all}` : ""} ${word}${items.length === 1 && !all ? "" : "s"}`;
  const unranked = state.view === "defense" && filtered() ? "; means of the filtered cells: ranks hold for the whole suite at its defaults" : "";
  said.textContent = count + unranked;
  section.querySelector("[data-of=compared]").textContent = state.compare.length === 1 ? "choose a second one to compare" : "";
  if (focused) {
    const again = [...table.querySelectorAll("button")].find((button) => (button.dataset.id || button.dataset.sortBy) === focused);
    if (again) again.focus({ preventScroll: true });
  }
};
const changed = (options) => {
  writeAddress();
  render(options);
};

const select = (name, title, options) =>
  make("label", {}, title, make("select", { name, autocomplete: "off" }, ...options.map(([value, text]) => make("option", { value }, text))));
const buildBar = () => {
  const axes = [["objective", "Objective"], ["attack", "Attack"], ["repair", "Defense"], ["dataset", "Data set"], ["rule", "Rule"]];
  const filters = axes
    .filter(([axis]) => data.labels[axis].length > 1)
    .map(([axis, title]) => select(axis, title, axis === "rule" ? [] : [["", "all"], ...data.labels[axis]]));
  const statuses = [...new Set(rows.state)];
  if (statuses.length > 1) filters.push(select("status", "Status", [["", "all"], ...statuses.map((status) => [status, status.replaceAll("_", " ")])]));
  const fields = bar.querySelector("[data-of=filters]");
  fields.replaceChildren(
    select("view", "A row is", Object.entries(VIEWS)), ...filters,
    make("label", {}, "Search", make("input", { type: "search", name: "text", size: "14", autocomplete: "off" })),
  );
  if (data.budgets.length > 1 && data.searches.order.length) {
    fields.append(make("label", { class: "budget" }, make("span", { "data-of": "budget" }), make("input", { type: "range", name: "budget", min: "0", max: String(data.budgets.length - 1), step: "1" })));
  }
  fields.append(make("button", { type: "reset" }, "Reset"));
};
const buildChooser = () => {
  const box = bar.querySelector("[data-of=columns]");
  const shown = shownColumns();
  const option = (name) => {
    const input = make("input", { type: "checkbox", name: "column", value: name });
    input.checked = shown.includes(name);
    return make("label", {}, input, COLUMNS[name].title);
  };
  const names = Object.keys(COLUMNS).filter(ofView);
  const own = names.filter((name) => !name.startsWith("m"));
  const parts = [make("fieldset", {}, make("legend", {}, "Shown"), ...own.map(option))];
  if (state.view === "row") {
    data.further.forEach((one, number) => {
      const loaded = names.filter((name) => name.startsWith(`m${number}.`));
      const content = loaded.length ? loaded.map(option) : [make("button", { type: "button", "data-further": number }, `load ${one.columns.length} columns`)];
      parts.push(make("fieldset", {}, make("legend", {}, one.title), ...content));
    });
  } else if (data.further.length) parts.push(make("p", { class: "note" }, "Where a row is “every row”, other measures can be chosen too."));
  box.replaceChildren(...parts);
};
const fillMeanings = () => {
  const told = Object.keys(COLUMNS).filter((name) => COLUMNS[name].means);
  section.querySelector("[data-of=meanings]").replaceChildren(...told.flatMap((name) => [make("dt", {}, COLUMNS[name].title), make("dd", {}, COLUMNS[name].means)]));
};
// Single rows are of every rule; a line over many cells is of one.
const fillRules = () => {
  const field = bar.elements.rule;
  if (!field) return;
  const searched = data.labels.rule.filter(([rule]) => !["default", "undefended"].includes(rule));
  const options = state.view === "row" ? [["", "all"], ...data.labels.rule] : [["", "suite's default"], ...searched];
  if (!options.some(([rule]) => rule === state.rule)) state.rule = "";
  field.replaceChildren(...options.map(([rule, title]) => make("option", { value: rule }, title)));
};
const fillBar = () => {
  fillRules();
  for (const field of bar.elements) if (field.name in DEFAULTS && field.type !== "checkbox") field.value = state[field.name];
  const shown = bar.querySelector("[data-of=budget]");
  if (shown) shown.textContent = `Budget: the first ${data.budgets[state.budget]} of ${data.budgets.at(-1)} trials`;
  buildChooser();
};

bar.addEventListener("input", (event) => {
  const { name, value } = event.target;
  if (name === "column") {
    const chosen = [...bar.querySelectorAll("[name=column]")].filter((box) => box.checked).map((box) => box.value);
    state.columns = chosen.join(",");
  } else if (name === "budget") state.budget = Number(value);
  else if (name in DEFAULTS) state[name] = value;
  if (name === "view") Object.assign(state, { sort: "", columns: "", open: new Set(), compare: [] });
  if (name !== "column") fillBar();
  changed();
});
bar.addEventListener("submit", (event) => event.preventDefault());
bar.addEventListener("reset", (event) => {
  event.preventDefault();
  Object.assign(state, { ...DEFAULTS, open: new Set(), compare: [] });
  fillBar();
  changed();
});
bar.addEventListener("click", async (event) => {
  const number = event.target.dataset.further;
  if (number === undefined) return;
  await addFurther(Number(number));
  buildChooser();
  const first = bar.querySelector(`[name=column][value^="m${number}."]`);
  if (first) first.focus();
});
const toggle = (id, open = !state.open.has(id)) => {
  if (open) state.open.add(id);
  else state.open.delete(id);
  changed({ keep: true });
};
table.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.sortBy) {
    const name = button.dataset.sortBy;
    state.sort = state.sort === name ? `-${name}` : state.sort === `-${name}` ? "" : name;
    changed({ keep: true });
  } else if (button.dataset.cell) openCell(button.dataset.cell);
  else toggle(button.dataset.id);
});
table.addEventListener("change", (event) => {
  const id = event.target.dataset.compare;
  if (id === undefined) return;
  state.compare = event.target.checked ? [...state.compare, id].slice(-2) : state.compare.filter((other) => other !== id);
  changed({ keep: true });
  if (state.compare.length === 2) openCompare();
});
table.addEventListener("keydown", (event) => {
  const button = event.target.closest("tbody th button");
  if (!button) return;
  const buttons = [...table.querySelectorAll("tbody th button")];
  const at = buttons.indexOf(button);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    if (at + step >= buttons.length) more();
    const next = table.querySelectorAll("tbody th button")[at + step];
    if (next) next.focus();
  } else if (event.key === "ArrowRight" && button.getAttribute("aria-expanded") === "false") toggle(button.dataset.id, true);
  else if (event.key === "ArrowLeft" && button.getAttribute("aria-expanded") === "true") toggle(button.dataset.id, false);
  else return;
  event.preventDefault();
});
scroller.addEventListener("scroll", () => {
  if (made < lines.length && scroller.scrollTop + scroller.clientHeight > scroller.scrollHeight - 600) more();
}, { passive: true });
