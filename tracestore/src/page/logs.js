// Log records as they come, the newest first, and what was before them.

import { ask, Refused } from "/assets/api.js";
import { byId, element, link, setText } from "/assets/dom.js";
import { clock, count, number } from "/assets/format.js";
import { logLine, spanAddress } from "/assets/logrow.js";
import { readRecords, SEVERITIES } from "/assets/records.js";
import { onStatus, refreshStatus } from "/assets/top.js";

/** Records of one answer. */
const LIMIT = 200;
/** Records in the page: beyond that, the oldest make room for new ones. */
const MOST_ROWS = 1000;
/** How long the server may wait for something to answer, in seconds. */
const WAIT = 20;
const PAUSE_MS = 250;
const AGAIN_MS = 2000;
const TYPING_MS = 400;
const STATUS_MS = 5000;
const RANGES = new Map([["15m", 15 * 60], ["1h", 3600]]);
const NOTHING = Object.freeze({ text: "", service: "", severity: "", trace: "", span: "", range: "all", from: 0, to: 0 });

const form = byId("filters");
const rows = byId("rows");
const state = byId("state");

let search = readAddress();
let paused = false;
let asking = null;
let typing = 0;
/** Where the last answers ended: `older` for those before, `newest` for those to come. */
let cursors = { older: null, newest: null };
/** Records were left out because more came than anyone could read. */
let isBehind = false;
/** Records at the end made room for new ones, so that nothing says where those before them are. */
let isCut = false;
let statusAt = 0;
let isStoreEmpty = false;

fillForm();
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", readForm);
form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.target instanceof HTMLInputElement)) return;
  event.preventDefault();
  readForm();
});
byId("text").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(readForm, TYPING_MS, null);
});
byId("service").addEventListener("focus", completeServices);
byId("clear").addEventListener("click", () => go(NOTHING));
byId("zoomed").addEventListener("click", () => go({ ...search, range: "all", from: 0, to: 0 }));
byId("of-span").addEventListener("click", () => go({ ...search, span: "" }));
byId("pause").addEventListener("click", () => setPaused(!paused));
byId("more-button").addEventListener("click", loadOlder);
addEventListener("popstate", () => begin(readAddress()));
addEventListener("visibilitychange", () => document.hidden || paused || follow());
document.addEventListener("keydown", onKey);
onStatus(({ ports = {} }) => ports.otlpHttp && setText(byId("otlpHttp"), String(ports.otlpHttp)));
setText(document.querySelector(".host"), location.hostname);
begin(search);

function readAddress() {
  const parameters = new URLSearchParams(location.search);
  const text = (name) => parameters.get(name)?.trim() ?? "";
  const [from, to] = [Number(parameters.get("from")), Number(parameters.get("to"))];
  const isZoomed = Number.isSafeInteger(from) && Number.isSafeInteger(to) && from > 0 && to >= from;
  return {
    text: parameters.get("text") ?? "",
    service: text("service"),
    severity: SEVERITIES.includes(text("severity")) ? text("severity") : "",
    trace: text("trace"),
    span: text("span"),
    range: RANGES.has(text("range")) && !isZoomed ? text("range") : "all",
    from: isZoomed ? from : 0,
    to: isZoomed ? to : 0,
  };
}

/** Looks for something else, which gets an address of its own, but not for each letter that is typed. */
function go(wanted, isTyping = false) {
  clearTimeout(typing);
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(wanted)) if (value !== NOTHING[name]) parameters.set(name, String(value));
  const address = parameters.size > 0 ? `/logs?${parameters}` : "/logs";
  if (address === location.pathname + location.search) return;
  if (isTyping && search.text !== "") history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  begin(wanted);
}

function begin(wanted) {
  search = wanted;
  fillForm();
  refresh();
}

function fillForm() {
  for (const name of ["text", "service", "trace"]) {
    // What is being typed is left alone.
    if (byId(name).value.trim() !== search[name].trim()) byId(name).value = search[name];
  }
  for (const choice of form.elements.severity) choice.checked = choice.value === search.severity;
  for (const choice of form.elements.range) choice.checked = search.to === 0 && choice.value === search.range;
  const clockOf = (millis) => clock(BigInt(millis) * 1_000_000n).replace(/\.\d+$/, "");
  byId("zoomed").hidden = search.to === 0;
  if (search.to > 0) setText(byId("zoomed"), `${clockOf(search.from)} – ${clockOf(search.to)} ×`);
  byId("of-span").hidden = search.span === "";
  setText(byId("of-span"), `Span ${search.span} ×`);
  byId("narrowed").hidden = Object.keys(NOTHING).every((name) => search[name] === NOTHING[name]);
}

/** @param event `null` while someone types */
function readForm(event) {
  const range = event?.target.name === "range" ? { range: event.target.value, from: 0, to: 0 } : {};
  const trace = byId("trace").value.trim();
  go({
    ...search,
    text: byId("text").value,
    service: byId("service").value.trim(),
    severity: form.elements.severity.value,
    trace,
    // A span is one of its trace.
    span: trace === search.trace ? search.span : "",
    ...range,
  }, event === null);
}

async function completeServices() {
  const { services = [] } = await ask("/logs/services.json").catch(() => ({}));
  byId("services").replaceChildren(...services.map((service) => {
    const option = element("option", "");
    option.value = service;
    return option;
  }));
}

function parameters(more) {
  const asked = new URLSearchParams({ limit: String(LIMIT) });
  for (const name of ["text", "service", "severity", "trace", "span"]) if (search[name] !== "") asked.set(name, search[name]);
  const seconds = RANGES.get(search.range);
  if (search.to > 0) {
    asked.set("from", String(search.from));
    asked.set("to", String(search.to));
  } else if (seconds !== undefined) asked.set("from", String(Date.now() - seconds * 1000));
  for (const [name, value] of Object.entries(more)) asked.set(name, String(value));
  return asked;
}

/** Shows the newest instead of what shows, and goes on from there. */
async function refresh() {
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  await untilAnswered(mine, async () => {
    const answer = await ask(`/logs.json?${parameters({})}`, { signal: mine.signal });
    const records = readRecords(answer);
    cursors = { older: answer.older ?? null, newest: answer.newest ?? null };
    isCut = isBehind = false;
    rows.replaceChildren(...records.map(toRow));
    if (records.length === 0) isStoreEmpty = byId("narrowed").hidden;
    byId("refusal").hidden = true;
  });
  if (!mine.signal.aborted && !paused) follow();
}

/** Asks for what comes, again and again. */
async function follow() {
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  // What was is over.
  if (search.to > 0 && search.to < Date.now()) return tell();
  while (!mine.signal.aborted && !paused && !document.hidden) {
    const begun = performance.now();
    await untilAnswered(mine, async () => {
      if (cursors.newest === null) return;
      const answer = await ask(`/logs.json?${parameters({ after: cursors.newest, wait: WAIT })}`, { signal: mine.signal });
      const records = readRecords(answer);
      cursors.newest = answer.newest ?? cursors.newest;
      // Whoever reads this cannot read so fast: on to the newest, and what lies between is left to “Load older”.
      if (records.length >= LIMIT) await catchUp(mine);
      else {
        isBehind = false;
        // What comes late stands above what has been there, where it is seen.
        rows.prepend(...records.map(toRow));
        for (; rows.children.length > MOST_ROWS; isCut = true) rows.lastChild.remove();
      }
    });
    await pauseFor(Math.max(PAUSE_MS, 2 * (performance.now() - begun) * Number(isBehind)), mine.signal);
  }
}

async function catchUp({ signal }) {
  const answer = await ask(`/logs.json?${parameters({})}`, { signal });
  isBehind = true;
  isCut = false;
  cursors = { older: answer.older ?? null, newest: answer.newest ?? cursors.newest };
  rows.replaceChildren(...readRecords(answer).map(toRow));
}

async function loadOlder() {
  // What is read now is not to be pushed out by what comes.
  setPaused(true);
  byId("more-button").disabled = true;
  try {
    if (isCut) await catchUp({ signal: undefined });
    const before = cursors.older;
    if (before === null) return tell();
    const answer = await ask(`/logs.json?${parameters({ before })}`);
    if (cursors.older !== before) return;
    const last = rows.lastChild;
    rows.append(...readRecords(answer).map(toRow));
    cursors.older = answer.older ?? null;
    last?.nextSibling?.querySelector("summary")?.focus({ preventScroll: true });
  } catch (error) {
    setText(state, `Not answered: ${error.message}`);
    state.classList.add("failed");
    return;
  } finally {
    byId("more-button").disabled = false;
  }
  tell();
}

/** Tries until there is an answer, and says what keeps it from one. A request that is refused is not asked again. */
async function untilAnswered(mine, attempt) {
  while (!mine.signal.aborted) {
    try {
      await attempt();
      if (mine.signal.aborted) return;
      tell();
      if (Date.now() - statusAt > STATUS_MS) {
        statusAt = Date.now();
        refreshStatus().catch(() => {});
      }
      return;
    } catch (error) {
      if (mine.signal.aborted) return;
      state.classList.remove("live");
      if (error instanceof Refused && error.status === 400) {
        setText(byId("refusal"), error.message);
        byId("refusal").hidden = false;
        setText(state, "This search was refused");
        return mine.abort();
      }
      setText(state, `${error instanceof Refused ? "Not answered" : "Not reachable"}, trying again: ${error.message}`);
      state.classList.add("failed");
      await pauseFor(AGAIN_MS, mine.signal);
    }
  }
}

function pauseFor(millis, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, millis);
    signal.addEventListener("abort", resolve, { once: true });
  });
}

function toRow(record) {
  let more = null;
  if (record.trace !== "") {
    more = link("Trace", spanAddress(record.trace, record.span), "to-trace");
    more.ariaLabel = `Trace of ${record.service}, ${clock(record.time)}`;
  }
  // Whoever reads one record does not want it to be pushed away.
  return logLine(record, record.time === 0n ? "unknown" : clock(record.time), { more, onOpen: () => setPaused(true) });
}

function setPaused(wanted) {
  if (wanted === paused) return;
  paused = wanted;
  const button = byId("pause");
  button.ariaPressed = String(paused);
  setText(button, paused ? "Resume" : "Pause");
  if (!paused) return follow();
  asking?.abort();
  tell();
}

function tell() {
  const many = rows.children.length;
  const isNarrowed = !byId("narrowed").hidden;
  rows.hidden = many === 0;
  byId("more").hidden = cursors.older === null && !isCut;
  byId("empty").hidden = many > 0 || isNarrowed || !isStoreEmpty;
  byId("none").hidden = many > 0 || !isNarrowed;
  setText(byId("none-text"), search.range !== "all" || search.to > 0 ? "No record of this time matches. Others may: look at all times." : "No record that is kept matches. New ones appear here.");
  state.classList.remove("failed");
  const isOver = search.to > 0 && search.to < Date.now();
  const isLive = !paused && !isOver;
  const shown = cursors.older === null && !isCut ? count(many, "record", "records") : `The newest ${number(many)}`;
  const pace = isBehind && isLive ? ", faster than can be read: some are left out" : "";
  setText(state, many === 0 && isLive ? "Waiting for the first one" : `${shown}${isOver ? "" : paused ? ", paused" : `, live${pace}`}`);
  state.classList.toggle("live", isLive);
  byId("pause").disabled = isOver;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=radio]), select, textarea")) return;
  if (event.key === "/") byId("text").focus();
  else if (event.key === "p") setPaused(!paused);
  else if (event.key === "j" || event.key === "k") {
    const lines = [...rows.querySelectorAll(".log > summary")];
    const at = lines.indexOf(document.activeElement);
    lines[at < 0 ? 0 : Math.min(Math.max(at + (event.key === "j" ? 1 : -1), 0), lines.length - 1)]?.focus();
  } else return;
  event.preventDefault();
}
