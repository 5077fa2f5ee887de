// A log record as a line, and everything that it says once it is opened.

import { tint } from "/assets/colours.js";
import { attributes, scope } from "/assets/details.js";
import { copyButton, element, link } from "/assets/dom.js";
import { clock, exact, valueText } from "/assets/format.js";

/** More of a text is not put into a line, which shows the beginning of it. */
const MOST_OF_LINE = 500;
/** Attributes beside it, and characters of each. */
const MOST_BESIDE = 6;
const MOST_OF_VALUE = 80;
/** Attributes that say where in a program a line is from, which one looks up when the line is opened. */
const WHENCE = /^(code|thread)\./;

/**
 * A line that opens.
 *
 * @param when what is said of the time, as text
 * @param options `hasService` says whether the service stands there, `onOpen` is called when it is opened, and `more` makes what
 *        stands in the line's end
 */
export function logLine(record, when, { hasService = true, isOpen = false, onOpen = () => {}, more = null } = {}) {
  const { severity, service, text } = record;
  const time = element("time", "", when);
  time.title = exact(record.time);
  const summary = element("summary", "", time, severityMark(severity));
  if (hasService) {
    const name = element("span", "service", service);
    name.title = service;
    tint(name, service);
    summary.append(name);
  }
  summary.append(text === "" ? element("span", "said zero", "(no text)") : element("span", "said", oneLine(text)));
  const pairs = (record.sent.attributes ?? []).filter(({ key = "" }) => !WHENCE.test(key)).slice(0, MOST_BESIDE);
  if (pairs.length > 0) summary.append(element("span", "beside", pairs.map(({ key = "", value }) => `${key}=${oneLine(valueText(value).slice(0, MOST_OF_VALUE))}`).join("  ")));
  const box = element("details", "log", summary);
  const fill = () => box.children.length === 1 && box.append(logDetails(record));
  box.addEventListener("toggle", () => {
    if (!box.open) return;
    fill();
    onOpen();
  });
  if (isOpen) {
    box.open = true;
    fill();
  }
  const line = element("li", "record", box);
  if (more !== null) line.append(more);
  return line;
}

/** A severity in a colour and in a word. */
export function severityMark(severity) {
  const mark = element("span", "severity", severity || "–");
  mark.dataset.severity = severity;
  return mark;
}

function oneLine(text) {
  const line = text.slice(0, MOST_OF_LINE).replace(/\s+/g, " ").trim();
  return text.length > MOST_OF_LINE ? `${line}…` : line;
}

function logDetails({ sent, time, severity, service, text, trace, span, resource, scope: of }) {
  const box = element("div", "log-details");
  const body = element("pre", "body", text);
  body.tabIndex = 0;
  if (text !== "") box.append(element("div", "body-box", body, copyButton(text, "Copy the text")));
  const list = element("dl", "ids");
  const add = (name, ...content) => list.append(element("div", "", element("dt", "", name), element("dd", "", ...content)));
  const code = (id) => element("code", "", id);
  add("Time", time === 0n ? "unknown" : clock(time), element("span", "exact", exact(time)));
  if (sent.observedTimeUnixNano !== undefined && sent.timeUnixNano !== sent.observedTimeUnixNano) add("Observed", element("span", "exact", exact(BigInt(sent.observedTimeUnixNano))));
  const said = [severity || "not said", sent.severityText && sent.severityText.toLowerCase() !== severity ? `“${sent.severityText}”` : "", sent.severityNumber ? `number ${sent.severityNumber}` : ""];
  add("Severity", said.filter(Boolean).join(", "));
  add("Service", service);
  if (sent.eventName) add("Event", code(sent.eventName));
  if (trace !== "") add("Trace id", link(trace, `/trace/${encodeURIComponent(trace)}`, "id"), copyButton(trace, "Copy the trace id"));
  if (span !== "") add("Span id", trace === "" ? code(span) : link(span, spanAddress(trace, span), "id"), copyButton(span, "Copy the span id"));
  box.append(list);
  box.append(attributes("Attributes", sent.attributes, sent.droppedAttributesCount, null));
  box.append(attributes("Resource", resource.attributes, resource.droppedAttributesCount, "resource"));
  box.append(scope(of));
  return box;
}

/** The page of a trace, at one of its spans. */
export function spanAddress(trace, span) {
  return `/trace/${encodeURIComponent(trace)}${span === "" ? "" : `#${encodeURIComponent(span)}`}`;
}
