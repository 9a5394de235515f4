// Files beside the page, loaded by script tags: a page that was opened from a file may not fetch.
const waiting = new Map(); // what was asked for -> what to do with it
window.backstop = {
  cell: (key, details) => answer(`cell ${key}`, details),
  columns: (number, columns) => answer(`columns ${number}`, columns),
  statistics: { wilson, overSeeds, tQuantile, twoSided },
};
const answer = (name, value) => {
  const resolve = waiting.get(name);
  waiting.delete(name);
  if (resolve) resolve(value);
};
const loadScript = (path, failed) => {
  const script = make("script", { src: path });
  script.addEventListener("error", () => failed(new Error(`${path} is not there`)));
  script.addEventListener("load", () => script.remove());
  document.head.append(script);
};
const details = new Map(); // key -> promise of a cell's details
const loadCell = (key) => {
  if (!/^[0-9A-Za-z_-]+$/.test(key)) return Promise.reject(new Error("no such cell"));
  if (!details.has(key)) {
    details.set(key, new Promise((resolve, reject) => {
      waiting.set(`cell ${key}`, resolve);
      loadScript(`cells/${key}.js`, reject);
    }));
  }
  return details.get(key);
};
