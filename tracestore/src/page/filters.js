// The pickers above the list: what is searched for, and completions for it.

import { tagNames, tagValues } from "/assets/api.js";
import { button, byId, element, setText } from "/assets/dom.js";
import { NOTHING_PICKED, OPERATORS, quote, read, readDuration, write, writeKey } from "/assets/query.js";

const form = byId("filters");
const rows = byId("attributes");
const FIELDS = ["service", "operation", "min", "max", "of", "query"];
const field = Object.fromEntries(FIELDS.map((id) => [id, byId(id)]));

/** What the server has no completions for, the list has. */
const seen = { services: new Set(), operations: new Set() };
let changed = () => {};
let asked = "";
let nextRow = 0;

/** Calls `onChange({ query, range })` when something else is searched for. */
export function initFilters(onChange) {
  changed = (wanted) => {
    // The key that ends the typing and the change that comes of it are one wish.
    if (asked === JSON.stringify(wanted)) return;
    asked = JSON.stringify(wanted);
    onChange(wanted);
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => apply(event.target));
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.target instanceof HTMLInputElement)) return;
    event.preventDefault();
    apply(event.target);
  });
  byId("add").addEventListener("click", () => addRow({ key: "", operator: "=", value: "", type: "" }).key.focus());
  byId("clear").addEventListener("click", () => {
    fillFields({ query: "{}", range: range() });
    changed({ query: "{}", range: range() });
    field.service.focus();
  });
  complete(field.service, "services", () => tagValues("resource.service.name", ""), () => seen.services);
  const ofService = () => (field.service.value ? `{ resource.service.name = ${quote(field.service.value)} }` : "");
  complete(field.operation, "operations", () => tagValues("name", ofService()), () => (field.service.value ? [] : seen.operations));
}

/** Fills the pickers from an address. */
export function showFilters({ query, range }) {
  asked = JSON.stringify({ query, range });
  fillFields({ query, range });
}

/** A query that the pickers cannot say stays in its own field alone. */
function fillFields({ query, range: wanted }) {
  const picked = read(query);
  const shown = picked ?? { ...NOTHING_PICKED, attributes: [] };
  for (const id of ["service", "operation", "min", "max", "of"]) {
    field[id].value = shown[id];
    field[id].setCustomValidity("");
  }
  form.elements.status.value = shown.errors ? "errors" : "any";
  form.elements.range.value = wanted;
  rows.replaceChildren();
  for (const attribute of shown.attributes) addRow(attribute);
  showQuery(query, picked === null);
}

/** Says beside the pickers why a search was refused; `""` if it was not. */
export function showRefusal(text) {
  const box = byId("refusal");
  setText(box, text);
  box.hidden = text === "";
}

/** Completions for servers that offer none. */
export function learn(traces) {
  for (const trace of traces) {
    for (const service of Object.keys(trace.serviceStats ?? {})) if (service) seen.services.add(service);
    if (trace.rootTraceName) seen.operations.add(trace.rootTraceName);
  }
}

function apply(target) {
  if (target === field.query) {
    const query = field.query.value.trim() || "{}";
    fillFields({ query, range: range() });
    return changed({ query, range: range() });
  }
  const picked = pick();
  if (picked === null) return;
  // The pickers know nothing of a query that was typed; the time is not part of it.
  const typed = form.classList.contains("typed");
  const query = typed && target.name === "range" ? field.query.value : write(picked);
  showQuery(query, typed && target.name === "range");
  changed({ query, range: range() });
}

/** What is picked, or `null` after saying what is wrong with it. */
function pick() {
  const bounds = {};
  for (const id of ["min", "max"]) {
    bounds[id] = readDuration(field[id].value);
    field[id].setCustomValidity(bounds[id] === null ? "A duration is a number and a unit: 250us, 10ms, 1.5s, 2m" : "");
    field[id].ariaInvalid = String(bounds[id] === null);
    if (bounds[id] === null) {
      showRefusal(`${id === "min" ? "Minimum" : "Maximum"} duration: “${field[id].value}” is no number with a unit such as 250us, 10ms, 1.5s or 2m`);
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
  };
}

function range() {
  return form.elements.range.value;
}

function showQuery(query, typed) {
  field.query.value = query;
  form.classList.toggle("typed", typed);
  field.query.title = typed ? "Typed by hand: the pickers cannot show it" : "";
  byId("clear").hidden = query === "{}";
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
  if (type === "string") row.types.set(value, type);
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
