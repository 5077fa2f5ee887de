// A histogram over time: how many spans were in which bucket, as a picture.

import { element } from "/assets/dom.js";
import { count, number } from "/assets/format.js";
import { frame, numbers, path, SIZE, when } from "/assets/frame.js";

const LEVELS = 8;
const MOST_ROWS = 100;

let isTableOpen = false;

/** Draws `{ times, buckets, counts, most }` in `box`. */
export function drawHeatmap(box, { times, buckets, counts, most }, { window: time, unit, onZoom }) {
  if (most === 0) return box.replaceChildren(element("p", "nothing", "No span of this time matches."));
  const rows = buckets.length;
  const across = (at) => Math.min(Math.max((at - time.from) / (time.to - time.from), 0), 1) * SIZE;
  const lower = (bucket) => buckets[bucket] / 2;
  const range = (bucket) => `${unit.text(lower(bucket))} – ${unit.text(buckets[bucket])}`;

  const tell = (index) => {
    const found = buckets.map((_, bucket) => ({ bucket, count: counts[bucket][index] })).filter((each) => each.count > 0).toReversed();
    const head = when(times[index], time.step);
    const list = element("ul", "", ...found.map((each) => element("li", "", element("span", `swatch cell level-${level(each.count, most)}`), element("span", "name", range(each.bucket)), element("span", "amount", number(each.count)))));
    const nodes = [element("p", "at", head), found.length > 0 ? list : element("p", "aside", "no spans")];
    return { nodes, text: `${head}: ${found.map((each) => `${range(each.bucket)} ${count(each.count, "span", "spans")}`).join(", ") || "no spans"}` };
  };
  const every = Math.ceil(rows / 12);
  const ticks = [];
  for (let edge = 0; edge <= rows; edge += every) ticks.push({ at: edge / rows, text: unit.text(edge === 0 ? lower(0) : buckets[edge - 1]) });
  const { node, inside, hover } = frame({ time, ticks, unit: unit.name, label: "Spans by time and size", points: times, tell, onZoom });

  const cells = Array.from({ length: LEVELS }, () => []);
  counts.forEach((row, bucket) => row.forEach((value, index) => {
    if (value === 0) return;
    const [left, right] = [across(times[index] - time.step), across(times[index])];
    const height = SIZE / rows;
    cells[level(value, most) - 1].push(`M${left.toFixed(1)} ${(SIZE - (bucket + 1) * height).toFixed(1)}H${right.toFixed(1)}v${height.toFixed(1)}H${left.toFixed(1)}Z`);
  }));
  cells.forEach((shapes, index) => shapes.length > 0 && path(inside, `cell level-${index + 1}`, shapes.join("")));

  const hovered = box.hovered?.get() ?? null;
  const wasPointed = box.querySelector(".surface")?.matches(":hover, :focus") ?? false;
  box.hovered = hover;
  box.replaceChildren(node, scale(most));
  numbers(box, "Spans by time and size", () => {
    const from = Math.max(0, times.length - MOST_ROWS);
    const body = [];
    for (let index = times.length - 1; index >= from; index--) body.push([when(times[index], time.step), ...counts.map((row) => number(row[index]))]);
    return { head: ["Time", ...buckets.map((_, bucket) => range(bucket))], body, more: from > 0 ? `Left out: ${number(from)} earlier points.` : "" };
  }, isTableOpen, (open) => (isTableOpen = open));
  if (hovered !== null && wasPointed) hover.set(hovered);
}

/** 1 to 8; few spans are told apart better than many. */
function level(value, most) {
  return Math.min(Math.max(Math.ceil(Math.sqrt(value / most) * LEVELS), 1), LEVELS);
}

function scale(most) {
  const step = (level) => element("span", `swatch cell level-${level}`);
  if (most === 1) return element("p", "scale", step(LEVELS), "1 span");
  return element("p", "scale", "1 span", ...Array.from({ length: LEVELS }, (_, index) => step(index + 1)), count(most, "span", "spans"));
}
