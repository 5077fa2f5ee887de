// Between Tempo's JSON and OTLP's, and from a file to requests that a receiver accepts. Nothing here touches the page.

import { hex } from "/assets/format.js";

const KINDS = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"].map((name) => `SPAN_KIND_${name}`);
const CODES = ["UNSET", "OK", "ERROR"].map((name) => `STATUS_CODE_${name}`);

/** Well below what a receiver takes at once, in characters of JSON. */
const CHUNK = 4_000_000;

/** Tempo's `{ resourceSpans }` as OTLP/JSON: ids in hexadecimal, enums as numbers. */
export function toOtlp(trace) {
  return { resourceSpans: (trace.resourceSpans ?? []).map((group) => mapSpans(group, otlpSpan)) };
}

/** The spans of a file, as OTLP/JSON groups: OTLP/JSON itself, one per line too, or an answer of Tempo's API. */
export function fromFile(text) {
  const documents = parse(text);
  return documents.flatMap((document) => {
    const groups = document?.resourceSpans ?? document?.trace?.resourceSpans ?? document?.batches;
    if (!Array.isArray(groups)) throw new Error("it has no resourceSpans, so it is not OTLP JSON");
    return groups.map((group) => mapSpans(group ?? {}, otlpSpan));
  });
}

/** Requests that each hold at most some megabytes: `{ body, spans, traces }`. */
export function* requests(groups) {
  let request = null;
  for (const group of groups) {
    for (const scoped of group.scopeSpans ?? []) {
      let into = null;
      for (const span of scoped.spans ?? []) {
        const size = JSON.stringify(span).length;
        if (request !== null && request.size + size > CHUNK) {
          yield finish(request);
          request = into = null;
        }
        request ??= { resourceSpans: [], size: 0, spans: 0, traces: new Set() };
        if (into === null) {
          into = [];
          request.resourceSpans.push({ ...group, scopeSpans: [{ ...scoped, spans: into }] });
          request.size += JSON.stringify([group.resource, scoped.scope]).length;
        }
        into.push(span);
        request.size += size;
        request.spans++;
        request.traces.add(String(span.traceId).toLowerCase());
      }
    }
  }
  if (request !== null) yield finish(request);
}

function finish({ resourceSpans, spans, traces }) {
  return { body: JSON.stringify({ resourceSpans }), spans, traces };
}

function parse(text) {
  try {
    return [JSON.parse(text)];
  } catch (whole) {
    // The file exporter of the Collector writes a document per line.
    try {
      return text.split("\n").filter((line) => line.trim() !== "").map((line) => JSON.parse(line));
    } catch {
      throw new Error(`it is not JSON: ${whole.message}`);
    }
  }
}

function mapSpans(group, change) {
  return {
    ...group,
    scopeSpans: (group.scopeSpans ?? []).map((scoped) => ({ ...scoped, spans: (scoped.spans ?? []).map(change) })),
  };
}

/** Of either form: what is OTLP/JSON already stays as it is. */
function otlpSpan(span) {
  const changed = { ...span, traceId: hexId(span.traceId, 16), spanId: hexId(span.spanId, 8) };
  if (span.parentSpanId) changed.parentSpanId = hexId(span.parentSpanId, 8);
  if (KINDS.includes(span.kind)) changed.kind = KINDS.indexOf(span.kind);
  if (span.status) {
    changed.status = { ...span.status };
    if (CODES.includes(span.status.code)) changed.status.code = CODES.indexOf(span.status.code);
  }
  if (span.links) {
    changed.links = span.links.map((link) => ({ ...link, traceId: hexId(link.traceId, 16), spanId: hexId(link.spanId, 8) }));
  }
  return changed;
}

/** Base64 and hexadecimal of so many bytes differ in their length. What is neither is for the receiver to refuse. */
function hexId(id, size) {
  if (typeof id !== "string" || id.length !== Math.ceil(size / 3) * 4) return id;
  try {
    return hex(id);
  } catch {
    return id;
  }
}
