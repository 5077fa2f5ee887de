// Everything that a span says about itself.

import { tint } from "/assets/colours.js";
import { copyButton, element, link } from "/assets/dom.js";
import { count, duration, exact, hex, NO_SERVICE, valueText } from "/assets/format.js";
import { quote, write, writeKey, NOTHING_PICKED } from "/assets/query.js";

/** Sections that someone has closed stay closed for the next span. */
const closed = new Set();

/**
 * @param trace as the model has it, with its `id`
 * @param logs what there is to show of its logs, or `""`
 * @param goTo shows another span of this trace by what an address names it by
 */
export function details(trace, row, logs, goTo) {
  const span = trace.spans[row];
  const { sent } = span;
  const box = element("div", "span-details");

  const title = element("h2", "", element("span", "service", span.service), " ", element("span", "name", span.name));
  tint(title, span.service);
  const pills = element("p", "pills");
  if (span.kind) pills.append(element("span", "pill", span.kind));
  const code = (sent.status?.code ?? "STATUS_CODE_UNSET").replace("STATUS_CODE_", "").toLowerCase();
  pills.append(element("span", span.failed ? "pill error" : "pill", span.failed ? "error" : `status ${code}`));
  if (trace.orphans.has(row)) pills.append(element("span", "pill note", "parent missing"));
  if (trace.cycles.has(row)) pills.append(element("span", "pill note", "circle"));
  if (span.reversed) pills.append(element("span", "pill note", "ends before it starts"));
  box.append(title, pills);
  if (sent.status?.message) box.append(element("p", "status-message", sent.status.message));

  box.append(facts(trace, row, goTo));
  const similar = write({ ...NOTHING_PICKED, service: span.service, operation: sent.name ?? "" });
  box.append(element("p", "similar", link("Find traces with this span", search(similar)), link("Rate, errors, durations", metricsOf(span))));

  box.append(logs);
  box.append(attributes("Attributes", sent.attributes, sent.droppedAttributesCount, "span"));
  box.append(events(trace, sent));
  box.append(links(trace, sent, goTo));
  box.append(attributes("Resource", span.resource.attributes, span.resource.droppedAttributesCount, "resource"));
  box.append(scope(span.scope));
  return box;
}

/** The page of services, at the operation of a span; there, spans of its kind must count. */
function metricsOf({ sent, service, kind }) {
  const counts = { server: "requests", consumer: "requests", client: "calls", producer: "calls" }[kind] ?? "all";
  const parameters = new URLSearchParams({ service: service === NO_SERVICE ? "nil" : service, operation: sent.name ?? "" });
  if (counts !== "requests") parameters.set("spans", counts);
  return `/services?${parameters}`;
}

function facts(trace, row, goTo) {
  const span = trace.spans[row];
  const { sent } = span;
  const list = element("dl", "ids");
  const add = (name, ...content) => list.append(element("div", "", element("dt", "", name), element("dd", "", ...content)));
  const code = (text) => element("code", "", text);
  add("Started", span.timeless ? "unknown" : span.start === 0 ? "with the trace" : `+${duration(span.start)}`, element("span", "exact", exact(BigInt(sent.startTimeUnixNano ?? 0))));
  add("Duration", span.reversed ? "ends before it starts" : duration(span.length));
  add("Span id", code(span.id), copyButton(span.id, "Copy the span id"));
  if (span.parent === "") add("Parent", "none, this is a root");
  else {
    const above = trace.parent[row];
    const parent = above >= 0 && trace.spans[above].id === span.parent
      ? button(span.parent, trace.spans[above].name, () => goTo(trace.keys[above]))
      : code(span.parent);
    add("Parent", parent, copyButton(span.parent, "Copy the parent's id"));
  }
  add("Trace id", code(trace.id), copyButton(trace.id, "Copy the trace id"));
  if (sent.traceState) add("Trace state", code(sent.traceState));
  return list;
}

function button(text, title, onClick) {
  const made = element("button", "link", text);
  made.type = "button";
  made.title = title;
  made.addEventListener("click", onClick);
  return made;
}

function events(trace, { events: list = [], droppedEventsCount: lost }) {
  if (list.length === 0 && !lost) return "";
  const box = section("Events", list.length);
  for (const event of list) {
    const at = Number(BigInt(event.timeUnixNano ?? 0) - trace.origin);
    const title = element("h4", "", element("span", "at", at < 0 ? `-${duration(-at)}` : `+${duration(at)}`), " ", event.name || "(no name)");
    const one = element("div", event.name === "exception" ? "one exception" : "one", title);
    if ((event.attributes ?? []).length > 0) one.append(table(event.attributes, "event"));
    one.append(dropped(event.droppedAttributesCount, "attribute was", "attributes were"));
    box.append(one);
  }
  box.append(dropped(lost, "event was", "events were"));
  return box;
}

function links(trace, { links: list = [], droppedLinksCount: lost }, goTo) {
  if (list.length === 0 && !lost) return "";
  const box = section("Links", list.length);
  for (const each of list) {
    const [traceId, spanId] = [hex(each.traceId), hex(each.spanId)];
    const here = traceId === trace.id;
    const target = here ? button(`span ${spanId}`, "In this trace", () => goTo(spanId)) : link(`span ${spanId} of trace ${traceId}`, `/trace/${traceId}#${spanId}`);
    const one = element("div", "one", element("p", "target", target));
    if ((each.attributes ?? []).length > 0) one.append(table(each.attributes, "link"));
    one.append(dropped(each.droppedAttributesCount, "attribute was", "attributes were"));
    box.append(one);
  }
  box.append(dropped(lost, "link was", "links were"));
  return box;
}

/** The instrumentation that something is from. */
export function scope({ name = "", version = "", attributes: list = [], droppedAttributesCount: lost }) {
  if (!name && list.length === 0) return "";
  const box = section("Scope", null);
  box.append(element("p", "scope", [name, version].filter(Boolean).join(" ")));
  if (list.length > 0) box.append(table(list, "instrumentation"));
  box.append(dropped(lost, "attribute was", "attributes were"));
  return box;
}

/** @param of the scope of the attributes in TraceQL, or `null` if it has none */
export function attributes(title, list = [], lost, of) {
  const box = section(title, list.length);
  box.append(list.length > 0 ? table(list, of) : element("p", "zero", "none"), dropped(lost, "attribute was", "attributes were"));
  return box;
}

export function section(title, size) {
  const head = element("summary", "", title);
  if (size !== null) head.append(" ", element("span", "amount", String(size)));
  const box = element("details", "section", head);
  box.open = !closed.has(title);
  box.addEventListener("toggle", () => (box.open ? closed.delete(title) : closed.add(title)));
  return box;
}

function dropped(number = 0, one, many) {
  return number > 0 ? element("p", "zero", `${count(number, one, many)} dropped by the sender or here`) : "";
}

/** Keys and values, sorted: an SDK that keeps them in a hash table sends them in any order. */
function table(list, of) {
  const sorted = list.map(({ key = "", value }) => ({ key, value, text: valueText(value) }));
  sorted.sort((one, other) => (one.key < other.key ? -1 : Number(one.key > other.key)));
  const body = element("tbody", "");
  for (const { key, value, text } of sorted) {
    const name = element("th", "", key);
    name.scope = "row";
    const isLong = text.length > 60 || text.includes("\n");
    const shown = element("div", "value", text);
    const actions = element("td", "actions", copyButton(text, `Copy the value of ${key}`));
    const query = searchFor(of, key, value);
    if (query !== null) {
      const find = link("Find", search(query));
      find.ariaLabel = `Find traces with this ${key}`;
      actions.prepend(find);
    }
    body.append(element("tr", isLong ? "long" : "", name, element("td", "", shown), actions));
  }
  return element("table", "pairs", body);
}

/** A query for spans with the same value; `null` where the language has none. */
function searchFor(of, key, value = {}) {
  if (key === "" || of === null) return null;
  const field = writeKey(`${of}.${key}`);
  if (typeof value.stringValue === "string") return value.stringValue.length > 500 ? null : `{ ${field} = ${quote(value.stringValue)} }`;
  const plain = value.intValue ?? value.boolValue ?? value.doubleValue;
  if (plain === undefined || !/^(-?\d+(\.\d+)?|true|false)$/.test(String(plain))) return null;
  return `{ ${field} = ${plain} }`;
}

function search(query) {
  return `/?${new URLSearchParams({ q: query })}`;
}
