// How numbers, times and services are shown, on every page.

/** A duration in nanoseconds as text with three significant digits: `1.71 s`. */
export function duration(nanos) {
  if (nanos < 1e3) return `${nanos} ns`;
  const units = [[1e3, "µs"], [1e6, "ms"], [1e9, "s"]];
  for (const [size, unit] of units) {
    const value = (nanos / size).toPrecision(3);
    if (Number(value) < (unit === "s" ? 60 : 1000)) return `${value} ${unit}`;
  }
  const seconds = Math.round(nanos / 1e9);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** A duration that is known in whole milliseconds only. */
export function millis(value) {
  return value < 1 ? "< 1 ms" : duration(value * 1e6);
}

/** Nanoseconds since the Unix epoch (a BigInt) as a local time of day, with the day unless it is today. */
export function clock(nanos) {
  const date = toDate(nanos);
  if (date === null) return "unknown";
  const pad = (value, digits) => String(value).padStart(digits, "0");
  const time = `${pad(date.getHours(), 2)}:${pad(date.getMinutes(), 2)}:${pad(date.getSeconds(), 2)}.${pad(date.getMilliseconds(), 3)}`;
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.getFullYear()}-${pad(date.getMonth() + 1, 2)}-${pad(date.getDate(), 2)} ${time}`;
}

/** The same in UTC, to the nanosecond. */
export function exact(nanos) {
  const date = toDate(nanos);
  if (date === null) return "unknown";
  const fraction = String(nanos % 1_000_000_000n).padStart(9, "0");
  return `${date.toISOString().slice(0, 19)}.${fraction}Z`;
}

function toDate(nanos) {
  if (nanos === 0n) return null;
  const date = new Date(Number(nanos / 1_000_000n));
  return Number.isNaN(date.getTime()) ? null : date;
}

export function count(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** In OKLCH; far apart from each other, and from the red of errors. */
const HUES = [255, 150, 305, 65, 205, 345, 115, 280, 180, 325, 230, 90];

/** A hue for every service: the same on every page unless two services would share it. */
export function hues(services) {
  const taken = new Set();
  const chosen = new Map();
  for (const service of [...services].sort()) {
    let slot = 0;
    for (const letter of service) slot = (slot * 31 + letter.codePointAt(0)) >>> 0;
    slot %= HUES.length;
    if (taken.size < HUES.length) while (taken.has(slot)) slot = (slot + 1) % HUES.length;
    taken.add(slot);
    chosen.set(service, HUES[slot]);
  }
  return chosen;
}

/** An element with a class and text, or children. What strangers sent is only ever text. */
export function element(name, className, ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

/** Changes the text only if it is another one, so that nothing flickers or is read out again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Service names of spans that have none. */
export const NO_SERVICE = "(no service.name)";
