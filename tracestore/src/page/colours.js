// A colour for every service, the same on every page.

import { recall, remember } from "/assets/memory.js";

/** In OKLCH; far apart from each other, and from the red of errors. */
export const HUES = [255, 150, 305, 65, 205, 345, 115, 280, 180, 325, 230, 90];

const MOST_REMEMBERED = 500;

/** Slots by service, in the order in which they were given. */
const given = new Map(recall("slots") ?? []);

/** Services keep a colour once they have it; a new one gets a colour that few others have. */
export function hue(service) {
  let slot = given.get(service);
  if (slot === undefined) {
    slot = freeSlot(service);
    given.set(service, slot);
    if (given.size > MOST_REMEMBERED) given.delete(given.keys().next().value);
    remember("slots", [...given]);
  }
  return HUES[slot] ?? HUES[0];
}

/** Gives `node` the colour of a service; style sheets have it as `--hue`. */
export function tint(node, service) {
  node.style.setProperty("--hue", hue(service));
}

/** Of those that fewest have, the one that is farthest from the colours that were given last. */
function freeSlot(service) {
  const uses = new Array(HUES.length).fill(0);
  for (const slot of given.values()) uses[slot]++;
  const fewest = Math.min(...uses);
  const last = [...given.values()].slice(-HUES.length + 1);
  const first = hash(service) % HUES.length;
  let [best, farthest] = [first, -1];
  for (let step = 0; step < HUES.length; step++) {
    const slot = (first + step) % HUES.length;
    if (uses[slot] > fewest) continue;
    const nearest = Math.min(360, ...last.map((other) => distance(HUES[slot], HUES[other])));
    if (nearest > farthest) [best, farthest] = [slot, nearest];
  }
  return best;
}

function distance(one, other) {
  const apart = Math.abs(one - other);
  return Math.min(apart, 360 - apart);
}

function hash(text) {
  let sum = 0;
  for (let at = 0; at < text.length; at++) sum = (sum * 31 + text.charCodeAt(at)) >>> 0;
  return sum;
}
