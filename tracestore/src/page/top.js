// The top of every page: the theme, and how full the store is.

import { ask } from "/assets/api.js";
import { byId, element, setText } from "/assets/dom.js";
import { bytes, number } from "/assets/format.js";
import { details, measure } from "/assets/gauge.js";

const THEMES = ["auto", "light", "dark"];

/** The last `/status.json`; `null` until it arrives. */
let status = null;

const listeners = new Set();

/** Calls with every `/status.json`. */
export function onStatus(listener) {
  listeners.add(listener);
  if (status !== null) listener(status);
}

/** Asks how full the store is, and shows it. */
export async function refreshStatus() {
  status = await ask("/status.json");
  show();
  for (const listener of listeners) listener(status);
}

function show() {
  const gauge = byId("gauge");
  const { fraction, what } = measure(status);
  const { spans = 0 } = status.usage ?? {};
  setText(byId("gauge-text"), `${number(spans)} ${spans === 1 ? "span" : "spans"}, ${bytes(what.used)} of ${bytes(what.bound)}`);
  byId("gauge-fill").style.width = `${(fraction * 100).toFixed(1)}%`;
  byId("gauge-fill").hidden = what.used === 0;
  gauge.classList.toggle("warned", [status.usage, status.logs].some((kept) => (kept?.quarantined ?? []).length > 0));
  gauge.hidden = false;
  if (byId("kept").matches(":popover-open")) byId("kept").replaceChildren(details(status));
}

function nextTheme() {
  const now = document.documentElement.dataset.theme ?? "auto";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("theme", next);
  } catch {
    // Storage is switched off: the theme lasts as long as the page.
  }
  sayTheme();
  document.dispatchEvent(new Event("theme"));
}

function sayTheme() {
  const now = document.documentElement.dataset.theme ?? "auto";
  const name = { auto: "Auto", light: "Light", dark: "Dark" }[now];
  setText(byId("theme-name"), name);
  byId("theme").ariaLabel = `Theme: ${name}`;
}

byId("theme").addEventListener("click", nextTheme);
byId("kept").addEventListener("beforetoggle", (event) => {
  if (event.newState === "open") byId("kept").replaceChildren(status === null ? element("p", "", "Not known yet.") : details(status));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
sayTheme();
