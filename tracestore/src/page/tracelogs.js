// The log records of a trace: in the rows of their spans, below the details of a span, and all of them as a list.

import { ask } from "/assets/api.js";
import { section } from "/assets/details.js";
import { byId, element, link, setText } from "/assets/dom.js";
import { count, duration, number } from "/assets/format.js";
import { logLine } from "/assets/logrow.js";
import { byTime, readRecords, SEVERITIES, worst } from "/assets/records.js";

const LIMIT = 1000;
/** What was said that long before or after a span, in nanoseconds, was hardly said by it. */
const NEAR = 1e9;
/** Records that are asked for at most; the page of logs has the rest. */
const MOST_RECORDS = 5000;
/** Lines of a list. */
const MOST_LINES = 500;
/** Marks that are nearer to each other would lie on top of each other, in hundredths of the width. */
const APART = 0.8;

/** What is there of a trace without logs, and of one whose logs have not arrived. */
export const NO_LOGS = Object.freeze({ records: [], rows: new Map(), isMore: false });

/** The records of a trace in the order of time, asked for once where there are none. */
export async function askLogs(trace, options) {
  const found = [];
  let older = null;
  do {
    const parameters = new URLSearchParams({ trace, limit: String(LIMIT), ...(older === null ? {} : { before: older }) });
    const answer = await ask(`/logs.json?${parameters}`, options);
    found.push(...readRecords(answer));
    older = answer.older ?? null;
  } while (older !== null && found.length < MOST_RECORDS);
  // They came newest first.
  return { records: byTime(found.reverse()), isMore: older !== null };
}

/**
 * Finds the rows of their spans: `{ records, rows, isMore }` with records by row. A record has its row, or -1, and `isNear` if it
 * names no span and stands with the one by which its service took part at that time.
 */
export function placeLogs({ records, isMore }, trace) {
  const rows = new Map();
  let entries = null;
  for (const record of records) {
    record.row = trace.rowOf.get(record.span) ?? -1;
    record.isNear = false;
    if (record.span === "") {
      entries ??= entriesOf(trace);
      record.row = nearest(entries.get(record.service), trace, Number(record.time - trace.origin));
      record.isNear = record.row >= 0;
    }
    if (record.row < 0) continue;
    const known = rows.get(record.row);
    if (known === undefined) rows.set(record.row, [record]);
    else known.push(record);
  }
  return { records, rows, isMore };
}

/** The rows by which services take part, by service: what is above them is of another one. */
function entriesOf({ spans, parent }) {
  const entries = new Map();
  spans.forEach(({ service }, row) => {
    if (parent[row] >= 0 && spans[parent[row]].service === service) return;
    const known = entries.get(service);
    if (known === undefined) entries.set(service, [row]);
    else known.push(row);
  });
  return entries;
}

/** The row that runs at a time, or that ran or will run next to it; -1 if none is near. */
function nearest(rows = [], { spans }, at) {
  let [best, least] = [-1, NEAR];
  for (const row of rows) {
    const { start, length } = spans[row];
    const apart = Math.max(start - at, at - (start + length), 0);
    if (apart < least) [best, least] = [row, apart];
  }
  return best;
}

/** How many records there are, on the button that shows them. */
export function tellLogs({ records, isMore }) {
  byId("logs-group").hidden = records.length === 0;
  setText(byId("logs-count"), `${number(records.length)}${isMore ? "+" : ""}`);
}

/** Marks for the lane of a row where its records are, the worst where several are near each other. */
export function logMarks(records, origin, percent) {
  const places = new Map();
  for (const { time, severity, text, isNear } of records) {
    const at = percent(Number(time - origin));
    if (!(at >= 0 && at <= 100)) continue;
    const place = Math.round(at / APART);
    const known = places.get(place);
    if (known === undefined) places.set(place, { at, severity, text, isNear, many: 1 });
    else {
      known.many++;
      if (worst([known.severity, severity]) !== known.severity) Object.assign(known, { severity, text, isNear });
    }
  }
  return [...places.values()].map(({ at, severity, text, isNear, many }) => {
    const mark = element("span", isNear ? "log-mark near" : "log-mark");
    mark.dataset.severity = severity;
    mark.style.left = `${at}%`;
    mark.title = `${many > 1 ? `${count(many, "log record", "log records")}, ` : ""}${severity || "log"}: ${text.slice(0, 200)}`;
    return mark;
  });
}

/** What a row's label says of its records. */
export function logsLabel(records) {
  const most = worst(records.map(({ severity }) => severity));
  return `${count(records.length, "log record", "log records")}${SEVERITIES.indexOf(most) >= SEVERITIES.indexOf("warn") ? `, ${most}` : ""}`;
}

/** The records of a span, for its details. */
export function spanLogs({ rows }, trace, row) {
  const records = rows.get(row) ?? [];
  if (records.length === 0) return "";
  const box = section("Logs", records.length);
  box.append(lines(records.slice(0, MOST_LINES), trace, { hasService: false }));
  if (records.some(({ isNear }) => isNear)) box.append(element("p", "aside", "What names no span stands here by its service and time."));
  if (records.length > MOST_LINES) box.append(element("p", "aside", `The first ${number(MOST_LINES)}. `, link("All of them", logsAddress(trace.id, trace.spans[row].id))));
  return box;
}

/** All records of a trace. A line that is opened calls `goTo` with the row of its span. */
export function traceLogs({ records, isMore }, trace, goTo) {
  const errors = records.filter(({ severity }) => SEVERITIES.indexOf(severity) >= SEVERITIES.indexOf("error")).length;
  const head = element("p", "logs-head", element("span", "", count(records.length, "record", "records")));
  if (errors > 0) head.append(element("span", "error", count(errors, "error", "errors")));
  head.append(link("Open in Logs", logsAddress(trace.id, "")));
  const box = element("div", "trace-logs", element("h2", "", "Logs of this trace"), head);
  box.append(lines(records.slice(0, MOST_LINES), trace, { goTo }));
  const lost = records.length - MOST_LINES;
  if (lost > 0 || isMore) box.append(element("p", "aside", `The first ${number(Math.min(records.length, MOST_LINES))}; “Open in Logs” has all.`));
  return box;
}

/** Shows in such a list which lines are of a row. */
export function markLines(box, row) {
  for (const line of box.querySelectorAll(".record")) line.classList.toggle("current", line.row === row && row >= 0);
}

function lines(records, trace, { hasService = true, goTo = null }) {
  const list = element("ol", "records", ...records.map((record) => {
    const at = Number(record.time - trace.origin);
    const line = logLine(record, at < 0 ? `-${duration(-at)}` : `+${duration(at)}`, { hasService, onOpen: () => goTo !== null && record.row >= 0 && goTo(record.row) });
    line.row = record.row;
    return line;
  }));
  return list;
}

function logsAddress(trace, span) {
  return `/logs?${new URLSearchParams({ trace, ...(span === "" ? {} : { span }) })}`;
}
