// The part of the time axis that shows, and how dragging and turning the wheel change it.

/** Nobody needs less on a whole screen, in nanoseconds. */
const LEAST = 20;

/** A part of `0..total` that is as near as possible to the one that is wished for. */
export function clamp({ from, to }, total) {
  const width = Math.min(Math.max(to - from, LEAST), Math.max(total, LEAST));
  const start = Math.min(Math.max(from, 0), Math.max(total - width, 0));
  return { from: start, to: start + width };
}

/** Larger than 1 shows more, smaller than 1 shows less; the point `at` stays where it is. */
export function scale({ from, to }, factor, at, total) {
  return clamp({ from: at - (at - from) * factor, to: at + (to - at) * factor }, total);
}

/** Moves by a part of what shows. */
export function pan({ from, to }, part, total) {
  const by = (to - from) * part;
  return clamp({ from: from + by, to: to + by }, total);
}

/** Points of the axis at round numbers, about `wished` of them: `{ step, ticks }`. */
export function ticks({ from, to }, wished) {
  const rough = (to - from) / Math.max(wished, 1);
  let step = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  step *= [1, 2, 5, 10].find((factor) => step * factor >= rough) ?? 10;
  if (rough > 30e9) step = [60, 120, 300, 600, 1200, 1800, 3600, 7200, 21_600, 43_200].map((s) => s * 1e9).find((s) => s >= rough) ?? 86_400e9 * Math.ceil(rough / 86_400e9);
  const points = [];
  for (let at = Math.ceil(from / step) * step; at <= to && points.length < 50; at += step) points.push(at);
  return { step, ticks: points };
}

/**
 * Lets people drag over `surface` to choose a part of what it shows.
 *
 * @param range what the surface shows, `{ from, to }`, when asked
 * @param onZoom gets the part that was chosen; a click without a drag gets none
 */
export function dragToZoom(surface, range, onZoom) {
  const mark = document.createElement("div");
  mark.className = "dragged";
  mark.hidden = true;
  surface.append(mark);
  let begun = null;
  const fraction = (event) => {
    const box = surface.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  };
  surface.addEventListener("pointerdown", (event) => {
    const on = event.target.closest("a, button, [role=slider]");
    if (event.button !== 0 || (on !== null && on !== surface)) return;
    begun = fraction(event);
    surface.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  surface.addEventListener("pointermove", (event) => {
    if (begun === null) return;
    const now = fraction(event);
    mark.hidden = Math.abs(now - begun) < 0.003;
    mark.style.left = `${Math.min(begun, now) * 100}%`;
    mark.style.width = `${Math.abs(now - begun) * 100}%`;
  });
  const end = (event, chosen) => {
    if (begun === null) return;
    const [one, other] = [begun, fraction(event)].sort((a, b) => a - b);
    begun = null;
    mark.hidden = true;
    if (!chosen || other - one < 0.003) return;
    const { from, to } = range();
    onZoom({ from: from + (to - from) * one, to: from + (to - from) * other });
  };
  surface.addEventListener("pointerup", (event) => end(event, true));
  surface.addEventListener("pointercancel", (event) => end(event, false));
}
