// What the store keeps, and what became of the rest, in plain words.

import { element } from "/assets/dom.js";
import { age, bytes, count } from "/assets/format.js";

/** A Prometheus asks once in a minute where nothing else is said, so it has missed two. */
const SILENT_SECONDS = 150;

/** The bound that is nearest: memory, or disk where there is one. */
export function measure({ usage = {}, maxBytes = 0 }) {
  const bounds = [{ name: "Memory", used: usage.memoryBytes ?? usage.bytes ?? 0, bound: usage.maxMemoryBytes ?? maxBytes }];
  if (typeof usage.diskBytes === "number") bounds.push({ name: "Disk", used: usage.diskBytes, bound: usage.maxDiskBytes ?? 0 });
  const share = ({ used, bound }) => (bound > 0 ? Math.min(used / bound, 1) : 0);
  const what = bounds.at(-1);
  return { fraction: share(what), what, bounds: bounds.map((each) => ({ ...each, fraction: share(each) })) };
}

/** Everything about it, as an element. */
export function details(status) {
  const { usage = {}, logs, heard } = status;
  const box = element("div", "gauge-details");

  const kept = element("dl", "facts");
  const fact = (name, text) => kept.append(element("div", "", element("dt", "", name), element("dd", "", text)));
  fact("Traces", (usage.traces ?? 0).toLocaleString("en"));
  fact("Spans", (usage.spans ?? 0).toLocaleString("en"));
  const oldest = oldestSeconds(usage);
  if (oldest !== null) fact("Oldest", `${age(oldest)} ago`);
  box.append(element("h3", "", "Kept"), kept);

  for (const { name, used, bound, fraction } of measure(status).bounds) box.append(bar(name, used, bound, fraction));
  if (status.durability === "memory") box.append(note("Spans are kept in memory only: a restart forgets them."));
  if (status.durability === "disk") box.append(note(`Spans are on disk${status.dataDir ? ` in ${status.dataDir}` : ""}: a restart keeps them.`));
  if (usage.maxAgeSeconds > 0) box.append(note(`Nothing is kept for longer than ${age(usage.maxAgeSeconds)}.`));
  if (logs !== undefined) box.append(...keptLogs(logs));
  if (heard !== undefined) box.append(element("h3", "", "Heard of"), heardOf(heard));

  box.append(element("h3", "", "Not kept"));
  const lost = element("ul", "lost");
  const traces = usage.evictedTraces ?? 0;
  lost.append(
    element("li", "", traces === 0
      ? "Nothing was evicted yet. Once the bound is reached, the oldest traces make room for new ones."
      : `${count(traces, "trace", "traces")} with ${count(usage.evictedSpans ?? 0, "span", "spans")} evicted, oldest first, ${usage.maxAgeSeconds > 0 ? "for their age or to make room" : "to make room"}.`),
  );
  if (typeof usage.refusedRequests === "number") {
    lost.append(
      element("li", "", usage.refusedRequests === 0
        ? "No request was refused for lack of room."
        : `${count(usage.refusedRequests, "request was", "requests were")} refused because there was no room, or the disk failed. Their senders were told to send again, and the log of this program says why.`),
    );
  }
  if (logs?.evictedRecords > 0) lost.append(element("li", "", `${count(logs.evictedRecords, "log record was", "log records were")} evicted, oldest first.`));
  if (logs?.refusedRequests > 0) lost.append(element("li", "", `${count(logs.refusedRequests, "request", "requests")} with log records refused because there was no room, or the disk failed.`));
  const quarantined = [...(usage.quarantined ?? []), ...(logs?.quarantined ?? [])];
  if (quarantined.length > 0) {
    const files = element("ul", "");
    for (const { file, why } of quarantined) files.append(element("li", "", element("code", "", file), `: ${why}`));
    const damaged = (usage.damaged ?? 0) + (logs?.damaged ?? 0);
    if (damaged > quarantined.length) files.append(element("li", "", `and ${damaged - quarantined.length} more, which the log names`));
    lost.append(element("li", "warned", `${count(damaged, "piece of data", "pieces of data")} could not be read since this program started:`, files));
  }
  box.append(lost);
  return box;
}

/** Log records have bounds of their own. */
function keptLogs(logs) {
  const kept = element("dl", "facts");
  const fact = (name, text) => kept.append(element("div", "", element("dt", "", name), element("dd", "", text)));
  fact("Records", (logs.records ?? 0).toLocaleString("en"));
  const oldest = oldestSeconds(logs);
  if (oldest !== null) fact("Oldest", `${age(oldest)} ago`);
  return [element("h3", "", "Kept of logs"), kept, ...measure({ usage: logs }).bounds.map(({ name, used, bound, fraction }) => bar(name, used, bound, fraction, " of logs"))];
}

/** Whoever sends or asks, so that one who has stopped is missed. */
function heardOf({ spansUnixNano, logsUnixNano, scraperUnixNano }) {
  const list = element("ul", "heard");
  const tell = (yes, no, nanos, silence = Infinity) => {
    const seconds = secondsSince(nanos);
    const text = seconds === null ? `${no} since this program started.` : `${yes} ${age(seconds)} ago.`;
    list.append(element("li", seconds > silence ? "warned" : "", text));
  };
  tell("Spans came", "No spans came", spansUnixNano);
  tell("Log records came", "No log records came", logsUnixNano);
  tell("Prometheus asked for metrics", "No Prometheus asked for metrics", scraperUnixNano, SILENT_SECONDS);
  return list;
}

function oldestSeconds({ oldestUnixNano }) {
  return secondsSince(oldestUnixNano);
}

/** `null` for 0. */
function secondsSince(unixNano) {
  const nanos = Number(unixNano ?? 0);
  return nanos > 0 ? Math.max(0, Date.now() / 1000 - nanos / 1e9) : null;
}

function bar(name, used, bound, fraction, of = "") {
  const fill = element("div", "fill");
  fill.style.width = `${(fraction * 100).toFixed(1)}%`;
  fill.hidden = used === 0;
  const track = element("div", "track", fill);
  track.role = "meter";
  track.ariaLabel = `${name} used${of}`;
  track.ariaValueMin = "0";
  track.ariaValueMax = "100";
  track.ariaValueNow = (fraction * 100).toFixed(0);
  const text = bound > 0 ? `${bytes(used)} of ${bytes(bound)}` : bytes(used);
  track.ariaValueText = text;
  return element("div", "bound", element("span", "", name), track, element("span", "amount", text));
}

function note(text) {
  return element("p", "aside", text);
}
