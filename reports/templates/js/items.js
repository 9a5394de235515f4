// What a line of the table stands for: a method, an attack or an objective over many cells, some seeds of one cell, or
// one row. Every line has the same numbers.
const startOf = new Map(); // objective, attack and seed -> row of the undefended model, where the attack planted
const place = (row) => `${rows.objective[row]}\n${rows.attack[row]}\n${rows.seed[row]}`;
for (let row = 0; row < data.length; row++) {
  const planted = rows.rule[row] === "undefended" && rows.state[row] === "ok" && known(judged("net", row));
  if (planted) startOf.set(place(row), row);
}
const budgetOf = new Map(data.searches.order.map((order, k) => [order, k])); // cell -> place among the searches
const searchNumbers = Object.fromEntries(
  ["area", "cut"].map((name) => [
    name,
    data.searches[name].map((column) => {
      if ("all" in column) return Array(data.searches.order.length).fill(column.all);
      return "at" in column ? column.at.map((code) => column.of[code]) : column.list;
    }),
  ]),
);
const clip = (value) => Math.min(1, Math.max(0, value));
const there = (values) => values.filter(known);
const meanOf = (values) => (there(values).length ? mean(there(values)) : null);

// One planted cell under a repair: what counts of it. Where the repair left it out, it counts as not repaired.
const entry = (start, after) => {
  const done = after !== null && rows.state[after] === "ok" && known(judged("net", after));
  const row = done ? after : start;
  const repaired = done && rows.rule[after] !== "undefended";
  return {
    seed: rows.seed[start],
    where: `${rows.objective[start]}\n${rows.attack[start]}`,
    key: [rows.objective[start], rows.attack[start], after === null ? null : rows.repair[after]],
    net: clip(judged("net", row)),
    lost: repaired ? rows.lost[row] : 0,
    pa: done ? judged("pa", row) : null,
    ca: judged("ca", row),
    asr: judged("asr", row),
    floor: rows.floor[row],
    start: clip(judged("net", start)),
    done,
  };
};
const bySeed = (entries, name) => {
  const groups = new Map();
  for (const one of entries) {
    if (!known(one[name])) continue;
    if (!groups.has(one.seed)) groups.set(one.seed, []);
    groups.get(one.seed).push(one[name]);
  }
  return [...groups.values()].map(mean);
};
// Means seed by seed, then over seeds; the worst (objective, attack) by its mean over seeds.
const summary = (entries, leaves) => {
  const cells = new Map();
  for (const one of entries) {
    if (!cells.has(one.where)) cells.set(one.where, []);
    cells.get(one.where).push(one.net);
  }
  const worst = [...cells].map(([where, values]) => [mean(values), where]).sort((a, b) => b[0] - a[0])[0];
  const over = overSeeds(bySeed(entries, "net"));
  const found = {
    interval: over && several ? [over.low, over.high] : null,
    worst: worst ? worst[0] : null,
    worstWhere: worst && cells.size > 1 ? worst[1].split("\n") : null,
    covered: entries.filter((one) => one.done).length,
    planted: entries.length,
    ...leafNumbers(leaves),
  };
  for (const name of ["net", "lost", "pa", "ca", "asr", "floor", "start"]) found[name] = meanOf(bySeed(entries, name));
  return found;
};
const leafNumbers = (leaves, searched = true) => {
  const ok = leaves.filter((row) => rows.state[row] === "ok");
  const found = {};
  for (const name of ["cost", "trials", "pairs", ...Object.keys(data.optional)]) {
    found[name] = meanOf(ok.map((row) => rows[name][row]));
  }
  const searches = [...new Set(leaves.map((row) => rows.cell[row]))].map((cell) => budgetOf.get(orderOf[cell]));
  const own = searched ? searches.filter((k) => k !== undefined) : [];
  for (const name of ["area", "cut"]) {
    const at = searchNumbers[name][state.budget];
    found[name] = at && own.length ? meanOf(own.map((k) => at[k])) : null;
    if (name === "cut") found.cutOf = [own.filter((k) => at && known(at[k])).length, own.length];
  }
  found.evidence = [...new Set(leaves.map((row) => rows.evidence[row]))].join(", ");
  return found;
};
const orderOf = data.orders; // place of a cell's key -> its order in the suite

// Some seeds of one cell under one rule: plain means of what is there.
const folded = (leaves) => {
  const over = (name, from) => meanOf(leaves.map((row) => (from || judged)(name, row)));
  const ok = leaves.filter((row) => known(judged("ca", row)));
  const starts = leaves.map((row) => startOf.get(place(row))).map((row) => (row === undefined ? null : judged("net", row)));
  const plain = (name, row) => rows[name][row];
  const net = leaves.map((row) => judged("net", row));
  const interval = several && there(net).length > 1 ? overSeeds(there(net)) : null;
  return {
    net: over("net"), pa: over("pa"), ca: over("ca"), asr: over("asr"), lost: over("lost", plain),
    floor: over("floor", plain), repaired_floor: over("repaired_floor", plain), start: meanOf(starts),
    interval: interval && [interval.low, interval.high],
    worst: null, covered: ok.length, planted: leaves.length,
    ...leafNumbers(leaves, leaves.every((row) => rows.rule[row] === "oracle")), // a search is one, whatever rule chose
  };
};

const ruleWanted = () => state.rule || "default";
const passes = (row, axes) => axes.every((axis) => !state[axis] || String(rows[axis][row]) === state[axis]);

// Lines of the defenses: a group for what the defender holds, in it "no repair" and every repair.
const defenseItems = () => {
  const items = [];
  const after = new Map();
  for (let row = 0; row < data.length; row++) {
    if (rows.rule[row] === ruleWanted()) after.set(`${place(row)}\n${rows.repair[row]}`, row);
  }
  data.groups.forEach((group, number) => {
    const starts = [...startOf.values()].filter(
      (row) => group.objectives.includes(rows.objective[row]) && group.attacks.includes(rows.attack[row])
        && passes(row, ["objective", "attack", "dataset"]),
    );
    group.rows.forEach((ranked, position) => {
      const nothing = ranked.label === "none";
      if (state.repair && ranked.label !== state.repair) return;
      const entries = starts.map((start) =>
        entry(start, nothing ? start : after.get(`${place(start)}\n${ranked.label}`) ?? null));
      const searched = ruleWanted() === "default" || nothing || entries.some((one) => one.key[2] !== null);
      if (!entries.length || !searched) return;
      const leaves = leavesOf((row) => rows.repair[row] === ranked.label
        && group.objectives.includes(rows.objective[row]) && passes(row, ["objective", "attack", "dataset"]));
      const counted = leaves.filter((row) => rows.rule[row] === (nothing ? "undefended" : ruleWanted()));
      items.push({
        id: `${number}:${ranked.label}`, kind: "line", group: number, position,
        title: nothing ? "no repair" : methodOf.get(ranked.label).title,
        method: nothing ? null : methodOf.get(ranked.label),
        ranked, entries, leaves, axes: ["attack", "objective", "rule"],
        numbers: summary(entries, counted),
      });
    });
  });
  return items;
};
const leavesOf = (test) => {
  const found = [];
  for (let row = 0; row < data.length; row++) if (test(row)) found.push(row);
  return found;
};
// Lines of attacks, objectives or data sets: over all repairs that were asked to mend their models.
const axisItems = (axis) => {
  const others = ["objective", "attack", "dataset", "repair"];
  return data.labels[axis].flatMap(([label]) => {
    const leaves = leavesOf((row) => rows[axis][row] === label && passes(row, others)
      && (rows.repair[row] !== "none" || !state.repair));
    const counted = leaves.filter((row) => rows.rule[row] === ruleWanted() && startOf.has(place(row)));
    const entries = counted.map((row) => entry(startOf.get(place(row)), row));
    if (!leaves.length) return [];
    return [{
      id: `${axis}:${label}`, kind: "line", title: titleOf[axis].get(label), entries, leaves,
      axes: ["attack", "objective", "repair", "rule"].filter((other) => other !== axis),
      numbers: summary(entries, counted), position: 0,
    }];
  });
};
const leafItem = (row, title) => ({
  id: `${data.keys[rows.cell[row]]}:${rows.rule[row]}`, kind: "leaf", row, leaves: [row], title,
  numbers: { ...folded([row]), interval: null },
});
const named = (axis, row) => {
  if (axis === "rule") return titleOf.rule.get(rows.rule[row]);
  return titleOf[axis].get(rows[axis][row]) ?? String(rows[axis][row]);
};
const titleOfCell = (axes, row) => {
  const attack = axes.includes("attack") ? named("attack", row) : "";
  const objective = axes.includes("objective") ? `after ${named("objective", row)}` : "";
  const repair = axes.includes("repair") ? named("repair", row) : "";
  const rule = rows.rule[row] === "undefended" ? "" : named("rule", row);
  return capital([repair, [attack, objective].filter(Boolean).join(" "), rule].filter(Boolean).join(", "));
};
const placeOf = Object.fromEntries(
  Object.entries(data.labels).map(([axis, entries]) => [axis, new Map(entries.map(([label], k) => [label, k]))]),
);
// By attack, the clean twin last, then as the suite lists them.
const byPlace = (axes) => (a, b) => {
  const rank = (axis, row) => (axis === "attack" && rows.attack[row] === "none" ? Infinity : placeOf[axis].get(rows[axis][row]));
  for (const axis of axes) {
    const [x, y] = [rank(axis, a), rank(axis, b)];
    if (x !== y) return x - y;
  }
  return 0;
};
// What a line opens to: its cells with seeds folded; one of these opens to its seeds.
const childrenOf = (item) => {
  if (item.kind === "fold") return item.leaves.map((row) => leafItem(row, `seed ${rows.seed[row]}`));
  const groups = new Map();
  for (const row of [...item.leaves].sort(byPlace(item.axes))) {
    const key = item.axes.map((axis) => rows[axis][row]).join("\n");
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(row);
  }
  return [...groups].map(([key, leaves]) => {
    const title = titleOfCell(item.axes, leaves[0]);
    if (leaves.length === 1) return leafItem(leaves[0], title);
    return { id: `${item.id}/${key.replaceAll("\n", "/")}`, kind: "fold", leaves, title, numbers: folded(leaves) };
  });
};
const flatItems = () =>
  leavesOf((row) => passes(row, ["objective", "attack", "repair", "dataset", "rule"])).map((row) => {
    const item = leafItem(row, named("repair", row));
    return { ...item, flat: true };
  });
