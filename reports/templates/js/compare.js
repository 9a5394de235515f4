// Two lines of the table beside each other: paired by what they share, with a paired t-test over seeds.
const comparing = document.getElementById("compare");
const findItem = (id) => {
  const search = (items) => {
    for (const item of items) {
      if (item.id === id) return item;
      const inside = item.kind !== "leaf" && (id.startsWith(`${item.id}/`) || item.leaves.some((row) => `${data.keys[rows.cell[row]]}:${rows.rule[row]}` === id));
      const found = inside ? search(childrenOf(item)) : null;
      if (found) return found;
    }
    return null;
  };
  return search(itemsOfView());
};
// What of a line is paired: an entry for each planted cell, or for each of its rows.
const entriesOf = (item) => {
  if (item.entries) return item.entries;
  return item.leaves.flatMap((row) => {
    const start = startOf.get(place(row));
    const net = judged("net", row);
    if (!known(net) && start === undefined) return [];
    return [{
      seed: rows.seed[row], key: [rows.objective[row], rows.attack[row], rows.repair[row], rows.rule[row]],
      net, lost: rows.lost[row], pa: judged("pa", row), ca: judged("ca", row), asr: judged("asr", row),
    }];
  });
};
const paired = (first, second) => {
  const [a, b] = [entriesOf(first), entriesOf(second)];
  const width = Math.min(...[...a, ...b].map((one) => one.key.length));
  const positions = [...Array(Number.isFinite(width) ? width : 0).keys()];
  // an axis on which one line differs from the other as a whole takes no part in the pairing
  const values = (entries, k) => new Set(entries.map((one) => one.key[k]));
  const shared = positions.filter((k) => [...values(a, k)].some((value) => values(b, k).has(value)));
  const key = (one) => JSON.stringify([one.seed, ...shared.map((k) => one.key[k])]);
  const others = new Map(b.map((one) => [key(one), one]));
  return a.filter((one) => others.has(key(one))).map((one) => [one, others.get(key(one))]);
};
const MEASURED = { net: "Net ASR", lost: "CA lost", pa: "PA", ca: "CA" };
const verdict = (over, seeds) => {
  if (!over) return seeds ? "one seed: no test" : "no pair";
  if (over.p === null) return "the seeds do not differ at all: no test";
  const p = over.p < 0.001 ? "p < 0.001" : `p = ${over.p.toFixed(3)}`;
  return `${p}${over.p > 0.05 ? "; not told apart at 5 %" : ""}`;
};
const showCompare = (first, second) => {
  const pairs = paired(first, second);
  const seeds = new Set(pairs.map(([one]) => one.seed)).size;
  const lines = Object.entries(MEASURED).flatMap(([name, title]) => {
    const both = pairs.filter(([one, other]) => known(one[name]) && known(other[name]));
    if (!both.length) return [];
    const side = (place) => percent(mean(bySeed(both.map((pair) => pair[place]), name)));
    const differences = bySeed(both.map(([one, other]) => ({ seed: one.seed, [name]: one[name] - other[name] })), name);
    const over = overSeeds(differences);
    return [[title, side(0), side(1), signed(mean(differences)), over && over.p !== null ? interval([over.low, over.high], signed) : DASH, verdict(over, differences.length)]];
  });
  comparing.querySelector("h2").textContent = `${first.title} and ${second.title}`;
  comparing.querySelector("[data-of=body]").replaceChildren(
    make("p", { class: "note" }, `${pairs.length} pair${pairs.length === 1 ? "" : "s"} of cells over ${seeds} seed${seeds === 1 ? "" : "s"}, paired by all that the two lines share. Shares in %, differences in points: first minus second. Differences are means of each seed's pairs; interval and p (two-sided): paired t-test over seeds, for this one comparison, not corrected for others that you look at.`),
    lines.length ? scrolled("Comparison", tableOf(["", first.title, second.title, "Difference", "95 % interval", "Test"], lines)) : make("p", {}, "They share no cell that can be paired."),
    ...(first.method || second.method ? [make("h3", {}, "What they ask for"), scrolled("What they ask for", tableOf(["", first.title, second.title], [
      ["Defender holds", ...[first, second].map((item) => (item.method && item.method.holds) || "nothing")],
      ["Asks for", ...[first, second].map((item) => (item.method && item.method.needs) || "nothing")],
      ["Cost", ...[first, second].map((item) => seconds(item.numbers.cost))],
      ["Coverage", ...[first, second].map((item) => `${item.numbers.covered} of ${item.numbers.planted}`)],
    ]))] : []),
  );
};
const openCompare = () => {
  const [first, second] = state.compare.map(findItem);
  if (!first || !second) return;
  showCompare(first, second);
  if (!comparing.open) comparing.showModal();
};

for (const element of [dialog, comparing]) {
  element.querySelector("[data-of=close]").addEventListener("click", () => element.close());
  element.addEventListener("click", (event) => { if (event.target === element) element.close(); });
}
dialog.addEventListener("close", () => {
  if (state.cell) {
    state.cell = "";
    writeAddress();
  }
});
comparing.addEventListener("close", () => {
  state.compare = [];
  changed({ keep: true });
});
