// What `compare()` found: the values that selected spans have more often, or less often, than the others.

import { element, link } from "/assets/dom.js";
import { count, number } from "/assets/format.js";
import { writeValue } from "/assets/query.js";

const MOST_ROWS = 60;

/** Shows `{ selected, others, rows }` in `box`. */
export function drawContrast(box, { selected, others, rows }) {
  if (selected + others === 0) return box.replaceChildren(element("p", "nothing", "No span of this time matches."));
  const head = [["Attribute"], ["Value"], ["Of the selected"], ["Of the others"], ["Difference", "number"], ["", ""]].map(([text, className = ""]) => {
    const made = element(text === "" ? "td" : "th", className, text);
    if (text !== "") made.scope = "col";
    return made;
  });
  const table = element("table", "contrast", element("caption", "", `${count(selected, "span was", "spans were")} selected, ${number(others)} others compared. What sets them apart most comes first.`));
  table.append(element("thead", "", element("tr", "", ...head)));
  table.append(element("tbody", "", ...rows.slice(0, MOST_ROWS).map(toRow)));
  box.replaceChildren(table);
  if (rows.length > MOST_ROWS) box.append(element("p", "aside", `${number(rows.length - MOST_ROWS)} smaller differences are left out.`));
}

function toRow({ field, value, text, selected, others, difference }) {
  const name = element("th", "field-name", field);
  name.scope = "row";
  const find = link("Find", `/?${new URLSearchParams({ q: `{ ${field} = ${literal(field, value, text)} }` })}`);
  find.ariaLabel = `Find spans with this ${field}`;
  return element(
    "tr",
    "",
    name,
    text === "" ? element("td", "value aside", "empty") : element("td", "value", text),
    share(selected, "selected"),
    share(others, "others"),
    element("td", `number ${difference > 0 ? "more" : "less"}`, `${sign(difference)}${percent(Math.abs(difference))}`),
    element("td", "find", find),
  );
}

function share({ part, isBound }, className) {
  const fill = element("div", `fill ${className}`);
  fill.style.width = `${part * 100}%`;
  fill.hidden = part === 0 || isBound;
  const text = element("span", "", `${isBound ? "≤ " : ""}${percent(part)}`);
  if (isBound) text.title = "Not among the most frequent values";
  return element("td", "share", text, element("div", "track", fill));
}

function sign(difference) {
  return difference === 0 ? "" : difference > 0 ? "+" : "−";
}

function percent(part) {
  return `${(part * 100).toLocaleString("en", { maximumFractionDigits: part < 0.1 && part > 0 ? 1 : 0 })} %`;
}

function literal(field, value = {}, text) {
  return writeValue(field, "=", text, value.stringValue !== undefined && !["status", "kind"].includes(field) ? "string" : "");
}
