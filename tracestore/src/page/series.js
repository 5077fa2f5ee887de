// Series of a metrics query: names, units and numbers. Nothing here touches the page.

import { duration, NO_SERVICE, tick, valueText } from "/assets/format.js";

const TIMES = new Set(["duration", "traceDuration", "event:timeSinceStart"]);

/** What the numbers of a query count: `{ name, text, tick }`; `text` writes one, `tick` one of an axis with such a step. */
export function unitOf({ function: called, of }) {
  if (called === "rate") return plainUnit("spans/s");
  if (called === "count_over_time" || called === "histogram_over_time" || called === "compare") return plainUnit("spans");
  if (called === "quantile_over_time" ? TIMES.has(of) : of === "duration") return { name: "duration", ...secondsUnit };
  // Of other times these are nanoseconds, as in Tempo.
  if (TIMES.has(of)) return { name: "duration", text: (value) => duration(value), tick };
  return plainUnit(of);
}

/** The unit of the buckets of a histogram. */
export function bucketUnit({ of }) {
  return TIMES.has(of) ? { name: "duration", ...secondsUnit } : plainUnit(of);
}

const secondsUnit = {
  text: (seconds) => (seconds < 0 ? `-${duration(-seconds * 1e9)}` : seconds === 0 ? "0" : duration(seconds * 1e9)),
  tick: (seconds, step) => tick(seconds * 1e9, step * 1e9),
};

function plainUnit(name) {
  return { name, text: plain, tick: (value, step) => value.toLocaleString("en", { maximumFractionDigits: Math.min(Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)), 9) }) };
}

/** At most four significant digits after the comma, all before it. */
function plain(value) {
  const size = Math.abs(value);
  return value.toLocaleString("en", size >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 });
}

/**
 * An answer as `{ times, series }`: times in milliseconds, at each of them a value of every series or `NaN`.
 *
 * A series has `{ key, name, labels, values, exemplars, last, mean, max }`; `key` is the same in the next answer. The largest
 * come first. `called` is the metrics function.
 */
export function readSeries({ series = [] }, called = "") {
  const all = new Set();
  for (const { samples = [] } of series) for (const { timestampMs } of samples) all.add(Number(timestampMs));
  const times = [...all].sort((one, other) => one - other);
  const at = new Map(times.map((time, index) => [time, index]));
  const read = series.map(({ labels = [], samples = [], exemplars = [] }) => {
    const values = new Float64Array(times.length).fill(NaN);
    for (const { timestampMs, value = 0 } of samples) {
      // A quantile of nothing is sent as zero, and what is less than 2 ns is in no quantile.
      const isNothing = Number(value) === 0 && called === "quantile_over_time";
      values[at.get(Number(timestampMs))] = isNothing ? NaN : Number(value);
    }
    return { ...named(labels), values, ...summary(values), exemplars: exemplars.map(exemplar).filter((each) => each !== null) };
  });
  read.sort((one, other) => other.sum - one.sum || (one.key < other.key) - (one.key > other.key));
  return { times, series: read };
}

function named(labels) {
  const read = labels.map(({ key, value }) => ({ key, text: valueText(value), value }));
  const key = JSON.stringify(read.map(({ key: label, text }) => [label, text]));
  const text = (label) => {
    if (label.key === "p") return `p${Number((Number(label.text) * 100).toFixed(4))}`;
    if (label.text === "nil") return label.key === "resource.service.name" ? NO_SERVICE : "(none)";
    return label.text === "" ? "(empty)" : label.text;
  };
  const grouped = read.filter(({ key: label }) => label !== "p" && label !== "__name__");
  const name = read.map((label) => (grouped.length > 1 && grouped.includes(label) ? `${label.key} = ${text(label)}` : text(label))).join(", ");
  return { key, name: name || "(no labels)", labels: read };
}

/** `{ sum, last, max, mean }` of the values that there are. */
export function summary(values) {
  let [sum, many, max, last] = [0, 0, -Infinity, NaN];
  for (const value of values) {
    if (Number.isNaN(value)) continue;
    sum += Number.isFinite(value) ? value : 0;
    many++;
    max = Math.max(max, value);
    last = value;
  }
  return { sum, last, max: many > 0 ? max : NaN, mean: many > 0 ? sum / many : NaN };
}

function exemplar({ labels = [], value = 0, timestampMs }) {
  const id = valueText(labels.find(({ key }) => key === "trace:id")?.value);
  const time = Number(timestampMs);
  return /^[0-9a-f]{1,32}$/i.test(id) && time > 0 && Number.isFinite(Number(value)) ? { trace: id, value: Number(value), time } : null;
}

/** Steps between points, in milliseconds. */
const STEPS = [100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, ...[1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440].map((minutes) => minutes * 60_000)];

/** How far points are apart in so many milliseconds, if there is room for so many points. */
export function stepOf(millis, room) {
  return STEPS.find((step) => millis / step <= room) ?? Math.ceil(millis / room / 86_400_000) * 86_400_000;
}

/** Round numbers from 0, or from below it, to at least `most`: `{ step, ticks }`. */
export function valueTicks(least, most, wished, base = 10) {
  const rough = Math.max(most - least, Number.MIN_VALUE * 1e10) / wished;
  const power = base ** Math.floor(Math.log(rough) / Math.log(base) + 1e-9);
  const step = power * ([1, 2, 5, 10].find((factor) => power * factor >= rough * (1 - 1e-9)) ?? 10);
  const first = Math.floor(least / step + 1e-9);
  const last = Math.ceil(most / step - 1e-9);
  const ticks = [];
  for (let at = first; at <= last && ticks.length < 20; at++) ticks.push(at * step);
  return { step, ticks };
}

const TIME_STEPS = [100, 200, 500, ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800].map((seconds) => seconds * 1000)];

/** Round local times between two, about so many: `{ time, text }`. */
export function timeTicks(from, to, wished) {
  const step = TIME_STEPS.find((each) => (to - from) / each <= wished) ?? 2_592_000_000;
  const zone = new Date(from).getTimezoneOffset() * 60_000;
  const ticks = [];
  for (let time = Math.ceil((from - zone) / step) * step + zone; time <= to && ticks.length < 50; time += step) ticks.push({ time, text: timeText(time, step) });
  return ticks;
}

/** A time of day; the day if it begins then. */
export function timeText(time, step) {
  const date = new Date(time);
  const pad = (value, digits = 2) => String(value).padStart(digits, "0");
  const isMidnight = date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0 && date.getMilliseconds() === 0;
  if (isMidnight && step >= 60_000) return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  const minutes = `${pad(date.getHours())}:${pad(date.getMinutes())}`;
  if (step >= 60_000) return minutes;
  const seconds = `${minutes}:${pad(date.getSeconds())}`;
  return step >= 1000 ? seconds : `${seconds}.${pad(date.getMilliseconds(), 3)}`;
}

/** A histogram as `{ times, buckets, counts, most }`: buckets by their upper bounds, `counts[bucket][time]`. */
export function readHistogram(answer) {
  const { times, series } = readSeries(answer);
  const byBound = new Map();
  for (const { labels, values } of series) {
    const bound = Number(labels.find(({ key }) => key === "__bucket")?.text);
    if (!(bound > 0)) continue;
    const counts = byBound.get(bound) ?? new Float64Array(times.length);
    values.forEach((value, index) => (counts[index] += Number.isNaN(value) ? 0 : value));
    byBound.set(bound, counts);
  }
  const bounds = [...byBound.keys()].sort((one, other) => one - other);
  const buckets = [];
  // Bounds are powers of two of something; what lies between two of them was empty.
  for (let bound = bounds[0]; bound <= bounds.at(-1) * 1.001 && buckets.length < 64; bound *= 2) buckets.push(bounds.find((known) => Math.abs(known / bound - 1) < 0.001) ?? bound);
  const counts = buckets.map((bound) => byBound.get(bound) ?? new Float64Array(times.length));
  const most = counts.reduce((all, each) => each.reduce((one, other) => Math.max(one, other), all), 0);
  return { times, buckets, counts, most };
}

/**
 * What `compare()` found, as `{ selected, others, rows }`; a row is `{ field, value, text, selected, others, difference }` with
 * shares of the spans of both sides, as `{ part, isBound }`. The biggest differences come first.
 *
 * Of a field only the most frequent values of each side are told. One that is told of the other side alone may be there as often
 * as the least of them: then the share is a bound, and the difference is what is sure.
 */
export function readContrast({ series = [] }) {
  const totals = { selection_total: 0, baseline_total: 0 };
  const found = new Map();
  const untold = new Map();
  for (const { labels = [], samples = [] } of series) {
    const meta = valueText(labels.find(({ key }) => key === "__meta_type")?.value);
    const label = labels.find(({ key }) => !key.startsWith("__meta_"));
    if (label === undefined) continue;
    const sum = samples.reduce((all, { value = 0 }) => all + Number(value), 0);
    const place = JSON.stringify([label.key, meta.replace("_total", "")]);
    const rest = untold.get(place) ?? { spans: 0, most: Infinity };
    untold.set(place, rest);
    if (meta in totals) {
      totals[meta] = Math.max(totals[meta], sum);
      rest.spans += sum;
    } else {
      const text = valueText(label.value);
      const key = JSON.stringify([label.key, text]);
      const row = found.get(key) ?? { field: label.key, value: label.value, text };
      row[meta] = (row[meta] ?? 0) + sum;
      found.set(key, row);
      rest.spans -= sum;
      rest.most = Math.min(rest.most, sum);
    }
  }
  const share = (row, side) => {
    const { spans, most } = untold.get(JSON.stringify([row.field, side])) ?? { spans: 0, most: 0 };
    const spansOf = row[side] ?? Math.max(Math.min(spans, most), 0);
    const total = totals[`${side}_total`];
    return { part: total > 0 ? spansOf / total : 0, isBound: row[side] === undefined && spansOf > 0 };
  };
  const rows = [...found.values()].map((row) => {
    const [selected, others] = [share(row, "selection"), share(row, "baseline")];
    const difference = selected.part - others.part;
    const isUnsure = (selected.isBound && difference > 0) || (others.isBound && difference < 0);
    return { field: row.field, value: row.value, text: row.text, selected, others, difference: isUnsure ? 0 : difference };
  });
  rows.sort((one, other) => Math.abs(other.difference) - Math.abs(one.difference) || (one.field < other.field ? -1 : 1));
  return { selected: totals.selection_total, others: totals.baseline_total, rows };
}
