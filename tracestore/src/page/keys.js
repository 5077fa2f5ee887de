// The keyboard: one table of what keys do, and the help that is made from it.

import { byId, element } from "/assets/dom.js";

/**
 * Connects keys to what they do.
 *
 * @param bindings `{ says, does, shows }`: the line of the help, actions by key, and the names of the keys in the
 *        help if they are others
 * @param isReady says whether there is anything to do it to
 */
export function listen(bindings, isReady) {
  const actions = new Map(bindings.flatMap(({ does }) => Object.entries(does)));
  fillHelp(bindings);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || byId("help").open || !isReady()) return;
    const on = (selector) => event.target.closest?.(selector) != null;
    if (on("input, select, textarea") && event.key !== "Escape") return;
    // A button or link that has the focus is pressed, as everywhere.
    if ((event.key === "Enter" || event.key === " ") && on("a, button, summary")) return;
    const action = actions.get(event.key);
    if (action === undefined) return;
    event.preventDefault();
    action();
  });
}

const NAMES = {
  ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc", PageDown: "Page ↓", PageUp: "Page ↑", " ": "Space",
};

function fillHelp(bindings) {
  const list = element("dl", "");
  for (const { says, does, shows = Object.keys(does) } of bindings) {
    const names = shows.map((key) => (key === "to" ? " to " : element("kbd", "", NAMES[key] ?? key)));
    list.append(element("div", "", element("dt", "", ...names), element("dd", "", says)));
  }
  byId("help-keys").replaceChildren(list);
}
