// One trace: fetched until it is complete, and everything that a reader can do with it.

import { askText, Refused } from "/assets/api.js";
import { tint } from "/assets/colours.js";
import { details } from "/assets/details.js";
import { button, byId, chips, copyButton, element, setText } from "/assets/dom.js";
import { find } from "/assets/find.js";
import { clock, count, duration, exact, number, plainTitle } from "/assets/format.js";
import { listen } from "/assets/keys.js";
import { place, readTrace, warnings } from "/assets/model.js";
import { toOtlp } from "/assets/otlp.js";
import { drawOverview, drawZoom, initOverview } from "/assets/overview.js";
import { initPane, showPane } from "/assets/pane.js";
import { refreshStatus } from "/assets/top.js";
import { askLogs, markLines, NO_LOGS, placeLogs, spanLogs, tellLogs, traceLogs } from "/assets/tracelogs.js";
import { parentsFrom, reveal, visibleRows } from "/assets/tree.js";
import { drawWaterfall, initWaterfall, pageSize, scrollTo } from "/assets/waterfall.js";
import { clamp, pan, scale } from "/assets/zoom.js";

/** Spans of one request may arrive seconds apart, one process after the other. */
const LOOK_FOR_MS = 10_000;
const LOOK_EVERY_MS = 500;
/** What ended that long ago has most likely arrived. */
const SETTLED_MS = 30_000;
const FIND_DELAY_MS = 120;

const id = location.pathname.split("/").pop();
const state = byId("state");

/** What the modules of the page share. Rows are numbers in `trace`; `visible` are those that no collapsed one hides. */
const view = {
  trace: null,
  json: null,
  collapsed: new Set(),
  visible: [],
  places: new Int32Array(0),
  selected: -1,
  zoom: { from: 0, to: 1 },
  matches: new Set(),
  found: [],
  logs: NO_LOGS,
  /** Whether the details are those of all logs. */
  isOfLogs: false,
  /** Where a row stands among the visible ones. */
  indexOf: (row) => view.places[row],
};
let depth = Infinity;
let findTimer = 0;
let askingLogs = null;

initPane(drawWaterfall);
initOverview(view, zoomTo);
initWaterfall(view, {
  open: (row) => { view.isOfLogs = false; select(row); openDetails(); },
  toggle: (row) => { toggle(row); select(row); },
  zoom: zoomTo,
  scale: (factor, at) => zoomTo(scale(view.zoom, factor, at, view.trace.total)),
  pan: (part) => zoomTo(pan(view.zoom, part, view.trace.total)),
});
for (const [name, does] of [
  ["again", look],
  ["download", download],
  ["collapse", collapseAll],
  ["expand", expandAll],
  ["shallower", () => showLevels(levels() - 1)],
  ["deeper", () => showLevels(levels() + 1)],
  ["reset", resetZoom],
  ["logs-button", toggleLogs],
  ["find-next", () => nextMatch(1)],
  ["find-previous", () => nextMatch(-1)],
  ["error-next", () => nextError(1)],
  ["error-previous", () => nextError(-1)],
  ["details-close", closeDetails],
  ["help-button", () => byId("help").showModal()],
]) byId(name).addEventListener("click", does);
byId("find").addEventListener("input", () => {
  clearTimeout(findTimer);
  findTimer = setTimeout(search, FIND_DELAY_MS);
});
byId("find").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  clearTimeout(findTimer);
  search();
  nextMatch(event.shiftKey ? -1 : 1);
});
new ResizeObserver(() => view.trace && drawOverview(view)).observe(byId("overview"));
document.addEventListener("theme", () => view.trace && drawOverview(view));
addEventListener("hashchange", () => view.trace && goToAddress());
listen([
  { says: "Next span", does: both("j", "ArrowDown", () => move(1)) },
  { says: "Previous span", does: both("k", "ArrowUp", () => move(-1)) },
  { says: "A screen further or back", does: { PageDown: () => move(pageSize()), PageUp: () => move(-pageSize()) } },
  { says: "First and last span", does: { Home: () => move(-Infinity), End: () => move(Infinity) } },
  { says: "Expand, or go to the first child", does: both("l", "ArrowRight", expandOrEnter) },
  { says: "Collapse, or go to the parent", does: both("h", "ArrowLeft", collapseOrLeave) },
  { says: "Details of the span", does: both("Enter", " ", toggleDetails) },
  { says: "Logs of the trace", does: { g: toggleLogs } },
  { says: "Next and previous error", does: { n: () => nextError(1), p: () => nextError(-1) } },
  { says: "Find in this trace; Enter and Shift+Enter go through what was found", does: { "/": () => byId("find").select() } },
  { says: "Collapse all, expand all", does: { c: collapseAll, e: expandAll } },
  { says: "Show so many levels", shows: ["1", "to", "9"], does: Object.fromEntries(Array.from({ length: 9 }, (_, at) => [at + 1, () => showLevels(at + 1)])) },
  { says: "Zoom to the span", does: { z: zoomToSelected } },
  { says: "Zoom in and out, as the wheel does with Ctrl", shows: ["+", "-"], does: { "+": () => zoomBy(0.5), "=": () => zoomBy(0.5), "-": () => zoomBy(2) } },
  { says: "See the whole time", does: { 0: resetZoom } },
  { says: "Leave the search, close the details, reset the zoom", does: { Escape: escape } },
  { says: "This help", does: { "?": () => byId("help").showModal() } },
], () => view.trace !== null);
look();
refreshStatus().catch(() => {});

function both(one, other, action) {
  return { [one]: action, [other]: action };
}

async function look() {
  byId("missing").hidden = true;
  const until = Date.now() + LOOK_FOR_MS;
  let lastText = "";
  let hadAll = false;
  for (;;) {
    const begun = performance.now();
    try {
      const text = await askText(`/api/v2/traces/${encodeURIComponent(id)}`);
      if (text !== lastText) {
        lastText = text;
        performance.mark("arrived");
        const { trace = {}, message = "" } = JSON.parse(text);
        if ((trace.resourceSpans ?? []).length > 0) {
          take(trace, message);
          // Those of a trace that is still growing are asked for again once it is not.
          hadAll = isSettled();
          showLogs();
        }
      }
      if (view.trace === null) setText(state, "Not here yet, still looking");
      else if (isSettled()) break;
    } catch (error) {
      if (error instanceof Refused && error.status === 400) return sayMissing("This is no trace id", error.message, false);
      if (!(error instanceof Refused && error.status === 404)) {
        if (view.trace !== null) return;
        setText(state, `Not reachable, trying again: ${error.message}`);
      }
    }
    if (Date.now() > until) break;
    // A large trace is not asked for all the time.
    await new Promise((resolve) => setTimeout(resolve, Math.max(LOOK_EVERY_MS, 5 * (performance.now() - begun))));
  }
  if (view.trace !== null) return hadAll ? undefined : showLogs();
  sayMissing("No such trace here", "It may still be on its way, it may never have been sent, or it was evicted because newer traces needed the room.", true);
}

/** Logs that do not come leave the trace as it is. */
async function showLogs() {
  askingLogs?.abort();
  const { signal } = (askingLogs = new AbortController());
  try {
    const found = await askLogs(id, { signal });
    const isAsBefore = found.records.length === view.logs.records.length;
    view.logs = placeLogs(found, view.trace);
    tellLogs(view.logs);
    drawWaterfall();
    if (!isAsBefore && !byId("details").hidden && (view.isOfLogs || view.logs.rows.has(view.selected))) showDetails(true);
  } catch (error) {
    if (!signal.aborted) console.warn(`no logs: ${error.message}`);
  }
}

function isSettled() {
  const { origin, total } = view.trace;
  return Number(origin / 1_000_000n) + total / 1e6 < Date.now() - SETTLED_MS;
}

function sayMissing(title, text, again) {
  setText(state, `Trace ${id}`);
  setText(byId("missing-title"), title);
  setText(byId("missing-text"), text);
  byId("again").hidden = !again;
  byId("missing").hidden = false;
}

/** Shows a trace that is new, or that has grown; what the reader had opened stays so. `message` is the server's. */
function take(json, message) {
  const before = view.trace;
  const trace = { ...readTrace(json), id: id.toLowerCase().padStart(32, "0") };
  const rowOf = new Map(trace.keys.map((key, row) => [key, row]));
  const moved = (row) => (row < 0 ? -1 : rowOf.get(before.keys[row]) ?? -1);
  const zoomed = before !== null && isZoomed();
  if (before !== null) {
    view.collapsed = new Set([...view.collapsed].map(moved).filter((row) => row >= 0));
    view.selected = moved(view.selected);
    const shift = Number(before.origin - trace.origin);
    view.zoom = { from: view.zoom.from + shift, to: view.zoom.to + shift };
  }
  view.trace = trace;
  view.json = json;
  trace.rowOf = rowOf;
  view.logs = placeLogs(view.logs, trace);
  view.zoom = zoomed ? clamp(view.zoom, trace.total) : { from: 0, to: Math.max(trace.total, 1) };

  showHead();
  showWarnings(message);
  byId("missing").hidden = true;
  byId("panes").hidden = false;
  if (view.selected < 0) goToAddress();
  search();
  showRows();
  if (!byId("details").hidden) showDetails(true);
  drawOverview(view);
  drawZoom(view);
  performance.mark("shown");
}

function showHead() {
  const { trace } = view;
  const root = trace.spans[0];
  document.title = plainTitle(`${root.service} ${root.name}`);
  const where = place(root);
  byId("title").replaceChildren(element("span", "service", root.service), " ", element("span", "name", root.name));
  if (where) byId("title").append(" ", element("span", "place", where));
  state.replaceChildren(element("code", "", trace.id), copyButton(trace.id, "Copy the trace id"));
  byId("actions").hidden = false;

  const facts = byId("facts");
  const fact = (name, ...content) => element("div", "", element("dt", "", name), element("dd", "", ...content));
  const started = element("time", "", clock(trace.origin));
  started.title = exact(trace.origin);
  const services = [...trace.services].map(([service, stats]) => ({ service, ...stats }));
  facts.replaceChildren(
    fact("Started", started),
    fact("Duration", duration(trace.total)),
    fact("Spans", number(trace.spans.length)),
    fact("Errors", trace.errors.length > 0 ? element("span", "error", number(trace.errors.length)) : "0"),
    fact("Depth", number(deepest() + 1)),
    fact(count(trace.services.size, "service", "services"), chips(services, tint)),
  );
  facts.hidden = false;
  byId("errors").hidden = trace.errors.length === 0;
  setText(byId("error-count"), count(trace.errors.length, "error", "errors"));
}

function showWarnings(message) {
  const list = byId("warnings");
  list.replaceChildren(...warnings(view.trace).map(({ text, rows }) => {
    let at = -1;
    const next = button(rows.length === 1 ? "Show" : "Show next", "quiet", () => {
      at = (at + 1) % rows.length;
      goTo(rows[at]);
    });
    next.ariaLabel = `${next.textContent}: ${text}`;
    return element("li", "", element("span", "", text), next);
  }));
  if (message) list.prepend(element("li", "", element("span", "", message)));
  list.hidden = list.children.length === 0;
}

function deepest() {
  let most = 0;
  for (const each of view.trace.depth) most = Math.max(most, each);
  return most;
}

/** After rows were collapsed or expanded. */
function showRows() {
  const { trace } = view;
  view.visible = visibleRows(trace, view.collapsed);
  view.places = new Int32Array(trace.spans.length).fill(-1);
  view.visible.forEach((row, index) => (view.places[row] = index));
  const most = deepest() + 1;
  const shown = levels();
  setText(byId("level"), shown >= most ? `${count(most, "level", "levels")}` : `${number(shown)} of ${number(most)} levels`);
  byId("shallower").disabled = shown <= 1;
  byId("deeper").disabled = view.collapsed.size === 0;
  drawWaterfall();
}

function toggle(row) {
  if (view.trace.end[row] === row + 1) return;
  if (!view.collapsed.delete(row)) view.collapsed.add(row);
  depth = Infinity;
  showRows();
}

/** How many levels show, as far as that was asked for. */
function levels() {
  return Math.min(depth, deepest() + 1);
}

function showLevels(wanted) {
  depth = Math.max(1, wanted);
  view.collapsed = depth > deepest() ? new Set() : parentsFrom(view.trace, depth - 1);
  keepInSight();
}

function collapseAll() {
  showLevels(1);
}

function expandAll() {
  showLevels(Infinity);
}

/** The selection moves up to what still shows. */
function keepInSight() {
  showRows();
  if (view.selected < 0) return;
  let row = view.selected;
  while (view.indexOf(row) < 0) row = view.trace.parent[row];
  select(row);
}

function select(row) {
  if (row < 0) return;
  const changed = row !== view.selected;
  view.selected = row;
  history.replaceState(null, "", `#${view.trace.keys[row]}`);
  drawWaterfall();
  scrollTo(row);
  if (changed && !byId("details").hidden) showDetails();
}

/** Selects a row wherever it hides. */
function goTo(row) {
  if (reveal(view.trace, view.collapsed, row)) {
    depth = Infinity;
    showRows();
  }
  const away = view.indexOf(row);
  view.selected = row;
  history.replaceState(null, "", `#${view.trace.keys[row]}`);
  const { start, length } = view.trace.spans[row];
  if (start + length < view.zoom.from || start > view.zoom.to) {
    const width = view.zoom.to - view.zoom.from;
    zoomTo({ from: start - width / 4, to: start + (width * 3) / 4 });
  }
  drawWaterfall();
  if (away >= 0) scrollTo(row, true);
  if (!byId("details").hidden) showDetails();
}

/** The span that the address names, with its details. */
function goToAddress() {
  const row = view.trace.rowOf.get(location.hash.slice(1).toLowerCase());
  if (row === undefined || row === view.selected) return;
  if (view.visible.length === 0) showRows();
  openDetails();
  goTo(row);
}

function move(by) {
  const { visible, selected } = view;
  const at = selected < 0 ? (by > 0 && by !== Infinity ? -1 : 0) : view.indexOf(selected);
  select(visible[Math.min(Math.max(at + by, 0), visible.length - 1)]);
}

function expandOrEnter() {
  const row = view.selected;
  if (row < 0) return move(1);
  if (view.collapsed.has(row)) toggle(row);
  else if (view.trace.end[row] > row + 1) select(row + 1);
}

function collapseOrLeave() {
  const row = view.selected;
  if (row < 0) return;
  const isOpen = view.trace.end[row] > row + 1 && !view.collapsed.has(row);
  if (isOpen) toggle(row);
  else select(view.trace.parent[row]);
}

function toggleDetails() {
  const isOpen = !byId("details").hidden && !view.isOfLogs;
  view.isOfLogs = false;
  (isOpen ? closeDetails : openDetails)();
}

/** All logs beside the waterfall instead of the details of one span. */
function toggleLogs() {
  if (view.logs.records.length === 0) return;
  view.isOfLogs = byId("details").hidden || !view.isOfLogs;
  if (!view.isOfLogs) return closeDetails();
  byId("details").hidden = false;
  showPane(true);
  showDetails(true);
}

function openDetails() {
  if (view.selected < 0 && view.trace.spans.length > 0) view.selected = view.visible[0] ?? 0;
  byId("details").hidden = false;
  showPane(true);
  showDetails();
}

/** @param isNew whether there is more to show than another span */
function showDetails(isNew = false) {
  const body = byId("details-body");
  byId("logs-button").ariaPressed = String(view.isOfLogs);
  if (view.isOfLogs) {
    if (isNew || body.querySelector(".trace-logs") === null) body.replaceChildren(traceLogs(view.logs, view.trace, goTo));
    return markLines(body, view.selected);
  }
  if (view.selected < 0) return closeDetails();
  body.replaceChildren(details(view.trace, view.selected, spanLogs(view.logs, view.trace, view.selected), (key) => {
    const row = view.trace.rowOf.get(key);
    if (row !== undefined) goTo(row);
  }));
  byId("details").scrollTop = 0;
}

function closeDetails() {
  const hadFocus = byId("details").contains(document.activeElement);
  byId("details").hidden = true;
  byId("logs-button").ariaPressed = "false";
  view.isOfLogs = false;
  showPane(false);
  if (hadFocus) byId("tree").focus();
}

function search() {
  const { trace } = view;
  const text = byId("find").value;
  view.found = find(trace.spans, text);
  view.matches = new Set(view.found);
  for (const name of ["find-next", "find-previous"]) byId(name).disabled = view.found.length === 0;
  tellFound();
  drawOverview(view);
  drawWaterfall();
}

function tellFound() {
  const { found, selected } = view;
  const at = found.indexOf(selected);
  const text = byId("find").value.trim() === "" ? "" : found.length === 0 ? "no match" : at >= 0 ? `${number(at + 1)} of ${number(found.length)}` : count(found.length, "match", "matches");
  setText(byId("found"), text);
}

function nextMatch(direction) {
  next(view.found, direction);
  tellFound();
}

function nextError(direction) {
  next(view.trace.errors, direction);
}

/** Goes to the next of some sorted rows, round and round. */
function next(rows, direction) {
  if (rows.length === 0) return;
  const from = view.selected;
  const row = direction > 0 ? rows.find((each) => each > from) ?? rows[0] : rows.findLast((each) => each < from) ?? rows.at(-1);
  goTo(row);
}

function zoomTo(part) {
  view.zoom = clamp(part, view.trace.total);
  byId("reset").disabled = !isZoomed();
  drawZoom(view);
  drawWaterfall();
}

function isZoomed() {
  return view.zoom.from > 0 || view.zoom.to < view.trace.total;
}

function resetZoom() {
  zoomTo({ from: 0, to: Math.max(view.trace.total, 1) });
}

function zoomBy(factor) {
  const { from, to } = view.zoom;
  const span = view.trace.spans[view.selected];
  const centre = span ? span.start + span.length / 2 : (from + to) / 2;
  const at = centre >= from && centre <= to ? centre : (from + to) / 2;
  zoomTo(scale(view.zoom, factor, at, view.trace.total));
}

function zoomToSelected() {
  const span = view.trace.spans[view.selected];
  if (span) zoomTo({ from: span.start - span.length * 0.05, to: span.start + span.length * 1.05 });
}

function escape() {
  const field = byId("find");
  if (document.activeElement === field || field.value !== "") {
    field.value = "";
    search();
    byId("tree").focus({ preventScroll: true });
  } else if (!byId("details").hidden) closeDetails();
  else if (isZoomed()) resetZoom();
}

function download() {
  const text = JSON.stringify(toOtlp(view.json));
  const link = element("a", "");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `trace-${view.trace.id}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
