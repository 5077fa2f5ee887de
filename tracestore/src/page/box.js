// The box that a query is typed into: completions from the server, errors under their place, and the queries of before.

import { ask, Refused, tagNames, tagValues } from "/assets/api.js";
import { beginnings, byteAt, insertion, narrow, offers, unitAt } from "/assets/completion.js";
import { byId, element, setText } from "/assets/dom.js";
import { count } from "/assets/format.js";
import { recall, remember } from "/assets/memory.js";

/** After the last key. */
const OFFER_MS = 90;
const CHECK_MS = 450;
/** Nothing is wrong yet with what is not finished. */
const UNFINISHED_MS = 1500;
/** Words of the language need not wait longer for names and values from a busy store. */
const STORE_MS = 300;
const NAMES_MS = 10_000;
const MOST_SHOWN = 80;
const MOST_REMEMBERED = 50;

const field = byId("query");
const list = byId("offers");
const popup = byId("offers-box");
const marks = byId("marks");
const refusal = byId("refusal");

/** What is offered, and which of it is chosen with the arrow keys; -1 is none. */
let offered = [];
let active = -1;
/** The part of the text that an offer stands for, and the text. */
let place = { from: 0, to: 0, text: "" };
let asking = new AbortController();
let offerTimer = 0;
let checkTimer = 0;
let names = { at: -Infinity, all: [] };
let recent = (recall("queries") ?? []).filter((query) => typeof query === "string");
/** Where in `recent` the arrow keys are; -1 is what was typed. */
let remembered = -1;
let draft = "";

/** Calls `onSearch(query)` when a query is to be searched for. */
export function initBox(onSearch) {
  const search = () => {
    close();
    clearTimeout(checkTimer);
    onSearch(field.value.trim() || "{}");
  };
  byId("search").addEventListener("click", search);
  field.addEventListener("input", (event) => {
    remembered = -1;
    if (event.isComposing) return;
    typed();
  });
  field.addEventListener("compositionend", typed);
  field.addEventListener("keydown", (event) => onKey(event, search));
  field.addEventListener("blur", close);
  field.addEventListener("pointerdown", close);
  field.addEventListener("scroll", followScroll);
  // Options are no part of the tab order: the box keeps the focus.
  popup.addEventListener("pointerdown", (event) => event.preventDefault());
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option !== null) take(Number(option.dataset.index));
  });
  new ResizeObserver(followScroll).observe(field);
}

/** Shows a query that was not typed here. Every trace is an empty box. */
export function showQuery(query) {
  const text = query === "{}" ? "" : query.replace(/\s*[\r\n]+\s*/g, " ");
  if (field.value !== text) field.value = text;
  clearTimeout(checkTimer);
  close();
}

/** Remembers a query that was answered. */
export function rememberQuery(query) {
  if (query === "{}" || query.length > 2000) return;
  recent = [query, ...recent.filter((other) => other !== query)].slice(0, MOST_REMEMBERED);
  remember("queries", recent);
}

/** Says why a query is refused, below the place that is wrong where one is known, as `{ offset, message }`; `null` if it is not. */
export function showRefusal(error, isUnfinished = false) {
  marks.replaceChildren();
  refusal.hidden = error === null;
  refusal.classList.toggle("unfinished", isUnfinished);
  marks.classList.toggle("unfinished-mark", isUnfinished);
  field.ariaInvalid = String(error !== null && !isUnfinished);
  if (error === null) {
    setText(byId("refusal-text"), "");
    return;
  }
  setText(byId("refusal-text"), error.message);
  refusal.classList.toggle("placed", error.offset !== undefined);
  if (error.offset === undefined) return;
  const text = field.value;
  const from = unitAt(text, error.offset);
  const bad = /^(?:[\p{L}\p{N}_.:]+|"[^"]*"?|`[^`]*`?|[^\s\p{L}\p{N}]{1,3}|)/u.exec(text.slice(from))?.[0] || text.slice(from, from + 1) || "\u00a0";
  const mark = element("mark", "");
  mark.textContent = bad;
  marks.append(text.slice(0, from), mark, text.slice(from + bad.length));
  followScroll();
}

function followScroll() {
  marks.style.transform = `translateX(${-field.scrollLeft}px)`;
  const mark = marks.querySelector("mark");
  if (mark === null) return;
  const place = mark.getBoundingClientRect();
  const middle = place.left + Math.min(place.width, 12) / 2 - field.getBoundingClientRect().left;
  refusal.style.setProperty("--at", `${Math.min(Math.max(middle, 12), field.clientWidth - 12)}px`);
}

function typed() {
  showRefusal(null);
  if (!popup.hidden) keepUp();
  clearTimeout(offerTimer);
  clearTimeout(checkTimer);
  asking.abort();
  offerTimer = setTimeout(offer, OFFER_MS, false);
  checkTimer = setTimeout(check, CHECK_MS);
}

/** What is offered goes with what is typed until the server says more. */
function keepUp() {
  const to = place.to + field.value.length - place.text.length;
  const part = field.value.slice(place.from, field.selectionStart);
  const isSame = field.selectionStart >= place.from && to >= field.selectionStart && field.value.startsWith(place.text.slice(0, place.from));
  place = { from: place.from, to, text: field.value };
  open(isSame ? narrow(offered, part) : []);
}

/** Says what is wrong with what was typed, after a pause. */
async function check() {
  const query = field.value;
  if (query.trim() === "") return;
  try {
    const { error } = await ask(`/query.json?${new URLSearchParams({ q: query })}`);
    if (error === undefined || query !== field.value) return;
    const isUnfinished = unitAt(query, error.offset) >= query.trimEnd().length;
    if (!isUnfinished) return showRefusal(error);
    checkTimer = setTimeout(() => query === field.value && showRefusal(error, true), UNFINISHED_MS);
  } catch {
    // The search will say so.
  }
}

/** Offers what may stand at the caret. What is whole is left alone unless someone asks. */
async function offer(isWanted) {
  // The one that typing put off would put an end to this one.
  clearTimeout(offerTimer);
  asking.abort();
  const mine = (asking = new AbortController());
  const { signal } = mine;
  const query = field.value;
  const caret = field.selectionStart;
  try {
    const { error, completion } = await ask(`/query.json?${new URLSearchParams({ q: query, at: String(byteAt(query, caret)) })}`, { signal });
    const from = unitAt(query, completion.from);
    const typedPart = query.slice(from, caret);
    if (!isWanted && error === undefined && typedPart === "") return close();
    place = { from, to: unitAt(query, completion.to), text: query };
    if (!isWanted && query.trim() === "") return close();
    const show = (allNames, values) => {
      const found = offers(completion, typedPart, allNames, values);
      if (query.trim() === "") found.push(...beginnings(recent));
      const isWhole = found.length === 1 && found[0].text === typedPart;
      open(!isWanted && isWhole ? [] : found, offered[active]?.text);
    };
    const store = Promise.all([
      completion.attributes !== null && !/^["`]/.test(typedPart) ? attributeNames(signal) : [],
      completion.values ? tagValues(completion.values.of, completion.values.beside ?? "", { signal }) : [],
    ]);
    const soon = await Promise.race([store, new Promise((resolve) => setTimeout(resolve, STORE_MS, null))]);
    if (signal.aborted) return;
    show(...(soon ?? [names.all, []]));
    if (soon === null) {
      const late = await store;
      if (!signal.aborted) show(...late);
    }
  } catch (error) {
    if (!signal.aborted && !(error instanceof Refused)) close();
  }
}

async function attributeNames(signal) {
  if (performance.now() - names.at > NAMES_MS) {
    const all = await tagNames({ signal });
    // Intrinsics are words of the language.
    if (!signal.aborted) names = { at: performance.now(), all: all.filter((name) => /^(resource|span|event|link|instrumentation)\./.test(name)) };
  }
  return names.all;
}

/** Shows what is offered. What was `chosen` stays so if it is still there. */
function open(found, chosen = "") {
  offered = found.slice(0, MOST_SHOWN);
  active = -1;
  field.removeAttribute("aria-activedescendant");
  if (offered.length === 0) return close();
  list.replaceChildren(...offered.map(({ text, kind, about }, index) => {
    const option = element("li", "offer", element("span", "text", text), element("span", "about", about), element("span", "kind", kind));
    option.role = "option";
    option.id = `offer-${index}`;
    option.dataset.index = String(index);
    option.ariaSelected = "false";
    return option;
  }));
  const more = found.length - offered.length;
  setText(byId("offers-more"), more > 0 ? `${count(more, "other", "others")}: type on` : "");
  setText(byId("offers-count"), count(found.length, "completion", "completions"));
  popup.hidden = false;
  field.ariaExpanded = "true";
  popup.style.left = `${offsetAt(place.from)}px`;
  list.scrollTop = 0;
  const again = offered.findIndex(({ text }) => text === chosen);
  if (again >= 0) choose(again);
}

function close() {
  clearTimeout(offerTimer);
  asking.abort();
  popup.hidden = true;
  offered = [];
  active = -1;
  field.ariaExpanded = "false";
  field.removeAttribute("aria-activedescendant");
  setText(byId("offers-count"), "");
}

/** Where a place of the text is, in pixels, and so that the list fits below the box. */
function offsetAt(unit) {
  const context = document.createElement("canvas").getContext("2d");
  const style = getComputedStyle(field);
  context.font = `${style.fontSize} ${style.fontFamily}`;
  const at = context.measureText(field.value.slice(0, unit)).width + parseFloat(style.paddingLeft) - field.scrollLeft;
  return Math.max(0, Math.min(at - 8, field.clientWidth - popup.offsetWidth));
}

function choose(index) {
  const options = list.children;
  if (active >= 0) options[active].ariaSelected = "false";
  active = (index + offered.length) % offered.length;
  options[active].ariaSelected = "true";
  options[active].scrollIntoView({ block: "nearest" });
  field.setAttribute("aria-activedescendant", options[active].id);
}

function take(index) {
  const { text, kind } = offered[index];
  const isWhole = kind === "recent" || kind === "example";
  const change = isWhole ? { from: 0, to: field.value.length, text, caret: text.length } : insertion(field.value, place.from, place.to, text);
  field.focus();
  field.setSelectionRange(change.from, change.to);
  // This one can be undone.
  if (!document.execCommand("insertText", false, change.text)) field.setRangeText(change.text);
  field.setSelectionRange(change.caret, change.caret);
  close();
  typed();
}

function onKey(event, search) {
  if (event.isComposing || event.altKey || event.metaKey) return;
  const isOpen = !popup.hidden;
  if (event.key === " " && event.ctrlKey) offer(true);
  else if (event.ctrlKey) return;
  else if (event.key === "Enter") {
    if (isOpen && active >= 0) take(active);
    else search();
  } else if (event.key === "Tab" && !event.shiftKey && isOpen) take(Math.max(active, 0));
  else if (event.key === "Escape" && isOpen) close();
  else if (event.key === "ArrowDown" && isOpen) choose(active + 1);
  else if (event.key === "ArrowUp" && isOpen) choose(active < 0 ? -1 : active - 1);
  else if (event.key === "ArrowDown" && remembered < 0) offer(true);
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") goBack(event.key === "ArrowUp" ? 1 : -1);
  else {
    if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) close();
    return;
  }
  event.preventDefault();
  event.stopPropagation();
}

/** Through the queries of before, and back to what was typed. */
function goBack(by) {
  if (remembered < 0) draft = field.value;
  // The one that shows is no step back.
  const from = remembered < 0 && recent[0] === field.value.trim() ? 0 : remembered;
  const to = Math.min(from + by, recent.length - 1);
  if (to < -1 || (to < 0 && by > 0)) return;
  remembered = to;
  field.value = to < 0 ? draft : recent[to];
  field.setSelectionRange(field.value.length, field.value.length);
  showRefusal(null);
}
