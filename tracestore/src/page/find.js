// Finds spans inside a trace. Nothing here touches the page.

import { valueText } from "/assets/format.js";

/**
 * The rows that hold a text, in upper or lower case: in the name, service, kind, ids, status or events, or in the key or
 * value of an attribute of the span, its events, its scope or its resource. `key=value` asks for an attribute by both.
 */
export function find(spans, text) {
  const wanted = text.trim();
  if (wanted === "") return [];
  const equals = wanted.indexOf("=");
  const whole = pattern(wanted);
  const pair = equals > 0 ? [pattern(wanted.slice(0, equals).trim()), pattern(wanted.slice(equals + 1).trim())] : null;

  const holds = (list = []) => list.some(({ key = "", value }) => {
    const shown = value?.stringValue ?? valueText(value);
    return pair === null ? whole.test(key) || whole.test(shown) : pair[0].test(key) && pair[1].test(shown);
  });
  // Most spans share few resources and scopes.
  const known = new Map();
  const shares = (part) => {
    if (!known.has(part)) known.set(part, holds(part.attributes) || (pair === null && (whole.test(part.name ?? "") || whole.test(part.version ?? ""))));
    return known.get(part);
  };
  const named = ({ name, service, kind, id, sent }) =>
    whole.test(name) || whole.test(service) || whole.test(kind) || whole.test(id) || whole.test(sent.status?.message ?? "");
  const happened = (event) => (pair === null && whole.test(event.name ?? "")) || holds(event.attributes);

  const rows = [];
  spans.forEach((span, row) => {
    const { sent } = span;
    if (named(span) || holds(sent.attributes) || (sent.events ?? []).some(happened) || shares(span.scope) || shares(span.resource)) rows.push(row);
  });
  return rows;
}

function pattern(text) {
  return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "iu");
}
