// Takes a file of spans from a person to the server, and says what came of it.

import { byId, element, link } from "/assets/dom.js";
import { count } from "/assets/format.js";
import { fromFile, requests } from "/assets/otlp.js";

const MOST_LINKS = 5;
const ATTEMPTS = 5;

/** Connects the button, the file field and the page as a place to drop files. */
export function acceptFiles() {
  const field = byId("file");
  byId("upload").addEventListener("click", () => field.click());
  field.addEventListener("change", () => {
    takeAll([...field.files]);
    // The same file again is a change too.
    field.value = "";
  });

  let depth = 0;
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const inside = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dropping", depth > 0);
  };
  addEventListener("dragenter", (event) => hasFiles(event) && inside(1));
  addEventListener("dragleave", (event) => hasFiles(event) && inside(-1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    inside(-depth);
    takeAll([...event.dataTransfer.files]);
  });
  byId("upload-close").addEventListener("click", () => (byId("uploaded").hidden = true));
}

async function takeAll(files) {
  for (const file of files) await take(file);
}

async function take(file) {
  say("busy", `Reading ${file.name}`);
  const sent = { spans: 0, refused: 0, traces: new Set(), reasons: new Set() };
  try {
    for (const request of requests(fromFile(await file.text()))) {
      const rejected = await post(request.body);
      sent.spans += request.spans - rejected.spans;
      sent.refused += rejected.spans;
      if (rejected.why) sent.reasons.add(rejected.why);
      for (const trace of request.traces) sent.traces.add(trace);
      say("busy", `Importing ${file.name}: ${count(sent.spans, "span", "spans")} so far`);
    }
  } catch (error) {
    const before = sent.spans > 0 ? ` after ${count(sent.spans, "span", "spans")}` : "";
    return say("failed", `${file.name} was not imported${before}: ${error.message}`);
  }
  if (sent.spans + sent.refused === 0) return say("failed", `${file.name} was not imported: it has no spans`);
  const parts = [];
  if (sent.spans > 0) parts.push(`Imported ${count(sent.spans, "span", "spans")} of ${count(sent.traces.size, "trace", "traces")} from ${file.name}.`);
  if (sent.refused > 0) parts.push(` ${count(sent.refused, "span was", "spans were")} refused: ${[...sent.reasons].join("; ")}.`);
  if (sent.spans > 0) {
    for (const trace of [...sent.traces].slice(0, MOST_LINKS)) parts.push(" ", link(`Open ${trace.slice(0, 8)}`, `/trace/${encodeURIComponent(trace)}`));
  }
  say(sent.refused > 0 ? "failed" : "done", ...parts);
}

/** How many spans were rejected, and why. */
async function post(body) {
  for (let attempt = 1; ; attempt++) {
    const answer = await fetch("/v1/traces", { method: "POST", headers: { "content-type": "application/json" }, body });
    const text = await answer.text();
    if ((answer.status === 503 || answer.status === 429) && attempt < ATTEMPTS) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * Number(answer.headers.get("retry-after") ?? 1)));
      continue;
    }
    let message = null;
    try {
      message = JSON.parse(text);
    } catch {
      // A refusal before the receiver is plain text.
    }
    if (!answer.ok) throw new Error(message?.message ?? (text || `the server answered ${answer.status}`));
    const partial = message?.partialSuccess;
    return { spans: Number(partial?.rejectedSpans ?? 0), why: partial?.errorMessage ?? "" };
  }
}

function say(kind, ...content) {
  const box = byId("uploaded");
  box.dataset.kind = kind;
  byId("upload-text").replaceChildren(element("span", "", ...content));
  box.hidden = false;
}
