// Between pickers and TraceQL, both ways. Nothing here touches the page.

export const NOTHING_PICKED = Object.freeze({ service: "", operation: "", errors: false, min: "", max: "", of: "span", attributes: [], then: "" });

export const OPERATORS = ["=", "!=", ">", ">=", "<", "<=", "=~", "!~"];

/** What can be made of the spans that were picked, by the name of the picker. */
export const VIEWS = new Map([
  ["traces", ""],
  ["rate", "| rate() by (resource.service.name)"],
  ["durations", "| quantile_over_time(duration, 0.5, 0.9, 0.99)"],
  ["heatmap", "| histogram_over_time(duration)"],
]);

const SCOPES = ["span", "resource", "event", "link", "instrumentation", "parent"];

/** Keys that are no attributes: https://grafana.com/docs/tempo/latest/traceql/construct-traceql-queries/#intrinsic-fields */
const INTRINSICS = new Set([
  "name", "status", "statusMessage", "kind", "duration", "traceDuration", "rootName", "rootServiceName", "childCount",
  "nestedSetLeft", "nestedSetRight", "nestedSetParent",
]);
const SCOPED_INTRINSIC = /^(span|trace|event|link|instrumentation):[A-Za-z]+$/;

/** Values of these are words of the language, not strings. */
const WORDS = new Map([
  ["status", ["error", "ok", "unset"]],
  ["span:status", ["error", "ok", "unset"]],
  ["kind", ["server", "client", "internal", "producer", "consumer", "unspecified"]],
  ["span:kind", ["server", "client", "internal", "producer", "consumer", "unspecified"]],
]);
const DURATIONS = new Set(["duration", "traceDuration", "span:duration", "trace:duration", "event:timeSinceStart"]);

const DURATION = /^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/;
const NUMBER = /^-?\d+(\.\d+)?$/;

/**
 * What was picked as a query: `{ resource.service.name = "api" && duration >= 10ms }`.
 *
 * `attributes` are `{ key, operator, value, type }`; `type` is `string` where a value that looks like a number is none.
 * `then` are the stages after it, as they were read.
 */
export function write({ service, operation, errors, min, max, of, attributes, then }) {
  const field = of === "trace" ? "traceDuration" : "duration";
  const terms = [];
  if (service) terms.push(`resource.service.name = ${quote(service)}`);
  if (operation) terms.push(`name = ${quote(operation)}`);
  if (errors) terms.push("status = error");
  if (min) terms.push(`${field} >= ${min}`);
  if (max) terms.push(`${field} <= ${max}`);
  for (const { key, operator, value, type } of attributes) {
    if (key) terms.push(`${writeKey(key)} ${operator} ${writeValue(key, operator, value, type)}`);
  }
  const filter = terms.length === 0 ? "{}" : `{ ${terms.join(" && ")} }`;
  return then ? `${filter} ${then}` : filter;
}

/** The pickers of a query, or `null` if it says something that they cannot. */
export function read(query) {
  if (query.trim() === "") return { ...NOTHING_PICKED, attributes: [] };
  const parts = /^\s*\{((?:[^"`{}]|"(?:[^"\\]|\\.)*")*)\}\s*(\|(?!\|).*)?$/su.exec(query);
  if (parts === null) return null;
  const [, inner, then = ""] = parts;
  const picked = { ...NOTHING_PICKED, attributes: [], then: then.trim() };
  if (inner.trim() === "") return picked;
  // Other escapes than those that are written here would come back as something else.
  if (/\\[^"\\nrt]/.test(inner.replaceAll("\\\\", ""))) return null;

  const term = /\s*((?:[^\s"&|(){}=!<>~]|"(?:[^"\\]|\\.)*")+)\s*(=~|!~|!=|>=|<=|=|>|<)\s*("(?:[^"\\]|\\.)*"|[^\s"&|(){}=!<>~]+)\s*(&&|$)/suy;
  let durations = "";
  let more = true;
  while (more) {
    const found = term.exec(inner);
    if (found === null) return null;
    const [, key, operator, value, next] = found;
    more = next !== "";
    const text = unquote(value);
    const bound = { ">=": "min", "<=": "max" }[operator];
    const of = { duration: "span", traceDuration: "trace" }[key];
    if (key === "resource.service.name" && operator === "=" && text !== null && picked.service === "") picked.service = text;
    else if (key === "name" && operator === "=" && text !== null && picked.operation === "") picked.operation = text;
    else if (key === "status" && operator === "=" && value === "error") picked.errors = true;
    else if (of && bound && DURATION.test(value) && picked[bound] === "" && (durations === "" || durations === of)) {
      durations = of;
      picked.of = of;
      picked[bound] = value;
    } else {
      const readable = readKey(key);
      if (readable === null) return null;
      const type = text !== null ? "string" : DURATION.test(value) ? "duration" : "";
      // An expression, such as `2*3`, is no value.
      if (text === null && writeValue(readable, operator, value, type) !== value) return null;
      picked.attributes.push({ key: readable, operator, value: text ?? value, type });
    }
  }
  return picked;
}

/** A duration as TraceQL has it, `""` for none, or `null` if it is not one. A bare number is in milliseconds. */
export function readDuration(text) {
  const compact = text.replace(/\s+/g, "").replace("min", "m");
  if (compact === "") return "";
  if (/^\d+(\.\d+)?$/.test(compact)) return `${compact}ms`;
  return DURATION.test(compact) ? compact : null;
}

/** A string of TraceQL. */
export function quote(text) {
  const escaped = text.replace(/["\\\n\r\t]/g, (char) => ({ "\n": "\\n", "\r": "\\r", "\t": "\\t" })[char] ?? `\\${char}`);
  return `"${escaped}"`;
}

/** A key as it is typed, `span.http.route`, in the form of the language; without a scope, any scope. */
export function writeKey(key) {
  if (INTRINSICS.has(key) || SCOPED_INTRINSIC.test(key)) return key;
  const dot = key.indexOf(".");
  const scoped = dot >= 0 && (dot === 0 || SCOPES.includes(key.slice(0, dot)));
  const [scope, name] = scoped ? [key.slice(0, dot), key.slice(dot + 1)] : ["", key];
  return `${scope}.${/^[\w./-]+$/.test(name) ? name : quote(name)}`;
}

function readKey(key) {
  const quoted = key.indexOf('"');
  if (quoted < 0) return key;
  const name = unquote(key.slice(quoted));
  return name === null ? null : key.slice(0, quoted) + name;
}

export function writeValue(key, operator, value, type) {
  if (operator === "=~" || operator === "!~") return quote(value);
  if (type === "string") return quote(value);
  if (WORDS.get(key)?.includes(value)) return value;
  if (NUMBER.test(value) || value === "true" || value === "false" || value === "nil") return value;
  if ((DURATIONS.has(key) || type === "duration") && DURATION.test(value)) return value;
  return quote(value);
}

/** The text of a quoted string; `null` if it is not quoted. */
function unquote(value) {
  if (!/^"(?:[^"\\]|\\.)*"$/s.test(value)) return null;
  return value.slice(1, -1).replace(/\\(.)/gs, (_, char) => ({ n: "\n", r: "\r", t: "\t" })[char] ?? char);
}
