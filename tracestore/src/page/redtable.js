// The table of services or operations, sorted by what hurts.

import { byId, button, element, link, setText } from "/assets/dom.js";
import { duration, number } from "/assets/format.js";
import { SIZE } from "/assets/frame.js";
import { bucketOf, QUANTILES, selector } from "/assets/red.js";

const MOST_ROWS = 250;
const SVG = "http://www.w3.org/2000/svg";

/** Ranges that the list of traces has too. */
const SHARED_RANGES = ["15m", "1h"];
const MINUTE = 60_000;

/** Columns by name: what is said of them, and what they are sorted by, the largest first; names are from a to z. */
const COLUMNS = new Map([
  ["name", { by: null }],
  ["rate", { says: "Rate", title: "How many began, on average in that time, and their course", by: ({ perSecond }) => perSecond }],
  ["errors", { says: "Errors", title: "The share that failed, and how many these are; sorted by how many", by: ({ errors }) => errors }],
  ...QUANTILES.map((part) => [`p${part * 100}`, { says: `p${part * 100}`, title: `${part * 100} of 100 took no longer`, by: ({ quantiles }) => quantiles?.[part] ?? -1 }]),
]);

export const DEFAULT_SORT = "errors";

/** What orders those that are equal. */
const NEXT = ["errors", "p99", "rate"];

const body = byId("rows");
/** Rows by name: `{ node, content }`. */
const drawn = new Map();
let most = MOST_ROWS;
let on = null;
/** The order that shows, as what it depends on. */
let order = "";

/** The name of a column, with `-` before it for the other way round. */
export function readSort(text) {
  return COLUMNS.has(text?.replace(/^-/, "")) ? text : DEFAULT_SORT;
}

/** @param actions `sort(wanted)`, called with what `readSort` reads, and `redraw()` */
export function initTable(actions) {
  on = actions;
  byId("more-button").addEventListener("click", () => {
    most += MOST_ROWS;
    on.redraw();
  });
}

/** @param addressOf makes the address of this page for something else to look at */
export function showTable(rows, search, window, addressOf) {
  const isTop = search.service === undefined;
  showHead(search.sort, isTop ? "Service" : "Operation");
  const sorted = sort(rows, search.sort).slice(0, most);
  byId("more").hidden = rows.length <= most;
  const wanted = new Map(sorted.map((row) => [row.name, row]));
  for (const [name, { node }] of drawn) {
    if (wanted.has(name)) continue;
    node.remove();
    drawn.delete(name);
  }
  // Nothing moves away from below the pointer, or takes the focus along.
  const state = JSON.stringify([search.service, search.sort, rows.length > 0]);
  const isHeld = state === order && (body.matches(":hover") || body.contains(document.activeElement));
  order = state;
  let next = body.firstChild;
  for (const row of sorted) {
    const address = addressOf({ ...search, ...(isTop ? { service: row.name, operation: undefined } : { operation: row.isCurrent ? undefined : row.name }) });
    const content = JSON.stringify([address, row.isOther, row.isCurrent, row.perSecond, row.errors, row.spans, row.quantiles, [...row.rates], window.to - (window.to % MINUTE)]);
    let known = drawn.get(row.name);
    const isNew = known === undefined;
    if (isNew) drawn.set(row.name, (known = { node: document.createElement("tr") }));
    if (known.content !== content) {
      known.content = content;
      fill(known.node, row, address, search, window);
    }
    if (isHeld) {
      if (isNew) body.append(known.node);
    } else if (known.node === next) next = next.nextSibling;
    else body.insertBefore(known.node, next);
  }
}

function sort(rows, wanted) {
  const isReversed = wanted.startsWith("-");
  const column = wanted.replace(/^-/, "");
  const byName = (one, other) => (one.title < other.title ? -1 : Number(one.title > other.title));
  const compare = (one, other) => {
    for (const key of column === "name" ? [] : [column, ...NEXT]) {
      const { by } = COLUMNS.get(key);
      const apart = (Number.isFinite(by(other)) ? by(other) : -1) - (Number.isFinite(by(one)) ? by(one) : -1);
      if (apart !== 0) return apart;
    }
    return byName(one, other);
  };
  return [...rows].sort((one, other) => (isReversed ? -1 : 1) * compare(one, other));
}

function showHead(wanted, first) {
  const row = byId("head");
  if (row.firstChild === null) {
    for (const [name, { says = "", title = "" }] of COLUMNS) {
      const sorter = button(says, "sorter", () => on.sort(row.dataset.sort === name ? `-${name}` : name));
      sorter.title = title;
      const cell = element("th", `${name} ${name === "name" || name === "rate" ? "" : "number"}`.trim(), sorter);
      cell.scope = "col";
      cell.dataset.column = name;
      row.append(cell);
    }
    row.append(element("td", "links"));
  }
  row.dataset.sort = wanted;
  const column = wanted.replace(/^-/, "");
  for (const cell of row.querySelectorAll("th")) {
    const isSorted = cell.dataset.column === column;
    const isDescending = wanted.startsWith("-") === (column === "name");
    cell.ariaSort = isSorted ? (isDescending ? "descending" : "ascending") : "none";
  }
  setText(row.querySelector(".name button"), first);
}

function fill(node, row, address, search, window) {
  const open = link(row.title, address, "open");
  open.title = row.title;
  const head = element("th", "name", open);
  head.scope = "row";
  if (row.isOther) {
    const note = element("span", "aside-note", "all spans");
    note.title = "It has no server or consumer span";
    head.append(" ", note);
  }
  const share = row.errors > 0 ? element("span", "error", shareText(row.share)) : element("span", "zero", row.spans > 0 ? "0" : "–");
  const errors = element("td", "number errors", share);
  if (row.errors > 0) errors.append(" ", element("span", "zero", number(row.errors)));
  const rate = element("td", "rate", element("div", "course", spark(row), element("span", "", rateText(row.perSecond))));
  rate.title = `${number(row.spans)} in that time, ${number(row.errors)} failed`;
  const took = QUANTILES.map((part) => {
    const seconds = row.quantiles?.[part];
    return element("td", "number", seconds > 0 ? duration(seconds * 1e9) : "–");
  });
  node.style.setProperty("--hue", row.hue);
  node.className = row.isCurrent ? "current" : "";
  if (row.isCurrent) open.ariaCurrent = "true";
  node.replaceChildren(head, rate, errors, ...took, element("td", "links", ...links(row, search, window)));
}

function links(row, search, window) {
  const of = { service: search.service ?? row.name, operation: search.service === undefined ? undefined : row.name, kinds: row.which };
  const to = (says, about, wanted) => {
    const made = link(says, tracesLink(wanted, search, window));
    made.ariaLabel = `${about} of ${row.title}`;
    return made;
  };
  const made = [to("Traces", "Traces", of)];
  if (row.errors > 0) made.push(to("Failed", "Failed traces", { ...of, failed: true }));
  if (row.quantiles?.[0.95] > 0) made.push(to("Slowest", "Slowest traces", { ...of, atLeast: bucketOf(row.quantiles[0.95]) }));
  return made;
}

/** The list of traces with spans that `selector` picks, in the time that shows. */
export function tracesLink(of, { range, from, to }, window) {
  const parameters = new URLSearchParams({ q: selector(of) });
  if (to > 0) {
    parameters.set("from", String(from));
    parameters.set("to", String(to));
  } else if (SHARED_RANGES.includes(range)) parameters.set("range", range);
  else if (range !== "all") {
    parameters.set("from", String(window.from - (window.from % MINUTE)));
    parameters.set("to", String(window.to - (window.to % MINUTE) + MINUTE));
  }
  return `/?${parameters}`;
}

/** Rates over time as a shape, with what failed in it. */
function spark({ rates, failures }) {
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("class", "spark");
  picture.setAttribute("viewBox", `0 0 ${SIZE} ${SIZE}`);
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-hidden", "true");
  const top = rates.reduce((one, other) => Math.max(one, other), 0);
  if (top === 0) return picture;
  const wide = SIZE / rates.length;
  const shape = (values, className) => {
    const made = document.createElementNS(SVG, "path");
    made.setAttribute("class", className);
    made.setAttribute("d", [...values].map((value, index) => (value > 0 ? `M${(index * wide).toFixed(1)} ${SIZE}v${(-Math.max((value / top) * SIZE, 40)).toFixed(1)}h${(wide * 0.86).toFixed(1)}V${SIZE}Z` : "")).join(""));
    picture.append(made);
  };
  shape(rates, "all");
  shape(failures, "failing");
  return picture;
}

/** A rate in a unit that leaves something before the comma. */
export function rateText(perSecond) {
  const [value, unit] = perSecond >= 0.1 || perSecond === 0 ? [perSecond, "s"] : perSecond >= 0.1 / 60 ? [perSecond * 60, "min"] : [perSecond * 3600, "h"];
  return `${value.toLocaleString("en", value >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 })} /${unit}`;
}

function shareText(share) {
  const percent = share * 100;
  return percent < 0.01 ? "< 0.01 %" : `${percent.toLocaleString("en", { maximumSignificantDigits: percent > 99.9 && percent < 100 ? 4 : 2 })} %`;
}
