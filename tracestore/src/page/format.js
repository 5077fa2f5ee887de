// How numbers, times, values and ids are written, on every page. Nothing here touches the page.

/** A duration in nanoseconds with three significant digits: `1.71 s`. */
export function duration(nanos) {
  if (nanos < 1e3) return `${Math.round(nanos)} ns`;
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

/** A point of an axis, without the digits that the step between points does not need. */
export function tick(nanos, step) {
  if (nanos === 0) return "0";
  const sign = nanos < 0 ? "-" : "";
  const size = Math.abs(nanos);
  if (size >= 60e9 && step >= 1e9) {
    const seconds = Math.round(size / 1e9);
    const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    const parts = [[hours, "h"], [minutes, "min"], [rest, "s"]].filter(([value]) => value > 0);
    return sign + parts.map(([value, unit]) => `${value} ${unit}`).join(" ");
  }
  const [unit, name] = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]].find(([unit]) => size >= unit) ?? [1, "ns"];
  const digits = Math.max(0, Math.ceil(-Math.log10(step / unit) - 1e-9));
  return `${sign}${(size / unit).toFixed(Math.min(digits, 9))} ${name}`;
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

/** How long ago: `12 s ago`. Clocks differ: what is ahead of this one is `now` for a minute. */
export function ago(nanos, now = Date.now()) {
  const date = toDate(nanos);
  if (date === null) return "unknown";
  const seconds = Math.round((now - date.getTime()) / 1000);
  if (seconds < -60) return clock(nanos);
  if (seconds < 1) return "now";
  if (seconds >= 86_400) return clock(nanos).slice(0, 16);
  return `${age(seconds)} ago`;
}

/** Seconds as a rough age: `3 min`. */
export function age(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} days`;
}

function toDate(nanos) {
  if (nanos === 0n) return null;
  const date = new Date(Number(nanos / 1_000_000n));
  return Number.isNaN(date.getTime()) ? null : date;
}

export function number(value) {
  return value.toLocaleString("en");
}

export function count(value, one, many) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

export function bytes(value) {
  for (const [unit, name] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (value >= unit) return `${(value / unit).toPrecision(3).replace(/\.0+$/, "")} ${name}`;
  }
  return `${value} B`;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** The ids of Tempo's JSON are base64. */
export function hex(base64) {
  const raw = atob(base64 ?? "");
  let text = "";
  for (let at = 0; at < raw.length; at++) text += HEX[raw.charCodeAt(at)];
  return text;
}

/** The value of an attribute as text; arrays and maps as JSON. */
export function valueText(value) {
  const plain = toPlain(value ?? {}, 0);
  return typeof plain === "string" ? plain : JSON.stringify(plain, null, 1) ?? "";
}

/** The receiver allows 32 levels, so that recursion ends. */
function toPlain(value, depth) {
  if (depth > 64) return "…";
  if (value.arrayValue) return (value.arrayValue.values ?? []).map((inner) => toPlain(inner, depth + 1));
  if (value.kvlistValue) {
    return Object.fromEntries((value.kvlistValue.values ?? []).map(({ key = "", value: inner }) => [key, toPlain(inner ?? {}, depth + 1)]));
  }
  for (const kind of Object.keys(value)) return typeof value[kind] === "string" ? value[kind] : String(value[kind]);
  return "";
}

/** Service names of spans that have none. */
export const NO_SERVICE = "(no service.name)";

/** For places outside of the page, such as the title of its window: no control characters, nothing that reorders text. */
export function plainTitle(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").slice(0, 120);
}
