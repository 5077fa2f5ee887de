// The rows of a trace on a time axis. Only those that can be seen are in the document.

import { tint } from "/assets/colours.js";
import { byId, element, setText } from "/assets/dom.js";
import { count, duration, number, tick } from "/assets/format.js";
import { recall, remember } from "/assets/memory.js";
import { logMarks, logsLabel } from "/assets/tracelogs.js";
import { dragToZoom, ticks } from "/assets/zoom.js";

/** In pixels; the style sheet has it as `--row`. */
const ROW = 26;
const OVERSCAN = 8;
/** What the text of a duration takes, in pixels. */
const LABEL = 72;
const MAX_INDENT = 20;
const MAX_EVENT_MARKS = 60;

const root = byId("waterfall");
const tree = byId("tree");
const spacer = byId("spacer");
const ruler = byId("ruler");
const grid = byId("grid");
const hair = byId("hair");

/** Nodes in the document by row, and nodes that wait for one. */
const drawn = new Map();
const spare = [];
let view = null;
let version = 0;
/** Where rows are deep, levels that are not indented, and by how much less the others are, so that names have room. */
let indent = { from: 0, by: 1 };

/** @param on `select(row)`, `open(row)`, `toggle(row)`, `zoom(part)` */
export function initWaterfall(shared, on) {
  view = shared;
  root.style.setProperty("--row", `${ROW}px`);
  tree.addEventListener("scroll", () => requestAnimationFrame(drawRows), { passive: true });
  new ResizeObserver(drawWaterfall).observe(tree);
  tree.addEventListener("click", (event) => {
    const row = event.target.closest(".row")?.row;
    if (row === undefined) return;
    if (event.target.closest(".toggle")) on.toggle(row);
    else on.open(row);
  });
  tree.addEventListener("dblclick", (event) => {
    const row = event.target.closest(".row")?.row;
    if (row !== undefined && event.target.closest(".lane")) {
      const { start, length } = view.trace.spans[row];
      on.zoom({ from: start - length * 0.05, to: start + length * 1.05 });
    }
  });
  dragToZoom(ruler, () => view.zoom, on.zoom);
  tree.addEventListener("wheel", (event) => {
    const at = timeAt(event);
    if (event.ctrlKey && at !== null) {
      event.preventDefault();
      on.scale(event.deltaY > 0 ? 1.25 : 0.8, at);
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      on.pan(event.deltaX / Math.max(ruler.clientWidth, 1));
    }
  }, { passive: false });
  tree.addEventListener("pointermove", (event) => showHair(timeAt(event)));
  tree.addEventListener("pointerleave", () => showHair(null));
  splitter(byId("splitter"));
}

/** Draws everything anew: other data, rows, zoom, selection, matches or size. */
export function drawWaterfall() {
  if (view === null || view.trace === null || root.hidden) return;
  version++;
  spacer.style.height = `${view.visible.length * ROW}px`;
  root.style.setProperty("--scrollbar", `${tree.offsetWidth - tree.clientWidth}px`);
  root.style.setProperty("--seen", `${tree.clientHeight}px`);
  drawTicks();
  drawRows();
}

/** Scrolls as little as possible so that a row is well in sight. */
export function scrollTo(row, centre = false) {
  const top = view.indexOf(row) * ROW;
  const height = tree.clientHeight;
  const margin = Math.min(2 * ROW, height / 4);
  if (centre && (top < tree.scrollTop || top + ROW > tree.scrollTop + height)) tree.scrollTop = top - height / 2;
  else if (top < tree.scrollTop + margin) tree.scrollTop = top - margin;
  else if (top + ROW > tree.scrollTop + height - margin) tree.scrollTop = top + ROW + margin - height;
  drawRows();
}

/** Rows that fit on the screen. */
export function pageSize() {
  return Math.max(1, Math.floor(tree.clientHeight / ROW) - 1);
}

function drawRows() {
  const { visible } = view;
  const first = Math.max(0, Math.floor(tree.scrollTop / ROW) - OVERSCAN);
  const last = Math.min(visible.length, Math.ceil((tree.scrollTop + tree.clientHeight) / ROW) + OVERSCAN);
  const wanted = new Map();
  for (let index = first; index < last; index++) wanted.set(visible[index], index);
  flatten(wanted.keys());
  for (const [row, node] of drawn) {
    if (wanted.has(row)) continue;
    drawn.delete(row);
    spare.push(node);
  }
  for (const [row, index] of wanted) {
    let node = drawn.get(row);
    if (node === undefined) {
      node = spare.pop() ?? newNode();
      drawn.set(row, node);
    } else if (node.version === version && node.index === index) continue;
    fill(node, row, index);
    if (node.parentNode === null) spacer.append(node);
  }
  for (const node of spare.splice(0)) node.remove();
  const active = drawn.get(view.selected);
  if (active) tree.setAttribute("aria-activedescendant", active.id);
  else tree.removeAttribute("aria-activedescendant");
}

/** Indents from the left again where rows are deep. */
function flatten(rows) {
  let [least, most] = [Infinity, 0];
  for (const row of rows) {
    least = Math.min(least, view.trace.depth[row]);
    most = Math.max(most, view.trace.depth[row]);
  }
  const from = most > MAX_INDENT ? Math.min(least, most - 4) : 0;
  const by = Math.min(1, MAX_INDENT / 2 / Math.max(most - from, 1));
  const wanted = { from, by: from > 0 ? by : 1 };
  if (wanted.from !== indent.from || wanted.by !== indent.by) version++;
  indent = wanted;
}

function newNode() {
  const node = element("div", "row");
  node.role = "treeitem";
  node.toggle = element("span", "toggle");
  node.service = element("span", "service");
  node.name = element("span", "name");
  node.notes = element("span", "notes");
  node.what = element("div", "what", node.toggle, node.service, node.name, node.notes);
  node.lane = element("div", "lane");
  node.append(node.what, node.lane);
  return node;
}

function fill(node, row, index) {
  const { trace, collapsed, matches, selected } = view;
  const span = trace.spans[row];
  const depth = trace.depth[row];
  const below = trace.end[row] - row - 1;
  const closed = collapsed.has(row);
  Object.assign(node, { row, index, version, id: `row-${row}` });
  node.style.transform = `translateY(${index * ROW}px)`;
  node.className = "row";
  node.classList.toggle("failed", span.failed);
  node.classList.toggle("match", matches.has(row));
  node.classList.toggle("current", row === selected);
  node.ariaSelected = String(row === selected);
  node.ariaLevel = String(depth + 1);
  node.ariaExpanded = below > 0 ? String(!closed) : null;
  node.ariaLabel = label(span, row, closed ? below : 0);
  tint(node, span.service);

  node.what.style.setProperty("--depth", Math.min((depth - indent.from) * indent.by, MAX_INDENT));
  node.toggle.className = below === 0 ? "toggle leaf" : closed ? "toggle closed" : "toggle";
  setText(node.service, span.service);
  setText(node.name, span.name);
  node.what.title = `${span.service}\n${span.name}`;
  const notes = [];
  if (indent.from > 0) notes.push(["depth", `depth ${number(depth)}`]);
  if (closed && below > 0) {
    notes.push(["hidden-below", `+${number(below)}`]);
    const errors = errorsBelow(row);
    if (errors > 0) notes.push(["error", count(errors, "error", "errors")]);
  }
  if (span.failed) notes.push(["error", "error"]);
  if (trace.orphans.has(row)) notes.push(["note", "parent missing"]);
  if (trace.cycles.has(row)) notes.push(["note", "circle"]);
  node.notes.replaceChildren(...notes.map(([className, text]) => element("span", className, text)));
  fillLane(node.lane, span, view.logs.rows.get(row) ?? []);
}

function label({ service, name, kind, length, failed }, row, hidden) {
  const parts = [`${service} ${name}`, kind, duration(length)];
  if (failed) parts.push("error");
  if (view.trace.orphans.has(row)) parts.push("parent missing");
  if (view.trace.cycles.has(row)) parts.push("circle");
  const records = view.logs.rows.get(row);
  if (records !== undefined) parts.push(logsLabel(records));
  if (hidden > 0) parts.push(`${number(hidden)} hidden below`);
  return parts.filter(Boolean).join(", ");
}

/** Errors among the descendants of a row; the rows of errors are sorted. */
function errorsBelow(row) {
  const { errors, end } = view.trace;
  return lowerBound(errors, end[row]) - lowerBound(errors, row + 1);
}

function lowerBound(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function fillLane(lane, { start, length, sent }, records) {
  const { from, to } = view.zoom;
  const percent = (time) => ((time - from) / (to - from)) * 100;
  // What was logged before or after the trace is at its edge.
  const percentOfLog = (time) => percent(Math.min(Math.max(time, 0), Math.max(view.trace.total, 1)));
  const [left, right] = [percent(start), percent(start + length)];
  const text = element("span", "length", duration(length));
  if (right < 0 || left > 100) {
    text.classList.add("beyond", right < 0 ? "before" : "after");
    lane.replaceChildren(text, ...logMarks(records, view.trace.origin, percentOfLog));
    return;
  }
  const bar = element("div", "bar");
  const [shownLeft, shownRight] = [Math.max(left, -1), Math.min(right, 101)];
  bar.style.left = `${shownLeft}%`;
  bar.style.width = `${shownRight - shownLeft}%`;
  // Beside the bar where there is room, else on it.
  const room = (LABEL / Math.max(ruler.clientWidth, 1)) * 100;
  if (shownRight + room < 100) text.style.left = `max(${shownRight}%, ${shownLeft}% + 3px)`;
  else if (shownLeft > room) text.style.right = `${100 - shownLeft}%`;
  else {
    text.classList.add("inside");
    text.style.right = `${Math.max(100 - shownRight, 0)}%`;
  }
  lane.replaceChildren(bar, text, ...eventMarks(sent.events, percent), ...logMarks(records, view.trace.origin, percentOfLog));
}

function eventMarks(events = [], percent) {
  const marks = [];
  let before = -Infinity;
  for (const { timeUnixNano = 0, name = "" } of events) {
    const at = percent(Number(BigInt(timeUnixNano) - view.trace.origin));
    // Marks on top of each other say no more than one.
    if (at < 0 || at > 100 || Math.abs(at - before) < 0.3) continue;
    before = at;
    const mark = element("span", name === "exception" ? "event exception" : "event");
    mark.style.left = `${at}%`;
    mark.title = name;
    marks.push(mark);
    if (marks.length === MAX_EVENT_MARKS) break;
  }
  return marks;
}

function drawTicks() {
  const { from, to } = view.zoom;
  const { step, ticks: points } = ticks(view.zoom, ruler.clientWidth / 80);
  const left = (at) => `${((at - from) / (to - from)) * 100}%`;
  ruler.querySelectorAll(".tick").forEach((node) => node.remove());
  const pixels = ruler.clientWidth / (to - from);
  for (const at of points) {
    const mark = element("span", "tick", tick(Math.round(at), step));
    mark.style.left = left(at);
    // The last one would stick out: its text goes to the other side, unless that of the one before is there.
    if ((to - at) * pixels < LABEL) mark.classList.add("last");
    if ((to - at) * pixels < LABEL && step * pixels < 2 * LABEL) mark.textContent = "";
    ruler.append(mark);
  }
  grid.replaceChildren(...points.map((at) => {
    const line = element("span", "line");
    line.style.left = left(at);
    return line;
  }), hair);
}

/** The time below the pointer, or `null` where there is no time axis. */
function timeAt(event) {
  const box = ruler.getBoundingClientRect();
  if (box.width === 0 || event.clientX < box.left || event.clientX > box.right) return null;
  return view.zoom.from + ((event.clientX - box.left) / box.width) * (view.zoom.to - view.zoom.from);
}

function showHair(at) {
  hair.hidden = at === null;
  const label = byId("hair-time");
  label.hidden = at === null;
  if (at === null) return;
  const part = ((at - view.zoom.from) / (view.zoom.to - view.zoom.from)) * 100;
  hair.style.left = label.style.left = `${part}%`;
  label.textContent = duration(Math.round(at));
  label.classList.toggle("last", part > 90);
}

/** The line between names and times, which can be moved. */
function splitter(handle) {
  const set = (share) => {
    const kept = Math.min(Math.max(share, 0.12), 0.8);
    root.style.setProperty("--names", `${(kept * 100).toFixed(2)}%`);
    handle.ariaValueNow = (kept * 100).toFixed(0);
    return kept;
  };
  handle.ariaValueMin = "12";
  handle.ariaValueMax = "80";
  let share = set(Number(recall("names")) || (innerWidth < 700 ? 0.5 : 0.36));
  const change = (wanted) => {
    share = set(wanted);
    remember("names", share);
    drawWaterfall();
  };
  handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    const box = root.getBoundingClientRect();
    change((event.clientX - box.left) / box.width);
  });
  handle.addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (direction === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    change(share + direction * 0.02);
  });
}
