// Series as lines over time, with a legend that has their numbers.

import { hue, HUES } from "/assets/colours.js";
import { button, element } from "/assets/dom.js";
import { number } from "/assets/format.js";
import { exemplarLink, frame, numbers, path, SIZE, when } from "/assets/frame.js";
import { valueTicks } from "/assets/series.js";

/** More lines nobody tells apart. */
const MOST_DRAWN = 36;
const MOST_TOLD = 12;
const MOST_NAMED = 20;
const MOST_EXEMPLARS = 200;
const MOST_ROWS = 200;

/**
 * What a box keeps from one answer to the next: `query`, `off` with the keys of series that were switched off, `slots` with
 * colours by key in the order in which they came, and `isTableOpen`.
 */
const kept = new WeakMap();

/**
 * Draws `{ times, series }` in `box`.
 *
 * A series may have a `hue` of its own. `options` are the `window` of time, the `unit`, the `metrics` function, the `query` that
 * makes them, `onZoom`, and how many `moments` of time have their names below.
 */
export function drawLines(box, { times, series }, options) {
  const state = kept.get(box) ?? { isTableOpen: false };
  if (state.query !== options.query) Object.assign(state, { query: options.query, off: new Set(), slots: new Map() });
  kept.set(box, state);
  const { off, slots } = state;
  if (series.length === 0) return box.replaceChildren(element("p", "nothing", "No span of this time matches."));
  const redraw = () => {
    const keep = document.activeElement?.dataset.keep;
    drawLines(box, { times, series }, options);
    box.querySelectorAll("[data-keep]").forEach((node) => node.dataset.keep === keep && node.focus());
  };

  const drawn = series.slice(0, MOST_DRAWN);
  for (const each of drawn) if (!slots.has(each.key)) slots.set(each.key, slots.size);
  const visible = drawn.filter(({ key }) => !off.has(key));
  const { window: time, unit, metrics } = options;
  const bounds = boundsOf(visible);
  const { step, ticks } = valueTicks(bounds.least, bounds.most, 5);
  const [bottom, top] = [ticks[0], ticks.at(-1)];
  const up = (value) => (value - bottom) / (top - bottom);
  const across = (at) => (at - time.from) / (time.to - time.from);

  const told = (index) => {
    const values = visible.map((each) => ({ each, value: each.values[index] })).filter(({ value }) => !Number.isNaN(value));
    values.sort((one, other) => other.value - one.value);
    const head = when(times[index], time.step);
    const list = element("ul", "", ...values.slice(0, MOST_TOLD).map(({ each, value }) => element("li", "", swatch(each, slots), element("span", "name", each.name), element("span", "amount", unit.text(value)))));
    const more = values.length - MOST_TOLD;
    const nodes = [element("p", "at", head), list];
    if (more > 0) nodes.push(element("p", "aside", `and ${number(more)} more`));
    if (values.length === 0) nodes.push(element("p", "aside", "nothing"));
    return { nodes, text: `${head}: ${values.slice(0, MOST_TOLD).map(({ each, value }) => `${each.name} ${unit.text(value)}`).join(", ") || "nothing"}` };
  };
  const { node, inside, surface, hover } = frame({
    time,
    ticks: ticks.map((value) => ({ at: up(value), text: unit.tick(value, step) })),
    unit: unit.name,
    label: `${metrics.function} over time, ${number(series.length)} series`,
    points: times,
    tell: told,
    onZoom: options.onZoom,
    moments: options.moments,
  });
  const point = (index, value) => `${round(across(times[index]) * SIZE)} ${round((1 - up(value)) * SIZE)}`;
  const draw = (className, each, d) => tint(path(inside, className, d), each, slots);
  if (visible.length === 1) draw("area", visible[0], areaOf(visible[0].values, times, time.step, point, up(Math.max(bottom, 0))));
  for (const each of visible.toReversed()) {
    const { line, dots } = lineOf(each.values, times, time.step, point);
    draw(`series dash-${dash(each, slots)}`, each, line);
    if (dots !== "") draw("series alone", each, dots);
  }
  const exemplars = visible.flatMap((each) => each.exemplars.map((exemplar) => ({ each, exemplar })));
  for (const { each, exemplar } of exemplars.slice(0, MOST_EXEMPLARS)) {
    // Where the line counts spans, the value of one span has no place of its own.
    const isOwn = unit.name === "duration";
    const value = isOwn ? exemplar.value : each.values[times.findIndex((time) => time >= exemplar.time)] ?? NaN;
    const [left, at] = [across(exemplar.time), up(value)];
    if (!(left >= 0 && left <= 1) || Number.isNaN(at)) continue;
    const dot = exemplarLink(exemplar, left, Math.min(Math.max(at, 0), 1), isOwn ? unit.text(exemplar.value) : each.name);
    tint(dot, each, slots);
    surface.append(dot);
  }

  const hovered = box.hovered?.get() ?? null;
  const wasPointed = box.querySelector(".surface")?.matches(":hover, :focus") ?? false;
  box.hovered = hover;
  box.replaceChildren(node, legend(drawn, unit, state, redraw));
  if (series.length > drawn.length) box.append(leftOut(series.slice(MOST_DRAWN)));
  numbers(box, `${metrics.function} by time`, () => rowsOf(visible, times, time.step, unit), state.isTableOpen, (open) => (state.isTableOpen = open));
  if (hovered !== null && wasPointed) hover.set(hovered);
}

function boundsOf(series) {
  let [least, most] = [0, -Infinity];
  for (const { values } of series) {
    for (const value of values) if (Number.isFinite(value)) [least, most] = [Math.min(least, value), Math.max(most, value)];
  }
  return { least, most: most > least ? most : least + 1 };
}

/** Lines between points that follow each other, and dots where a point is alone. */
function lineOf(values, times, step, point) {
  const all = runs(values, times, step);
  const at = (index) => point(index, values[index]);
  return {
    line: all.filter((run) => run.length > 1).map((run) => `M${run.map(at).join("L")}`).join(""),
    dots: all.filter((run) => run.length === 1).map(([index]) => `M${at(index)}h0`).join(""),
  };
}

function areaOf(values, times, step, point, zero) {
  const ground = round((1 - zero) * SIZE);
  const edge = (index) => `${point(index, values[index]).split(" ")[0]} ${ground}`;
  return runs(values, times, step).filter((run) => run.length > 1).map((run) => `M${edge(run[0])}L${run.map((index) => point(index, values[index])).join("L")}L${edge(run.at(-1))}Z`).join("");
}

/** Indexes of finite values without a gap between them. */
function runs(values, times, step) {
  const found = [];
  let run = [];
  values.forEach((value, index) => {
    if (!Number.isFinite(value)) return;
    if (run.length > 0 && times[index] - times[run.at(-1)] > 1.5 * step) {
      found.push(run);
      run = [];
    }
    run.push(index);
  });
  return run.length > 0 ? [...found, run] : found;
}

function round(value) {
  return Math.round(value * 10) / 10;
}

function tint(node, { key, labels, hue: own }, slots) {
  const service = labels.length === 1 && labels[0].key === "resource.service.name" ? labels[0].text : null;
  const slot = slots.get(key) ?? 0;
  node.style.setProperty("--hue", own ?? (service === null ? HUES[slot % HUES.length] : hue(service)));
}

/** Lines of one colour differ in their dashes. */
function dash({ key }, slots) {
  return Math.floor((slots.get(key) ?? 0) / HUES.length);
}

function swatch(series, slots) {
  const made = element("span", `swatch dash-${dash(series, slots)}`);
  tint(made, series, slots);
  return made;
}

function legend(series, unit, { off, slots }, redraw) {
  const rows = series.map((each) => {
    const isOn = !off.has(each.key);
    const toggle = button("", "toggle-series", (event) => {
      const others = series.filter(({ key }) => key !== each.key);
      if (event.shiftKey) {
        const isAlone = others.every(({ key }) => off.has(key)) && isOn;
        off.clear();
        if (!isAlone) for (const { key } of others) off.add(key);
      } else if (!off.delete(each.key)) off.add(each.key);
      redraw();
    });
    toggle.append(swatch(each, slots), element("span", "name", each.name));
    toggle.ariaPressed = String(isOn);
    toggle.dataset.keep = each.key;
    toggle.title = "Hide or show; with Shift only this one";
    const head = element("th", "", toggle);
    head.scope = "row";
    const amount = (value) => element("td", "number", Number.isNaN(value) ? "–" : unit.text(value));
    return element("tr", isOn ? "" : "off", head, amount(each.last), amount(each.mean), amount(each.max));
  });
  const head = ["Series", "Last", "Mean", "Max"].map((text, index) => {
    const made = element("th", index > 0 ? "number" : "", text);
    made.scope = "col";
    return made;
  });
  return element("table", "legend", element("caption", "offscreen", `Series, in ${unit.name}`), element("thead", "", element("tr", "", ...head)), element("tbody", "", ...rows));
}

function leftOut(series) {
  const names = series.slice(0, MOST_NAMED).map(({ name }) => name).join(", ");
  const more = series.length > MOST_NAMED ? ` and ${number(series.length - MOST_NAMED)} more` : "";
  return element("p", "aside left-out", `${number(series.length)} smaller series are not drawn; “| topk(10)” leaves the largest of each time. Left out: ${names}${more}`);
}

function rowsOf(series, times, step, unit) {
  const columns = series.slice(0, MOST_TOLD);
  const from = Math.max(0, times.length - MOST_ROWS);
  const body = [];
  for (let index = times.length - 1; index >= from; index--) body.push([when(times[index], step), ...columns.map(({ values }) => (Number.isNaN(values[index]) ? "–" : unit.text(values[index])))]);
  const left = [];
  if (from > 0) left.push(`${number(from)} earlier points`);
  if (series.length > columns.length) left.push(`${number(series.length - columns.length)} smaller series`);
  return { head: ["Time", ...columns.map(({ name }) => name)], body, more: left.length > 0 ? `Left out: ${left.join(" and ")}.` : "" };
}
