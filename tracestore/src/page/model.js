// A trace as the waterfall needs it, and what is odd about it. Nothing here touches the page.

import { count, hex, NO_SERVICE, valueText } from "/assets/format.js";
import { layout } from "/assets/tree.js";

/**
 * Tempo's JSON as a tree of spans.
 *
 * Times are numbers of nanoseconds since `origin`, a BigInt since the Unix epoch: as numbers since
 * the epoch they would be rounded to 256 ns.
 */
export function readTrace(json) {
  const spans = [];
  const ids = new Map();
  let origin = null;
  for (const { resource = {}, scopeSpans = [] } of json.resourceSpans ?? []) {
    const named = (resource.attributes ?? []).find(({ key }) => key === "service.name");
    const service = named?.value?.stringValue || NO_SERVICE;
    for (const { scope = {}, spans: scoped = [] } of scopeSpans) {
      for (const sent of scoped) {
        const start = BigInt(sent.startTimeUnixNano ?? 0);
        // 0 means unknown.
        if (start !== 0n && (origin === null || start < origin)) origin = start;
        spans.push({ sent, resource, scope, service, start, end: BigInt(sent.endTimeUnixNano ?? 0) });
      }
    }
  }
  origin ??= 0n;
  let total = 0;
  for (const span of spans) {
    const { sent } = span;
    span.id = shared(ids, sent.spanId);
    span.parent = shared(ids, sent.parentSpanId);
    span.name = sent.name || "(no name)";
    span.kind = (sent.kind ?? "").replace("SPAN_KIND_", "").toLowerCase();
    span.failed = sent.status?.code === "STATUS_CODE_ERROR";
    span.timeless = span.start === 0n;
    span.reversed = !span.timeless && span.end < span.start;
    span.start = span.timeless ? 0 : Number(span.start - origin);
    span.length = span.timeless || span.reversed ? 0 : Number(span.end - origin) - span.start;
    delete span.end;
    total = Math.max(total, span.start + span.length);
  }
  const tree = layout(spans);
  return { ...tree, origin, total, services: byService(tree.spans), errors: failedRows(tree.spans), keys: keys(tree.spans) };
}

/** Most ids are there twice, as a span's own and as a parent's. */
function shared(ids, base64 = "") {
  let id = ids.get(base64);
  if (id === undefined) ids.set(base64, (id = hex(base64)));
  return id;
}

/** Spans and errors of each service, most spans first. */
function byService(spans) {
  const services = new Map();
  for (const span of spans) {
    const stats = services.get(span.service) ?? { spans: 0, errors: 0 };
    stats.spans++;
    if (span.failed) stats.errors++;
    services.set(span.service, stats);
  }
  return new Map([...services].sort(([, one], [, other]) => other.spans - one.spans));
}

function failedRows(spans) {
  const rows = [];
  spans.forEach((span, row) => span.failed && rows.push(row));
  return rows;
}

/** What an address names spans by: the id, and `.2` and so on where several spans share it. */
function keys(spans) {
  const seen = new Map();
  return spans.map(({ id }) => {
    const nth = (seen.get(id) ?? 0) + 1;
    seen.set(id, nth);
    return nth === 1 ? id : `${id}.${nth}`;
  });
}

/** What a reader should know before trusting the picture: `{ text, rows }` with the rows that it is about. */
export function warnings(trace) {
  const { spans, parent, orphans, cycles, calls } = trace;
  const shared = new Map();
  const found = { timeless: [], reversed: [], early: [], otherClock: [], shared: [] };
  spans.forEach((span, row) => {
    if (span.timeless) found.timeless.push(row);
    if (span.reversed) found.reversed.push(row);
    const above = parent[row] < 0 ? null : spans[parent[row]];
    if (above !== null && !span.timeless && !above.timeless && span.start < above.start) {
      (above.service === span.service ? found.early : found.otherClock).push(row);
    }
    if (calls.has(row)) return;
    const same = shared.get(span.id);
    if (same === undefined) shared.set(span.id, [row]);
    else same.push(row);
  });
  for (const rows of shared.values()) if (rows.length > 1) for (const row of rows) found.shared.push(row);

  const said = [];
  const say = (rows, one, many) => rows.length > 0 && said.push({ text: count(rows.length, one, many), rows });
  say([...orphans], "span has a parent that is not here: it was not sent yet, was lost, or belongs to a process that sends no traces.",
    "spans have a parent that is not here: it was not sent yet, was lost, or belongs to a process that sends no traces.");
  say([...cycles], "chain of parents is a circle, opened at its earliest span.", "chains of parents are circles, each opened at its earliest span.");
  say(found.shared, "span shares its id with another one.", "spans share an id with other spans; children are shown below the earliest of them.");
  say(found.otherClock, "span starts before its parent in another service: the clocks of the two do not agree.",
    "spans start before their parents in other services: the clocks do not agree.");
  say(found.early, "span starts before its parent in the same service.", "spans start before their parents in the same service.");
  say(found.reversed, "span ends before it starts, and is shown without a length.", "spans end before they start, and are shown without a length.");
  say(found.timeless, "span has no start time, and is shown at the start of the trace.", "spans have no start time, and are shown at the start of the trace.");
  return said;
}

/** Host and path that a span was asked for, as far as its attributes say. */
export function place({ sent }) {
  const value = (key) => {
    const found = (sent.attributes ?? []).find((attribute) => attribute.key === key);
    return found === undefined ? "" : valueText(found.value);
  };
  return value("url.full") || value("http.url") || value("server.address") + (value("url.path") || value("http.route") || value("http.target"));
}
