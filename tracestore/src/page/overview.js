// The whole trace in a strip: every span in one picture, the part that is zoomed to, errors and matches.

import { hue } from "/assets/colours.js";
import { byId } from "/assets/dom.js";
import { duration } from "/assets/format.js";
import { clamp, dragToZoom } from "/assets/zoom.js";

const HEIGHT = 56;

const strip = byId("overview");
const canvas = byId("overview-canvas");
const shades = [byId("shade-left"), byId("shade-right")];
const handles = [byId("handle-from"), byId("handle-to")];

/** @param onZoom gets the part that someone drags or moves to */
export function initOverview(view, onZoom) {
  const whole = () => ({ from: 0, to: view.trace.total });
  dragToZoom(strip, whole, onZoom);
  strip.addEventListener("dblclick", () => onZoom(whole()));
  handles.forEach((handle, index) => {
    const side = ["from", "to"][index];
    const moveTo = (at) => onZoom(clamp({ ...view.zoom, [side]: at }, view.trace.total));
    handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = strip.getBoundingClientRect();
      const at = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * view.trace.total;
      if (side === "from" ? at < view.zoom.to : at > view.zoom.from) moveTo(at);
    });
    handle.addEventListener("keydown", (event) => {
      const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (direction === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      moveTo(view.zoom[side] + (direction * view.trace.total) / 50);
    });
  });
}

let wanted = 0;

/** Draws the spans soon: after new data, another size, another theme, other matches. */
export function drawOverview(view) {
  cancelAnimationFrame(wanted);
  // The rows come first.
  wanted = requestAnimationFrame(() => setTimeout(draw, 0, view));
}

function draw({ trace, matches }) {
  const { spans, total } = trace;
  const ratio = devicePixelRatio || 1;
  const width = Math.max(Math.round(strip.clientWidth * ratio), 1);
  const height = HEIGHT * ratio;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const styles = getComputedStyle(strip);
  const bar = styles.getPropertyValue("--bar").trim();
  const perRow = (height - 4 * ratio) / spans.length;
  const thick = Math.min(Math.max(perRow * 0.7, 1), 6 * ratio);
  const scale = total > 0 ? width / total : 0;
  const y = (row) => 2 * ratio + row * Math.min(perRow, 7 * ratio);

  const colours = new Map([...trace.services.keys()].map((service) => [service, `oklch(${bar} ${hue(service)})`]));
  let colour = null;
  spans.forEach(({ service, start, length }, row) => {
    const own = colours.get(service);
    // Setting a colour takes longer than drawing with it.
    if (own !== colour) context.fillStyle = colour = own;
    context.fillRect(start * scale, y(row), Math.max(length * scale, ratio), thick);
  });
  context.fillStyle = styles.getPropertyValue("--error-mark");
  for (const row of trace.errors) {
    const { start, length } = spans[row];
    context.fillRect(start * scale, y(row), Math.max(length * scale, 3 * ratio), Math.max(thick / 2, 1.5 * ratio));
  }

  context.fillStyle = styles.getPropertyValue("--match-mark");
  for (const row of matches) context.fillRect(spans[row].start * scale - ratio, 0, 2 * ratio, 3 * ratio);
  context.fillStyle = styles.getPropertyValue("--error-mark");
  for (const row of trace.errors) context.fillRect(spans[row].start * scale - ratio, height - 3 * ratio, 2 * ratio, 3 * ratio);
}

/** Shows which part is zoomed to. */
export function drawZoom({ trace, zoom }) {
  const total = Math.max(trace.total, 1);
  const [left, right] = [(zoom.from / total) * 100, Math.max(0, (1 - zoom.to / total) * 100)];
  shades[0].style.width = `${left}%`;
  shades[1].style.width = `${right}%`;
  handles[0].style.left = `${left}%`;
  handles[1].style.left = `${100 - right}%`;
  handles.forEach((handle, index) => {
    const at = index === 0 ? zoom.from : zoom.to;
    handle.ariaValueMin = "0";
    handle.ariaValueMax = "100";
    handle.ariaValueNow = ((at / total) * 100).toFixed(1);
    handle.ariaValueText = duration(at);
  });
}
