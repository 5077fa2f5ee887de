// One trace as a tree of spans on a time axis.

import { clock, count, duration, element, exact, hues, NO_SERVICE, setText } from "/assets/format.js";
import { rows } from "/assets/tree.js";

/** Spans of one request may arrive seconds apart, one process after the other. */
const LOOK_FOR_MS = 10_000;
const LOOK_EVERY_MS = 500;
const ROWS_AT_ONCE = 2000;
const MAX_INDENT = 24;

const id = location.pathname.split("/").pop();
const byId = (name) => document.getElementById(name);
const [tree, state, more, missing] = ["tree", "state", "more", "missing"].map(byId);

let lastText = "";
let limit = ROWS_AT_ONCE;
/** Rows whose details are open, by key. The address names one: `/trace/{id}#{span id}`. */
const open = new Set(location.hash.length > 1 ? [`${location.hash.slice(1)}-1`] : []);
let jumped = location.hash.length < 2;

byId("again").addEventListener("click", look);
tree.addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (row !== null) toggle(row.parentElement);
});
tree.addEventListener("keydown", onKey);
look();

async function look() {
  missing.hidden = true;
  const until = Date.now() + LOOK_FOR_MS;
  let trace = null;
  for (;;) {
    try {
      const answer = await fetch(`/api/v2/traces/${encodeURIComponent(id)}`);
      const text = await answer.text();
      if (answer.status === 400) return sayMissing("This is no trace id", text, false);
      if (!answer.ok) throw new Error(text);
      if (text !== lastText) {
        lastText = text;
        trace = read(JSON.parse(text).trace);
        if (trace.spans.length > 0) show(trace);
      }
      if (trace === null || trace.spans.length === 0) setText(state, "Not here yet, still looking");
    } catch (error) {
      setText(state, `Not reachable, trying again: ${error.message}`);
    }
    if (Date.now() > until) break;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  if (byId("waterfall").hidden) {
    lastText = "";
    sayMissing(
      "No such trace here",
      "It may still be on its way, it may never have been sent, or it was evicted because newer traces needed the room.",
      true,
    );
  }
}

function sayMissing(title, text, again) {
  setText(state, `Trace ${id}`);
  setText(byId("missing-title"), title);
  setText(byId("missing-text"), text);
  byId("again").hidden = !again;
  missing.hidden = false;
}

/** Tempo's JSON as flat spans: ids in hexadecimal, times as BigInt. */
function read(trace) {
  const spans = [];
  for (const { resource = {}, scopeSpans = [] } of trace.resourceSpans ?? []) {
    const named = (resource.attributes ?? []).find(({ key }) => key === "service.name");
    const service = named?.value?.stringValue || NO_SERVICE;
    for (const { scope = {}, spans: scoped = [] } of scopeSpans) {
      for (const span of scoped) {
        spans.push({
          ...span,
          id: hex(span.spanId),
          parent: hex(span.parentSpanId ?? ""),
          start: BigInt(span.startTimeUnixNano ?? 0),
          end: BigInt(span.endTimeUnixNano ?? 0),
          failed: span.status?.code === "STATUS_CODE_ERROR",
          service,
          resource,
          scope,
        });
      }
    }
  }
  return { spans };
}

function hex(base64) {
  return Array.from(atob(base64), (byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}

function show({ spans }) {
  const ordered = rows(spans);
  let start = spans[0].start;
  let end = spans[0].end;
  for (const span of spans) {
    if (span.start < start) start = span.start;
    if (span.end > end) end = span.end;
  }
  const total = Number(end - start);
  const services = new Set(spans.map((span) => span.service));
  const colours = hues(services);
  const root = ordered[0].span;

  document.title = `${root.service} ${root.name ?? ""}`;
  byId("title").replaceChildren(
    element("span", "service", root.service),
    " ",
    element("span", "name", root.name ?? ""),
  );
  state.replaceChildren(element("code", "", id));
  missing.hidden = true;
  const errors = spans.filter((span) => span.failed).length;
  showFacts([
    ["Started", clock(start), exact(start)],
    ["Duration", duration(total)],
    ["Spans", spans.length.toLocaleString("en")],
    ["Services", String(services.size)],
    ["Errors", String(errors)],
  ]);
  showWarnings(ordered);
  showTicks(total);
  showRows(ordered, { start, total, colours });
  byId("waterfall").hidden = false;
}

function showFacts(facts) {
  const nodes = facts.map(([name, value, title]) => {
    const shown = element("dd", "", value);
    if (title) shown.title = title;
    return element("div", "", element("dt", "", name), shown);
  });
  const link = element("a", "", "JSON");
  link.href = `/api/v2/traces/${encodeURIComponent(id)}`;
  nodes.push(element("div", "", element("dt", "", "Download"), element("dd", "", link)));
  byId("facts").replaceChildren(...nodes);
  byId("facts").hidden = false;
}

function showWarnings(ordered) {
  const orphans = ordered.filter((row) => row.orphan).length;
  const cycles = ordered.filter((row) => row.cycle).length;
  const warnings = [];
  if (orphans > 0) {
    warnings.push(`${count(orphans, "span has", "spans have")} a parent that is not here: it was not sent yet, or belongs to a process that sends no traces.`);
  }
  if (cycles > 0) {
    warnings.push(`${count(cycles, "chain of parents is", "chains of parents are")} a circle, opened at the earliest span.`);
  }
  const list = byId("warnings");
  list.replaceChildren(...warnings.map((text) => element("li", "", text)));
  list.hidden = warnings.length === 0;
}

function showTicks(total) {
  const ticks = [0, 0.25, 0.5, 0.75].map((part) => {
    const tick = element("span", "", part === 0 ? "0" : duration(Math.round(total * part)));
    tick.style.left = `${part * 100}%`;
    return tick;
  });
  byId("ticks").replaceChildren(...ticks);
}

function showRows(ordered, axis) {
  const focused = document.activeElement?.dataset?.key;
  const seen = new Map();
  const items = ordered.slice(0, limit).map((row) => {
    // Several spans may share an id.
    const nth = (seen.get(row.span.id) ?? 0) + 1;
    seen.set(row.span.id, nth);
    return treeItem(row, `${row.span.id}-${nth}`, axis);
  });
  tree.replaceChildren(...items);
  const current = items.find((item) => item.dataset.key === focused);
  (current ?? items[0]).tabIndex = 0;
  current?.focus();

  if (!jumped) {
    const target = items.find((item) => open.has(item.dataset.key));
    target?.scrollIntoView({ block: "center" });
    jumped = target !== undefined;
  }

  const rest = ordered.length - items.length;
  more.hidden = rest <= 0;
  setText(more, `Show ${Math.min(rest, ROWS_AT_ONCE)} of ${count(rest, "more span", "more spans")}`);
  more.onclick = () => {
    limit += ROWS_AT_ONCE;
    showRows(ordered, axis);
  };
}

function treeItem(row, key, { start, total, colours }) {
  const { span, depth } = row;
  const length = Math.max(Number(span.end - span.start), 0);
  const kind = (span.kind ?? "").replace("SPAN_KIND_", "").toLowerCase();
  const name = element("div", "what");
  name.style.setProperty("--depth", Math.min(depth, MAX_INDENT));
  name.append(
    element("span", "service", span.service),
    element("span", "name", span.name || "(no name)"),
  );
  if (kind) name.append(element("span", "kind", kind));
  if (span.failed) name.append(element("span", "error", "error"));
  if (row.orphan) name.append(element("span", "note", "parent missing"));
  if (row.cycle) name.append(element("span", "note", "circle"));

  const bar = element("div", "bar");
  const scale = total > 0 ? 100 / total : 0;
  bar.style.left = `${Math.min(Number(span.start - start) * scale, 100)}%`;
  bar.style.width = total > 0 ? `${length * scale}%` : "100%";
  const line = element("div", "row", name, element("div", "lane", bar), element("div", "number", duration(length)));

  const item = element("div", span.failed ? "item failed" : "item", line);
  item.role = "treeitem";
  item.tabIndex = -1;
  item.ariaLevel = String(depth + 1);
  item.ariaLabel = `${span.service} ${span.name ?? ""}, ${kind}, ${duration(length)}${span.failed ? ", error" : ""}`;
  item.dataset.key = key;
  item.style.setProperty("--hue", colours.get(span.service));
  item.showDetails = () => details(span, start);
  setOpen(item, open.has(key));
  return item;
}

function toggle(item) {
  const key = item.dataset.key;
  if (open.has(key)) {
    open.delete(key);
  } else {
    open.add(key);
    history.replaceState(null, "", `#${key.split("-")[0]}`);
  }
  setOpen(item, open.has(key));
  moveTo(item);
}

function setOpen(item, isOpen) {
  item.ariaExpanded = String(isOpen);
  item.querySelector(":scope > .details")?.remove();
  if (isOpen) item.append(item.showDetails());
}

function onKey(event) {
  const item = event.target.closest("[role=treeitem]");
  if (item === null || event.target !== item) return;
  const targets = {
    ArrowDown: item.nextElementSibling,
    ArrowUp: item.previousElementSibling,
    Home: tree.firstElementChild,
    End: tree.lastElementChild,
  };
  if (event.key in targets) {
    event.preventDefault();
    if (targets[event.key] !== null) moveTo(targets[event.key]);
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    toggle(item);
  } else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
    event.preventDefault();
    if (open.has(item.dataset.key) !== (event.key === "ArrowRight")) toggle(item);
  }
}

/** Of all rows, one can be reached with the tab key. */
function moveTo(item) {
  for (const other of tree.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
  item.tabIndex = 0;
  item.focus();
}

function details(span, traceStart) {
  const since = (nanos) => {
    const offset = Number(nanos - traceStart);
    return offset < 0 ? `${duration(-offset)} before the trace` : `after ${duration(offset)}`;
  };
  const status = (span.status?.code ?? "STATUS_CODE_UNSET").replace("STATUS_CODE_", "").toLowerCase();
  const facts = [
    ["Span id", span.id],
    ["Parent id", span.parent || "none"],
    ["Started", `${exact(span.start)}, ${since(span.start)}`],
    ["Status", span.status?.message ? `${status}: ${span.status.message}` : status],
  ];
  if (span.traceState) facts.push(["Trace state", span.traceState]);
  const scope = [span.scope.name, span.scope.version].filter(Boolean).join(" ");
  if (scope) facts.push(["Scope", scope]);

  const box = element("div", "details", section("Span", table(facts)));
  box.append(section("Attributes", attributes(span.attributes, span.droppedAttributesCount)));
  for (const event of span.events ?? []) {
    const title = `Event, ${since(BigInt(event.timeUnixNano ?? 0))}: ${event.name || "(no name)"}`;
    box.append(section(title, attributes(event.attributes, event.droppedAttributesCount)));
  }
  dropped(box, span.droppedEventsCount, "event was", "events were");
  for (const link of span.links ?? []) {
    const anchor = element("a", "", hex(link.traceId));
    anchor.href = `/trace/${hex(link.traceId)}`;
    const target = element("p", "", "Span ", element("code", "", hex(link.spanId)), " of trace ", anchor);
    box.append(section("Link", target, attributes(link.attributes, link.droppedAttributesCount)));
  }
  dropped(box, span.droppedLinksCount, "link was", "links were");
  box.append(section("Resource", attributes(span.resource.attributes, span.resource.droppedAttributesCount)));
  if (span.scope.attributes) box.append(section("Scope", attributes(span.scope.attributes, span.scope.droppedAttributesCount)));
  return box;
}

function section(title, ...content) {
  return element("section", "", element("h3", "", title), ...content);
}

function attributes(list = [], droppedCount = 0) {
  const box = element("div", "");
  const pairs = list.map(({ key = "", value }) => [key, valueText(value)]);
  // An SDK that keeps them in a hash table sends them in any order.
  pairs.sort(([one], [other]) => (one < other ? -1 : Number(one > other)));
  if (pairs.length > 0) box.append(table(pairs));
  else box.append(element("p", "none", "none"));
  dropped(box, droppedCount, "attribute was", "attributes were");
  return box;
}

function dropped(box, number = 0, one, many) {
  if (number > 0) box.append(element("p", "none", `${count(number, one, many)} dropped by the sender or here`));
}

function table(pairs) {
  const body = element("tbody", "");
  for (const [key, value] of pairs) {
    const name = element("th", "", key);
    name.scope = "row";
    body.append(element("tr", "", name, element("td", "", value)));
  }
  return element("table", "pairs", body);
}

/** The value of an attribute as text; arrays and maps as JSON. */
function valueText(value = {}) {
  const plain = toPlain(value);
  return typeof plain === "string" ? plain : JSON.stringify(plain) ?? "";
}

function toPlain(value = {}) {
  if (value.arrayValue) return (value.arrayValue.values ?? []).map(toPlain);
  if (value.kvlistValue) {
    return Object.fromEntries((value.kvlistValue.values ?? []).map(({ key = "", value: inner }) => [key, toPlain(inner)]));
  }
  const [only] = Object.values(value);
  return typeof only === "boolean" || typeof only === "number" ? String(only) : only ?? "";
}
