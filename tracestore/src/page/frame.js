// What every chart over time has around it: axes, a line that follows the pointer or the arrow keys, and a time to choose by
// dragging. Its inside is a square of 1000 by 1000 that is stretched to the room there is, so that nothing is drawn again for
// another size of the window.

import { element } from "/assets/dom.js";
import { timeText, timeTicks } from "/assets/series.js";
import { dragToZoom } from "/assets/zoom.js";

export const SIZE = 1000;
const SVG = "http://www.w3.org/2000/svg";

/**
 * @param time what shows, `{ from, to }` in milliseconds
 * @param ticks of the values, `{ at, text }` with `at` from 0 at the bottom to 1 at the top
 * @param unit what the values are
 * @param label says what the chart shows to those who do not see it
 * @param points times that the arrow keys step through, in milliseconds
 * @param tell gets the index of a point, or -1, and returns what to show beside it as elements, and as text
 * @param onZoom gets a part of the time, or `null` for all of it
 * @param moments how many times there is room to name below
 * @return `{ node, inside, surface }`: shapes go into `inside`, what is clicked on `surface`
 */
export function frame({ time, ticks, unit, label, points, tell, onZoom, moments = 9 }) {
  const inside = document.createElementNS(SVG, "svg");
  inside.setAttribute("viewBox", `0 0 ${SIZE} ${SIZE}`);
  inside.setAttribute("preserveAspectRatio", "none");
  inside.setAttribute("aria-hidden", "true");

  const grid = element("div", "grid-lines");
  for (const { at, text } of ticks) {
    const line = element("div", at === 0 ? "level zero-level" : "level", element("span", "", text));
    line.style.bottom = `${at * 100}%`;
    grid.append(line);
  }
  for (const each of timeTicks(time.from, time.to, moments)) {
    const line = element("div", "moment", element("span", "", each.text));
    const left = ((each.time - time.from) / (time.to - time.from)) * 100;
    line.style.left = `${left}%`;
    if (left > 94) line.classList.add("last");
    grid.append(line);
  }

  const hair = element("div", "chart-hair");
  const tip = element("div", "tip");
  hair.hidden = tip.hidden = true;
  const surface = element("div", "surface", hair, tip);
  surface.tabIndex = 0;
  surface.role = "slider";
  surface.ariaLabel = `${label}. Arrow keys step through time`;
  surface.dataset.keep = "chart";
  surface.ariaValueMin = "0";
  surface.ariaValueMax = String(Math.max(points.length - 1, 0));

  let current = -1;
  const go = (index) => {
    current = index;
    const told = index < 0 ? null : tell(index);
    hair.hidden = tip.hidden = told === null;
    surface.ariaValueNow = String(Math.max(index, 0));
    surface.ariaValueText = told === null ? "no time chosen" : told.text;
    if (told === null) return;
    const left = ((points[index] - time.from) / (time.to - time.from)) * 100;
    hair.style.left = `${left}%`;
    tip.style.left = `${left}%`;
    tip.classList.toggle("left", left > 55);
    tip.replaceChildren(...told.nodes);
  };
  go(-1);
  surface.addEventListener("pointermove", (event) => {
    const box = surface.getBoundingClientRect();
    const wanted = time.from + ((event.clientX - box.left) / box.width) * (time.to - time.from);
    go(nearest(points, wanted));
  });
  surface.addEventListener("pointerleave", () => go(-1));
  surface.addEventListener("blur", () => go(-1));
  surface.addEventListener("keydown", (event) => {
    const last = points.length - 1;
    const to = { ArrowLeft: Math.max((current < 0 ? last + 1 : current) - 1, 0), ArrowRight: Math.min(current + 1, last), Home: 0, End: last, Escape: -1 }[event.key];
    if (to === undefined || event.target !== surface || last < 0) return;
    event.preventDefault();
    event.stopPropagation();
    go(to);
  });
  dragToZoom(surface, () => time, onZoom);
  surface.addEventListener("dblclick", () => onZoom(null));

  const heading = element("p", "chart-unit", unit);
  const node = element("div", "frame", heading, element("div", "plot", grid, inside, surface));
  return { node, inside, surface, hover: { get: () => (current < 0 ? null : points[current]), set: (at) => go(nearest(points, at)) } };
}

/** The index of the time that is nearest; -1 if there is none. */
export function nearest(times, wanted) {
  let best = -1;
  let distance = Infinity;
  for (let index = 0; index < times.length; index++) {
    const apart = Math.abs(times[index] - wanted);
    if (apart < distance) [best, distance] = [index, apart];
  }
  return best;
}

/** A shape inside of a frame. */
export function path(inside, className, d) {
  const made = document.createElementNS(SVG, "path");
  made.setAttribute("class", className);
  made.setAttribute("d", d);
  inside.append(made);
  return made;
}

/** When a point is, as the first line of what is told about it; an interval that has not ended yet says so. */
export function when(time, step) {
  const text = `${timeText(time - step, Math.min(step, 1000))} – ${timeText(time, Math.min(step, 1000))}`;
  return time > Date.now() ? `${text}, so far` : text;
}

/** A dot that leads to a trace. */
export function exemplarLink({ trace }, left, bottom, says) {
  const dot = element("a", "exemplar");
  dot.href = `/trace/${trace}`;
  dot.ariaLabel = `Trace ${trace}, ${says}`;
  dot.title = `${says}\nTrace ${trace}`;
  dot.draggable = false;
  dot.dataset.keep = `trace ${trace}`;
  dot.style.left = `${left * 100}%`;
  dot.style.bottom = `${bottom * 100}%`;
  return dot;
}

/** The numbers behind a picture, made when someone wants them. `rows` makes `{ head, body }` of texts. */
export function numbers(box, caption, rows, isOpen, onToggle) {
  const details = element("details", "numbers", element("summary", "", "Values as a table"));
  details.firstChild.dataset.keep = "numbers";
  const fill = () => {
    if (!details.open || details.children.length > 1) return;
    const { head, body, more } = rows();
    const table = element("table", "values", element("caption", "offscreen", caption));
    const cell = (name, scope, text) => {
      const made = element(name, "", text);
      if (scope) made.scope = scope;
      return made;
    };
    table.append(element("thead", "", element("tr", "", ...head.map((text) => cell("th", "col", text)))));
    table.append(element("tbody", "", ...body.map(([first, ...rest]) => element("tr", "", cell("th", "row", first), ...rest.map((text) => cell("td", "", text))))));
    const scroll = element("div", "scroll", table);
    scroll.tabIndex = 0;
    scroll.role = "region";
    scroll.ariaLabel = caption;
    details.append(scroll);
    if (more) details.append(element("p", "aside", more));
  };
  details.addEventListener("toggle", () => {
    onToggle(details.open);
    fill();
  });
  details.open = isOpen;
  fill();
  box.append(details);
}
