// Rate, errors and duration of services and operations, from what the store says of their spans. Nothing here touches the page.

import { NO_SERVICE } from "/assets/format.js";
import { quote } from "/assets/query.js";
import { readSeries } from "/assets/series.js";

/** The spans that may be counted, by the name of the choice; `null` for all. */
const KINDS = new Map([
  ["requests", ["server", "consumer"]],
  ["calls", ["client", "producer"]],
  ["all", null],
]);

export const CHOICES = [...KINDS.keys()];

/** Parts of the duration that are told. */
export const QUANTILES = [0.5, 0.95, 0.99];

/** How spans without a `service.name` are named in an answer. */
const NIL = "nil";

/** What a service is called on the page. */
export function serviceTitle(service) {
  return service === NIL ? NO_SERVICE : service;
}

/** What an operation is called on the page. */
export function operationTitle(operation) {
  return operation === "" ? "(no name)" : operation;
}

/** What picks spans of a service, of an operation, of some kinds (all, if `null`), and spans that failed or took long. */
export function selector({ service, operation, kinds = null, failed = false, atLeast = 0 }) {
  const terms = [];
  if (service !== undefined) terms.push(`resource.service.name = ${service === NIL ? NIL : quote(service)}`);
  if (operation !== undefined) terms.push(`name = ${quote(operation)}`);
  if (kinds?.length === 1) terms.push(`kind = ${kinds[0]}`);
  else if (kinds !== null) terms.push(`(${kinds.map((kind) => `kind = ${kind}`).join(" || ")})`);
  if (failed) terms.push("status = error");
  if (atLeast > 0) terms.push(`duration >= ${literal(atLeast)}`);
  return terms.length === 0 ? "{ }" : `{ ${terms.join(" && ")} }`;
}

/** Seconds as a duration of TraceQL with three digits, rounded down. */
function literal(seconds) {
  const nanos = seconds * 1e9;
  const size = 10 ** Math.max(Math.floor(Math.log10(nanos)) - 2, 0);
  const down = Math.floor(nanos / size + 1e-9) * size;
  for (const [unit, name] of [[1e9, "s"], [1e6, "ms"], [1e3, "us"]]) if (down >= unit) return `${Number((down / unit).toFixed(9))}${name}`;
  return `${down}ns`;
}

/**
 * The least duration of the bucket that a quantile is from, in seconds. The store counts durations by powers of two of a
 * nanosecond, so that it is not known which of them are longer than the quantile itself, and maybe none is.
 */
export function bucketOf(quantile) {
  return 2 ** (Math.ceil(Math.log2(quantile * 1e9) - 1e-9) - 1) / 1e9;
}

/** Asks for everything at once: how often spans of each name, kind and status began. */
export function ratesQuery(service) {
  const by = service === undefined ? "resource.service.name" : "name";
  return `${selector({ service })} | rate() by (${by}, kind, status)`;
}

/** Asks for durations, of each service or operation or of all spans together if `by` is `""`. */
export function durationsQuery(spans, by) {
  return `${spans} | quantile_over_time(duration, ${QUANTILES.join(", ")})${by === "" ? "" : ` by (${by})`}`;
}

/** Asks for the longest of the spans that took as long as most or longer, for the sake of their exemplars. */
export function slowQuery(picked, quantile) {
  return `${selector({ ...picked, atLeast: bucketOf(quantile) })} | max_over_time(duration)`;
}

/**
 * The answer to `ratesQuery` as `{ times, lengths, groups }`: times in milliseconds, the seconds that each interval has lasted, and for each service or operation, by name, a map from
 * kinds to `{ rates, failures, exemplars, failed }`, spans per second at each time and exemplars of the two.
 */
export function readRates(answer, { from, step }, now = Date.now()) {
  const read = readSeries(answer);
  // What ends where the window begins is older than it; the interval in which it begins counts as a whole.
  const first = read.times.findIndex((time) => time > from);
  const times = first < 0 ? [] : read.times.slice(first);
  // An interval that has not ended yet is counted as it would go on.
  const lengths = times.map((time) => Math.min(Math.max(now - (time - step), step / 10), step) / 1000);
  const groups = new Map();
  for (const { labels, values, exemplars } of read.series) {
    const [name, kind, status] = labels.map(({ text }) => text);
    const kinds = groups.get(name) ?? groups.set(name, new Map()).get(name);
    const counted = kinds.get(kind) ?? kinds.set(kind, nothing(times.length)).get(kind);
    const own = values.slice(first < 0 ? values.length : first);
    lengths.forEach((seconds, index) => (own[index] *= step / 1000 / seconds));
    add(counted.rates, own);
    counted.exemplars.push(...exemplars);
    if (status !== "error") continue;
    add(counted.failures, own);
    counted.failed.push(...exemplars);
  }
  return { times, lengths, groups };
}

function nothing(length) {
  return { rates: new Float64Array(length), failures: new Float64Array(length), exemplars: [], failed: [] };
}

function add(sums, values) {
  values.forEach((value, index) => (sums[index] += Number.isFinite(value) ? value : 0));
}

/**
 * Which spans count: `{ kinds, isOther }`. Server and consumer spans are requests; a service that has none, such as a batch job or
 * a browser, would not show at all, so that all of its spans count, and `isOther` says so.
 *
 * @param present kinds that there are
 * @return `null` if none of them counts
 */
export function whichCount(choice, present) {
  const wanted = KINDS.get(choice);
  if (wanted === null) return { kinds: null, isOther: false };
  const kinds = wanted.filter((kind) => present.has(kind));
  if (kinds.length > 0) return { kinds, isOther: false };
  return choice === "requests" ? { kinds: null, isOther: true } : null;
}

/**
 * What several maps of kinds are together: `{ rates, failures, exemplars, failed, perSecond, spans, errors, share,
 * kinds }`. `share` of errors is `NaN` if there are no spans; `kinds` are those that were counted.
 */
export function total(groups, kinds, lengths) {
  const sum = { ...nothing(lengths.length), kinds: new Set() };
  for (const group of groups) {
    for (const [kind, counted] of group) {
      if (kinds !== null && !kinds.includes(kind)) continue;
      sum.kinds.add(kind);
      add(sum.rates, counted.rates);
      add(sum.failures, counted.failures);
      sum.exemplars.push(...counted.exemplars);
      sum.failed.push(...counted.failed);
    }
  }
  const spansOf = (rates) => Math.round(rates.reduce((all, rate, index) => all + rate * lengths[index], 0));
  const all = lengths.reduce((one, other) => one + other, 0);
  const [spans, errors] = [spansOf(sum.rates), spansOf(sum.failures)];
  return { ...sum, spans, errors, perSecond: all > 0 ? spans / all : 0, share: spans > 0 ? errors / spans : NaN };
}

/** The answer to `durationsQuery` of one interval: for each name, `{ 0.5: seconds, … }`. */
export function readQuantiles({ series = [] }) {
  const found = new Map();
  const { series: read } = readSeries({ series: series.map(({ labels, value }) => ({ labels, samples: [{ timestampMs: 0, value }] })) }, "quantile_over_time");
  for (const { labels, last } of read) {
    const quantile = Number(labels.find(({ key }) => key === "p")?.text);
    const name = labels.find(({ key }) => key !== "p" && key !== "__name__")?.text ?? "";
    found.set(name, { ...found.get(name), [quantile]: last });
  }
  return found;
}
