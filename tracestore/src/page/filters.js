// The pickers above the list: what is searched for, and completions for it.

import { tagNames, tagValues } from "/assets/api.js";
import { initBox, showQuery, showRefusal } from "/assets/box.js";
import { button, byId, element, setText } from "/assets/dom.js";
import { clock } from "/assets/format.js";
import { NOTHING_PICKED, OPERATORS, quote, read, readDuration, VIEWS, write, writeKey } from "/assets/query.js";

const form = byId("filters");
const rows = byId("attributes");
const FIELDS = ["service", "operation", "min", "max", "of"];
const field = Object.fromEntries(FIELDS.map((id) => [id, byId(id)]));

/** What the server has no completions for, the list has. */
const seen = { services: new Set(), operations: new Set() };
let changed = () => {};
/** The stages after what is picked. */
let then = "";
/** What is searched for: `{ query, range, from, to }`. */
let asked = { query: "{}", range: "all", from: 0, to: 0 };
let nextRow = 0;

/**
 * Calls `onChange({ query, range, from, to })` when something else is searched for. `from` and `to` are milliseconds since
 * the Unix epoch, or both 0.
 */
export function initFilters(onChange) {
  changed = (wanted) => {
    // The key that ends the typing and the change that comes of it are one wish.
    if (JSON.stringify(asked) === JSON.stringify(wanted)) return;
    asked = wanted;
    onChange(wanted);
  };
  initBox((query) => {
    const wanted = { ...asked, query };
    fillFields(wanted);
    // Asking again is a wish too.
    asked = wanted;
    onChange(wanted);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => apply(event.target));
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.target instanceof HTMLInputElement)) return;
    event.preventDefault();
    apply(event.target);
  });
  byId("add").addEventListener("click", () => addRow({ key: "", operator: "=", value: "", type: "" }).key.focus());
  byId("clear").addEventListener("click", () => {
    const wanted = { ...asked, query: "{}" };
    showRefusal(null);
    fillFields(wanted);
    changed(wanted);
    byId("query").focus();
  });
  byId("zoomed").addEventListener("click", () => {
    const wanted = { ...asked, range: "all", from: 0, to: 0 };
    fillTime(wanted);
    changed(wanted);
  });
  complete(field.service, "services", () => tagValues("resource.service.name", ""), () => seen.services);
  const ofService = () => (field.service.value ? `{ resource.service.name = ${quote(field.service.value)} }` : "");
  complete(field.operation, "operations", () => tagValues("name", ofService()), () => (field.service.value ? [] : seen.operations));
}

/** Fills the box and the pickers from an address. */
export function showFilters({ query, range, from, to }) {
  asked = { query, range, from, to };
  fillFields(asked);
}

/** Looks at a part of the time. */
export function zoomTime({ from, to }) {
  const wanted = { ...asked, range: "all", from: Math.floor(from), to: Math.ceil(to) };
  fillTime(wanted);
  changed(wanted);
}

/** A query that the pickers cannot say stays in the box alone. */
function fillFields(wanted) {
  const picked = read(wanted.query);
  const shown = picked ?? { ...NOTHING_PICKED, attributes: [] };
  for (const id of FIELDS) {
    field[id].value = shown[id];
    field[id].setCustomValidity("");
  }
  form.elements.status.value = shown.errors ? "errors" : "any";
  fillTime(wanted);
  rows.replaceChildren();
  for (const attribute of shown.attributes) addRow(attribute);
  then = shown.then;
  fillQuery(wanted.query, picked === null);
}

function fillTime({ range: wanted, from, to }) {
  const isZoomed = to > 0;
  for (const choice of form.elements.range) choice.checked = !isZoomed && choice.value === wanted;
  const zoomed = byId("zoomed");
  zoomed.hidden = !isZoomed;
  if (isZoomed) setText(zoomed, `${timeText(from)} – ${timeText(to)} ×`);
}

function timeText(millis) {
  return clock(BigInt(millis) * 1_000_000n).replace(/\.\d+$/, "");
}

/** Completions for servers that offer none. */
export function learn(traces) {
  for (const trace of traces) {
    for (const service of Object.keys(trace.serviceStats ?? {})) if (service) seen.services.add(service);
    if (trace.rootTraceName) seen.operations.add(trace.rootTraceName);
  }
}

function apply(target) {
  // What is typed in the box is searched for when someone says so.
  if (target === byId("query")) return;
  if (target.name === "range") {
    const wanted = { ...asked, range: target.value, from: 0, to: 0 };
    fillTime(wanted);
    return changed(wanted);
  }
  if (target.name === "view") then = VIEWS.get(target.value) ?? "";
  const picked = pick();
  if (picked === null) return;
  const query = write(picked);
  fillQuery(query, false);
  showRefusal(null);
  changed({ ...asked, query });
}

/** What is picked, or `null` after saying what is wrong with it. */
function pick() {
  const bounds = {};
  for (const id of ["min", "max"]) {
    bounds[id] = readDuration(field[id].value);
    field[id].setCustomValidity(bounds[id] === null ? "A duration is a number and a unit: 250us, 10ms, 1.5s, 2m" : "");
    field[id].ariaInvalid = String(bounds[id] === null);
    if (bounds[id] === null) {
      showRefusal({ message: `${id === "min" ? "Minimum" : "Maximum"} duration: “${field[id].value}” is no number with a unit such as 250us, 10ms, 1.5s or 2m` });
      return null;
    }
  }
  return {
    service: field.service.value.trim(),
    operation: field.operation.value.trim(),
    errors: form.elements.status.value === "errors",
    ...bounds,
    of: field.of.value,
    // A row that is half filled in says nothing yet; `""` is the empty string.
    attributes: [...rows.children].map(readRow).filter(({ key, value, type }) => key !== "" && (value !== "" || type === "string")),
    then,
  };
}

function fillQuery(query, isByHand) {
  showQuery(query);
  form.classList.toggle("typed", isByHand);
  byId("by-hand").hidden = !isByHand;
  byId("clear").hidden = query === "{}";
  const view = isByHand ? undefined : [...VIEWS].find(([, stages]) => stages === then)?.[0];
  for (const choice of form.elements.view) choice.checked = choice.value === view;
}

function addRow({ key, operator, value, type }) {
  const id = `values-${nextRow++}`;
  const keyField = input("key", key, "span.http.route", "Attribute");
  keyField.setAttribute("list", "keys");
  const choice = element("select", "operator");
  choice.ariaLabel = "Operator";
  choice.append(...OPERATORS.map((each) => new Option(each, each)));
  choice.value = operator;
  const valueField = input("value", value, "value", "Value");
  valueField.setAttribute("list", id);
  const list = element("datalist", "");
  list.id = id;
  const row = element("div", "attribute", keyField, choice, valueField, list);
  row.append(button("Remove", "quiet", () => {
    const said = keyField.value !== "" && valueField.value !== "";
    row.remove();
    byId("add").focus();
    if (said) apply(row);
  }));
  row.types = new Map();
  // A value that came quoted stays a string, even if it looks like a number.
  if (type !== "") row.types.set(value, type);
  complete(keyField, "keys", async () => (await tagNames()).map((name) => ({ value: name })), () => []);
  complete(valueField, id, async () => {
    const values = keyField.value ? await tagValues(writeKey(keyField.value), "") : [];
    for (const { value: text, type: kind } of values) row.types.set(text, kind);
    return values;
  }, () => []);
  rows.append(row);
  return { key: keyField };
}

function readRow(row) {
  const value = row.querySelector(".value").value;
  const quoted = /^"(.*)"$/s.exec(value);
  return {
    key: row.querySelector(".key").value.trim(),
    operator: row.querySelector(".operator").value,
    value: quoted ? quoted[1] : value,
    type: quoted ? "string" : row.types.get(value) ?? "",
  };
}

function input(className, value, placeholder, label) {
  const made = element("input", className);
  made.value = value;
  made.placeholder = placeholder;
  made.ariaLabel = label;
  made.spellcheck = false;
  return made;
}

/** Asks for completions when a field is entered; what the list has seen stands in until they arrive. */
function complete(input, listId, ask, fallback) {
  input.addEventListener("focus", async () => {
    fill(listId, [...fallback()].map((value) => ({ value })));
    const values = await ask();
    if (values.length > 0) fill(listId, values);
  });
}

function fill(listId, values) {
  const options = values.map(({ value }) => {
    const option = element("option", "");
    option.value = value;
    return option;
  });
  byId(listId)?.replaceChildren(...options);
}
