// The line between the waterfall and the details, which can be moved.

import { byId } from "/assets/dom.js";
import { recall, remember } from "/assets/memory.js";

const LEAST = 0.15;
const MOST = 0.75;

const handle = byId("details-splitter");
const panes = byId("panes");

/** @param onResize is called after every change */
export function initPane(onResize) {
  const set = (wanted) => {
    const share = Math.min(Math.max(wanted, LEAST), MOST);
    panes.style.setProperty("--details", `${(share * 100).toFixed(2)}%`);
    handle.ariaValueNow = (share * 100).toFixed(0);
    return share;
  };
  handle.ariaValueMin = String(LEAST * 100);
  handle.ariaValueMax = String(MOST * 100);
  const remembered = Number(recall("details"));
  let share = remembered > 0 ? set(remembered) : 0;
  const change = (wanted) => {
    share = set(wanted);
    remember("details", share);
    onResize();
  };
  handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    const box = panes.getBoundingClientRect();
    change((box.right - event.clientX) / box.width);
  });
  handle.addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: 1, ArrowRight: -1 }[event.key];
    if (direction === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const now = share || byId("details").offsetWidth / panes.offsetWidth;
    change(now + direction * 0.02);
  });
}

/** The line is there while the details are. */
export function showPane(isShown) {
  handle.hidden = !isShown;
}
