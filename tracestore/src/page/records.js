// Log records as the pages need them. Nothing here touches the page.

import { NO_SERVICE, valueText } from "/assets/format.js";

/** Names of severities by the first of their four numbers: https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber */
export const SEVERITIES = ["trace", "debug", "info", "warn", "error", "fatal"];

/** Words that senders use beside them. */
const OTHER_WORDS = new Map([
  ["warning", "warn"], ["err", "error"], ["critical", "fatal"], ["crit", "fatal"], ["emergency", "fatal"], ["alert", "fatal"],
  ["notice", "info"], ["information", "info"], ["informational", "info"], ["verbose", "trace"],
]);

/** One of `SEVERITIES`, or `""` where a record does not say. */
export function severityOf({ severityNumber = 0, severityText = "" }) {
  if (severityNumber >= 1 && severityNumber <= 24) return SEVERITIES[Math.floor((severityNumber - 1) / 4)];
  const word = severityText.toLowerCase();
  return SEVERITIES.includes(word) ? word : OTHER_WORDS.get(word) ?? "";
}

/** The worst of some severities. */
export function worst(severities) {
  return severities.reduce((one, other) => (SEVERITIES.indexOf(other) > SEVERITIES.indexOf(one) ? other : one), "");
}

/** Records of an answer, as they came: `{ sent, time, severity, service, text, trace, span, resource, scope }`, ids in hexadecimal. */
export function readRecords({ records = [], resources = [] }) {
  return records.map((sent) => ({
    sent,
    // When it was seen stands in where a sender does not know when it happened.
    time: BigInt(sent.timeUnixNano ?? 0) || BigInt(sent.observedTimeUnixNano ?? 0),
    severity: severityOf(sent),
    service: sent.service || NO_SERVICE,
    text: textOf(sent),
    trace: sent.traceId ?? "",
    span: sent.spanId ?? "",
    resource: resources[sent.resource] ?? {},
    scope: sent.scope ?? {},
  }));
}

/** What a record says: its body, or else the name of what happened, or a message among its attributes. */
function textOf({ body, eventName = "", attributes = [] }) {
  const said = body === undefined ? "" : valueText(body);
  if (said !== "") return said;
  const message = attributes.find(({ key }) => key === "message" || key === "exception.message");
  return eventName || (message === undefined ? "" : valueText(message.value));
}

/** In the order of time; records of one time stay as they were. */
export function byTime(records) {
  return [...records].sort((one, other) => (one.time < other.time ? -1 : Number(one.time > other.time)));
}
