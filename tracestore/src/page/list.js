// The list of the newest traces.

import { clock, count, element, exact, hues, millis, NO_SERVICE, setText } from "/assets/format.js";

const REFRESH_MS = 1500;
const LIMIT = 100;

const table = document.getElementById("table");
const rows = document.getElementById("rows");
const empty = document.getElementById("empty");
const state = document.getElementById("state");
const shown = new Map();

refresh();

async function refresh() {
  if (!document.hidden) {
    try {
      const answer = await fetch(`/api/search?limit=${LIMIT}`);
      if (!answer.ok) throw new Error(await answer.text());
      show((await answer.json()).traces);
      showStatus(await (await fetch("/status.json")).json());
    } catch (error) {
      setText(state, `Not reachable, trying again: ${error.message}`);
    }
  }
  setTimeout(refresh, REFRESH_MS);
}

function show(traces) {
  table.hidden = traces.length === 0;
  empty.hidden = traces.length > 0;
  const many = traces.length === LIMIT;
  if (traces.length === 0) setText(state, "Waiting for the first one");
  else setText(state, many ? `The newest ${LIMIT}` : count(traces.length, "trace", "traces"));

  const services = new Set(traces.flatMap((trace) => Object.keys(trace.serviceStats ?? {})));
  const colours = hues(services);
  const kept = new Set(traces.map((trace) => trace.traceID));
  for (const [id, row] of shown) {
    if (!kept.has(id)) {
      row.node.remove();
      shown.delete(id);
    }
  }
  let next = rows.firstChild;
  for (const trace of traces) {
    const content = JSON.stringify([trace, [...colours]]);
    let row = shown.get(trace.traceID);
    if (row === undefined) {
      row = { node: document.createElement("tr") };
      shown.set(trace.traceID, row);
    }
    if (row.content !== content) {
      row.content = content;
      fill(row.node, trace, colours);
    }
    if (row.node === next) next = next.nextSibling;
    else rows.insertBefore(row.node, next);
  }
}

/** The API says the same of a root that is missing and of one without a service name. */
function rootService(trace) {
  const named = (trace.rootServiceName ?? "") in (trace.serviceStats ?? {});
  return named || trace.rootTraceName === undefined ? trace.rootServiceName : NO_SERVICE;
}

function showStatus(status) {
  for (const [receiver, port] of Object.entries(status.ports)) setText(document.getElementById(receiver), String(port));
  const usage = status.usage;
  const kept = `${count(usage.traces, "trace", "traces")} with ${count(usage.spans, "span", "spans")} in ${mebibytes(usage.bytes)} of ${mebibytes(status.maxBytes)}`;
  const evicted = usage.evictedTraces === 0 ? "none evicted" : `${count(usage.evictedTraces, "older trace", "older traces")} evicted to make room`;
  setText(document.getElementById("usage"), usage.traces + usage.evictedTraces === 0 ? "" : `Kept: ${kept}, ${evicted}.`);
}

function mebibytes(bytes) {
  return `${(bytes / (1 << 20)).toFixed(1)} MiB`;
}

function fill(row, trace, colours) {
  const stats = Object.entries(trace.serviceStats ?? {});
  const spans = stats.reduce((sum, [, service]) => sum + service.spanCount, 0);
  const errors = stats.reduce((sum, [, service]) => sum + (service.errorCount ?? 0), 0);
  const start = BigInt(trace.startTimeUnixNano ?? 0);

  const time = element("time", "", clock(start));
  time.title = exact(start);
  const link = element("a", "root");
  link.href = `/trace/${trace.traceID}`;
  link.append(
    element("span", "service", rootService(trace)),
    " ",
    element("span", "name", trace.rootTraceName ?? ""),
  );
  const chips = element("ul", "chips");
  for (const [service, { spanCount }] of stats) {
    const chip = element("li", "chip", service || NO_SERVICE);
    chip.style.setProperty("--hue", colours.get(service));
    chip.title = count(spanCount, "span", "spans");
    chips.append(chip);
  }
  const problems = errors > 0 ? element("span", "error", count(errors, "error", "errors")) : element("span", "none", "none");
  row.replaceChildren(
    element("td", "time", time),
    element("td", "", link),
    element("td", "", chips),
    element("td", "number", spans.toLocaleString("en")),
    element("td", "number", problems),
    element("td", "number", millis(trace.durationMs ?? 0)),
  );
}
