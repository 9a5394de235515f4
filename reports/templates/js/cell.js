// What a cell opens to: numbers with their denominators, epochs, classes, cost, specification, and where it all stands.
const dialog = document.getElementById("cell");
const RULE_NAMES = Object.fromEntries(data.labels.rule);
const NAMES = {
  clean_accuracy: "CA", attack_success_rate: "ASR", poisoned_accuracy: "PA", net_asr: "net ASR", zero_shot: "zero-shot",
};
const words = (name) => NAMES[name] || name.replaceAll("_", " ");
const described = ([value, count, total], unit) => {
  if (unit === "share" || (!unit && count >= 0)) {
    if (count < 0 || !total) return `${value < 0 ? signed(value) : percent(value)} %`;
    const [low, high] = wilson(count, total);
    return `${percent(value)} % (${count} of ${total}; 95 % interval ${percent(low)} to ${percent(high)})`;
  }
  return `${String(Math.round(value * 1000) / 1000).replace("-", "−")}${unit ? ` ${unit}` : ""}`;
};
const facts = (pairs) =>
  make("dl", { class: "facts-list" }, ...pairs.filter(([, text]) => text !== null && text !== "").flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
const scrolled = (label, ...children) => make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, ...children);
const tableOf = (heads, lines) =>
  make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...lines.map(([first, ...rest]) => make("tr", {}, make("th", { scope: "row" }, first), ...rest.map((text) => make("td", {}, text))))));

const numbersPart = (cell) => {
  const heads = ["On test", ...cell.rules.map((rule) => RULE_NAMES[rule])];
  const line = ([name, readout, unit, source, values]) => [
    `${words(name)}${readout === "zero_shot" ? "" : `, ${words(readout)}`}${source ? ` (${source})` : ""}`,
    ...values.map((value) => (value ? described(value, unit) : DASH)),
  ];
  const main = cell.numbers.filter(([name, readout]) => readout === "zero_shot" && data.main.includes(name));
  const order = (one) => data.main.indexOf(one[0]);
  main.sort((a, b) => order(a) - order(b));
  const rest = cell.numbers.filter((one) => !main.includes(one) && !one[0].startsWith("class_accuracy/"));
  const parts = [make("h3", {}, "Numbers"), main.length ? scrolled("Numbers", tableOf(heads, main.map(line))) : make("p", {}, "None were measured.")];
  if (rest.length) parts.push(make("details", {}, make("summary", {}, `${rest.length} other measures`), scrolled("Other measures", tableOf(heads, rest.map(line)))));
  return parts;
};

const SVG = "http://www.w3.org/2000/svg";
const draw = (name, attributes, ...children) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
// Curves of one measure over epochs, a line for each trial; those that a rule took are drawn on top.
const curves = (cell, column, title, level) => {
  const trials = cell.trials.trials.filter((trial) => trial[4].length);
  const last = Math.max(...trials.flatMap((trial) => trial[4].map(([epoch]) => epoch)), 1);
  const [width, height, left, bottom] = [360, 190, 34, 24];
  const x = (epoch) => left + ((width - left - 8) * epoch) / last;
  const y = (share) => 8 + (height - bottom - 8) * (1 - share);
  const taken = new Map();
  cell.rules.forEach((rule, k) => {
    const { trial, epoch, status } = cell.facts[k];
    if (status === "ok" && trial !== null) taken.set(trial, [...(taken.get(trial) || []), [RULE_NAMES[rule], epoch]]);
  });
  const chart = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title} on validation over epochs` });
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    chart.append(draw("line", { x1: left, x2: width - 8, y1: y(share), y2: y(share), class: "rule-line" }));
    chart.append(draw("text", { x: left - 6, y: y(share) + 3, class: "tick end" }, String(100 * share)));
  }
  for (let epoch = 0; epoch <= last; epoch += Math.max(1, Math.ceil(last / 8))) {
    chart.append(draw("text", { x: x(epoch), y: height - 8, class: "tick middle" }, String(epoch)));
  }
  if (known(level)) chart.append(draw("line", { x1: left, x2: width - 8, y1: y(level), y2: y(level), class: "level-line" }));
  const order = [...trials].sort((a, b) => taken.has(a[0]) - taken.has(b[0]));
  for (const [number, phase, status, parameters, epochs] of order) {
    const points = epochs.filter((one) => known(one[column]));
    const path = points.map((one) => `${x(one[0])},${y(one[column])}`).join(" ");
    const said = `trial ${number}${phase ? `, ${phase.replaceAll("_", " ")}` : ""}, ${status}${parameters ? `: ${Object.entries(parameters).map(([name, value]) => `${name} ${value}`).join(", ")}` : ""}`;
    chart.append(draw("polyline", { points: path, class: taken.has(number) ? "curve taken" : "curve" }, draw("title", {}, said)));
    for (const [rule, epoch] of taken.get(number) || []) {
      const point = points.find((one) => one[0] === epoch);
      if (point) chart.append(draw("circle", { cx: x(epoch), cy: y(point[column]), r: 4, class: "taken-point" }, draw("title", {}, `${rule}: trial ${number}, epoch ${epoch}, ${percent(point[column])} %`)));
    }
  }
  const note = [known(level) && `dashed: ${column === 1 ? "the undefended model" : "floor of the clean twin"}`, taken.size && "dots: what the rules took"].filter(Boolean).join("; ");
  return make("figure", {}, chart, make("figcaption", {}, `${title}, %, over epochs, on validation${note ? `; ${note}` : ""}.`));
};
const epochsPart = (cell) => {
  if (!cell.trials || !cell.trials.trials.some((trial) => trial[4].length)) return [];
  const lines = cell.trials.trials.map(([number, phase, status, parameters, epochs]) => {
    const end = epochs.at(-1) || [];
    const named = parameters ? Object.entries(parameters).map(([name, value]) => `${name} = ${value}`).join(", ") : "defaults";
    return [String(number), phase.replaceAll("_", " "), status, named, String(epochs.length), percent(end[1]), percent(end[2])];
  });
  const heads = ["Trial", "Phase", "Status", "Searched fields", "Epochs", "CA at the end, %", "ASR at the end, %"];
  return [
    make("h3", {}, "Epochs on validation"),
    make("div", { class: "columns small" }, curves(cell, 1, "Clean accuracy", cell.trials.start), curves(cell, 2, "Attack success rate", cell.trials.floor)),
    make("details", {}, make("summary", {}, `${lines.length} trial${lines.length === 1 ? "" : "s"} as a table`), scrolled("Trials", tableOf(heads, lines))),
  ];
};

const classesPart = (cell) => {
  const accuracy = new Map(cell.numbers.filter(([name, readout]) => readout === "zero_shot" && name.startsWith("class_accuracy/")).map((one) => [Number(one[0].slice(15)), one[4]]));
  const rates = cell.classes ? cell.classes.rates : [];
  const numbers = [...new Set([...accuracy.keys(), ...rates.flatMap((rate) => (rate || []).map(([k]) => k))])].sort((a, b) => a - b);
  if (!numbers.length) return [];
  const name = (k) => (cell.classes && cell.classes.names[k]) || `class ${k}`;
  const heads = ["True class"];
  for (const rule of cell.rules) {
    heads.push(`CA, ${RULE_NAMES[rule]}`);
    if (cell.classes) heads.push(`ASR, ${RULE_NAMES[rule]}`);
  }
  const share = (count, total) => `${percent(count / total)} % (${count} of ${total})`;
  const lines = numbers.map((k) => [
    cell.classes && k === cell.classes.target ? `${name(k)} (the target)` : name(k),
    ...cell.rules.flatMap((rule, place) => {
      const own = accuracy.get(k) && accuracy.get(k)[place];
      const hit = cell.classes && (cell.classes.rates[place] || []).find(([other]) => other === k);
      return [own ? share(own[1], own[2]) : DASH, ...(cell.classes ? [hit ? share(hit[1], hit[2]) : DASH] : [])];
    }),
  ]);
  const attacked = cell.labels.attack !== "none";
  const note = attacked && !cell.classes ? [make("p", { class: "note" }, data.classesRead
    ? "ASR by class: the triggered outcomes are not in this store, or the attack has not one target."
    : "ASR by class is not read for a suite of this size; docs/records.md shows how to take it from the outcomes named below.")] : [];
  return [make("details", { open: true }, make("summary", {}, "By class, on test"), ...note, scrolled("By class", tableOf(heads, lines)))];
};

const costPart = (cell) => [
  make("h3", {}, "Cost and choice"),
  scrolled("Cost", tableOf(["", ...cell.rules.map((rule) => RULE_NAMES[rule])], [
    ["Status", ...cell.facts.map((one) => [one.status, one.reason].filter(Boolean).join(": "))],
    ["Chosen", ...cell.facts.map((one) => (one.trial === null || one.epoch === null ? DASH : `trial ${one.trial}, epoch ${one.epoch}`))],
    ["Wall time", ...cell.facts.map((one) => seconds(one.wall_s))],
    ["Trials behind the rule", ...cell.facts.map((one) => (one.trial_statuses.length ? one.trial_statuses.map(([status, count]) => `${count} ${status.replaceAll("_", " ")}`).join(", ") : String(one.trials ?? DASH)))],
    ["Epochs measured, within the bound", ...cell.facts.map((one) => (one.epochs_measured === null ? DASH : `${one.epochs_measured}, ${one.epochs_within_bound}`))],
    ["Clean pairs", ...cell.facts.map((one) => String(one.clean_pairs ?? DASH))],
    ["Device", ...cell.facts.map((one) => one.device || DASH)],
    ["Code", ...cell.facts.map((one) => [one.code_version, one.code_commit && one.code_commit.slice(0, 12)].filter(Boolean).join(", ") || DASH)],
    ["Parameters", ...cell.facts.map((one) => (one.parameters ? Object.entries(one.parameters).map(([name, value]) => `${name} = ${value}`).join(", ") : DASH))],
  ])),
];

const sourcesPart = (cell, key) => {
  const lines = cell.rules.flatMap((rule, k) => cell.facts[k].sources.map(([role, stage, artifact, file, transform, modelStage, model, epoch, split]) => [
    `${RULE_NAMES[rule]}: ${role.replaceAll("_", " ")}`,
    make("code", {}, `${stage}/${artifact}/`), make("code", {}, file),
    [modelStage && `${modelStage}/${model}`, epoch !== null && `epoch ${epoch}`, transform].filter(Boolean).join(", ") || DASH, split || DASH,
  ]));
  const other = Object.entries(cell.artifacts).filter(([name]) => name !== "record");
  const parts = [
    make("h3", {}, "Where each number comes from"),
    make("p", { class: "note" }, "Folders of the store. The manifest.json in each names the attempt that holds the file, and its SHA-256."),
    facts([["record", make("code", {}, `record/${key}/ (records.parquet${cell.trials ? ", trials.parquet, front.parquet" : ""})`)], ...other.map(([name, value]) => [name, make("code", {}, value)]), ...cell.logs.map((path) => ["traceback", make("code", {}, path)])]),
  ];
  if (lines.length) parts.push(make("details", {}, make("summary", {}, `${lines.length} tables behind the numbers`), scrolled("Sources", tableOf(["Rule and role", "Folder", "File", "Model", "Split"], lines))));
  parts.push(make("p", { class: "note" }, "The cell as a suite of its own, and a run of it:"), make("pre", {}, make("code", {}, `backstop show ${key.slice(0, 12)} > cell.json\nbackstop run cell.json`)));
  return parts;
};
const specificationPart = (cell) =>
  [["Specification", cell.specification], ["Environment", cell.environment]].filter(([, value]) => value)
    .map(([title, value]) => make("details", {}, make("summary", {}, title), make("pre", {}, make("code", {}, JSON.stringify(value, null, 2)))));

const imagesPart = (cell) => {
  if (cell.labels.attack === "none") return [];
  return [make("h3", {}, "Example images"), make("p", { class: "note" }, "Not in this store: runs keep no picture of a triggered image yet.")];
};

const showCell = (key, cell) => {
  const { axes } = cell;
  const title = axes.repair === "none" || cell.labels.repair === "none" ? "No repair" : axes.repair;
  const attack = cell.labels.attack === "none" ? "on the clean twin" : `against ${axes.attack}`;
  const words = `${title} ${attack} after ${axes.objective}, seed ${axes.seed}`;
  dialog.querySelector("h2").textContent = words;
  dialog.querySelector("[data-of=body]").replaceChildren(
    facts([["Data and model", `${axes.dataset}, ${axes.model}`], ["Objective", cell.labels.objective], ["Attack", cell.labels.attack], ["Defense", cell.labels.repair]]),
    ...numbersPart(cell), ...classesPart(cell), ...epochsPart(cell), ...costPart(cell), ...imagesPart(cell), ...sourcesPart(cell, key), ...specificationPart(cell),
  );
};
const openCell = (id, push = true) => {
  const [key] = id.split(":");
  state.cell = id;
  if (push) writeAddress(true);
  dialog.querySelector("h2").textContent = "Loading …";
  dialog.querySelector("[data-of=body]").replaceChildren();
  if (!dialog.open) dialog.showModal();
  return loadCell(key).then(
    (cell) => { if (state.cell === id) showCell(key, cell); },
    (error) => {
      details.delete(key);
      dialog.querySelector("h2").textContent = "This cell cannot be shown";
      dialog.querySelector("[data-of=body]").replaceChildren(make("p", {}, `${error.message}: a board is its page with the folders beside it.`));
    },
  );
};
