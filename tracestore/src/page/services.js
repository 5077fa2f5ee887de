// Services, and the operations of one: how often they are used, how often they fail, and how long they take.

import { ask, Refused } from "/assets/api.js";
import { hue } from "/assets/colours.js";
import { byId, element, link, setText } from "/assets/dom.js";
import { clock, count, number, plainTitle } from "/assets/format.js";
import { drawLines } from "/assets/lines.js";
import { newPeriod, rangeOf } from "/assets/period.js";
import { bucketOf, CHOICES, durationsQuery, operationTitle, ratesQuery, readQuantiles, readRates, selector, serviceTitle, slowQuery, total, whichCount } from "/assets/red.js";
import { DEFAULT_SORT, initTable, readSort, showTable, tracesLink } from "/assets/redtable.js";
import { readSeries, summary, unitOf } from "/assets/series.js";
import { onStatus, refreshStatus } from "/assets/top.js";

const REFRESH_MS = 2500;
const FIND_DELAY_MS = 120;
const RANGES = new Map([["15m", 15 * 60], ["1h", 3600], ["24h", 24 * 3600], ["all", undefined]]);
const DEFAULT_RANGE = "15m";
const LAST_MILLI = 2 ** 32 * 1000;
/** In OKLCH. */
const RED = 27;
const POINTS = 60;
/** More exemplars than that hide the line. */
const MOST_DOTS = 40;
/** So many services are asked for by name. */
const MOST_NAMED = 20;

const state = byId("state");
const form = byId("filters");
const period = newPeriod();
let search = readAddress();
let paused = false;
let asking = null;
let timer = 0;
let findTimer = 0;
let status;
/** What was answered last, `{ rows, window, … }`, to be shown again in another order. */
let answered = null;

initTable({ sort: (sort) => go({ ...search, sort }, false), redraw: () => showRows() });
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", ({ target }) => {
  if (target.name === "spans") go({ ...search, spans: target.value });
  if (target.name === "range") go({ ...search, range: target.value, from: 0, to: 0 });
});
byId("find").addEventListener("input", () => {
  clearTimeout(findTimer);
  findTimer = setTimeout(showRows, FIND_DELAY_MS);
});
byId("zoomed").addEventListener("click", () => go({ ...search, from: 0, to: 0 }));
byId("pause").addEventListener("click", () => setPaused(!paused));
document.addEventListener("click", openHere);
document.addEventListener("keydown", onKey);
addEventListener("popstate", () => begin(readAddress()));
addEventListener("visibilitychange", () => document.hidden || restart(false));
onStatus((news) => (status = news));
begin(search);

function readAddress() {
  const parameters = new URLSearchParams(location.search);
  const [from, to] = [Number(parameters.get("from")), Number(parameters.get("to"))];
  const isZoomed = Number.isSafeInteger(from) && Number.isSafeInteger(to) && from > 0 && to > from && to < LAST_MILLI;
  const known = (name, values, otherwise) => (values.includes(parameters.get(name)) ? parameters.get(name) : otherwise);
  const service = parameters.get("service") ?? undefined;
  return {
    service,
    operation: service === undefined ? undefined : parameters.get("operation") ?? undefined,
    spans: known("spans", CHOICES, CHOICES[0]),
    range: known("range", [...RANGES.keys()], DEFAULT_RANGE),
    from: isZoomed ? from : 0,
    to: isZoomed ? to : 0,
    sort: readSort(parameters.get("sort")),
  };
}

function addressOf({ service, operation, spans, range, from, to, sort }) {
  const parameters = new URLSearchParams();
  if (service !== undefined) parameters.set("service", service);
  if (operation !== undefined) parameters.set("operation", operation);
  if (spans !== CHOICES[0]) parameters.set("spans", spans);
  if (range !== DEFAULT_RANGE) parameters.set("range", range);
  if (to > 0) {
    parameters.set("from", String(from));
    parameters.set("to", String(to));
  }
  if (sort !== DEFAULT_SORT) parameters.set("sort", sort);
  return parameters.size > 0 ? `/services?${parameters}` : "/services";
}

/** Looks at something else, which gets an address of its own. What is there already `isAnew` only if that is asked for. */
function go(wanted, isAnew = true) {
  const address = addressOf(wanted);
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  if (isAnew) return begin(wanted);
  search = wanted;
  showRows();
}

function begin(wanted) {
  const isElsewhere = wanted.service !== search.service;
  if (isElsewhere) byId("find").value = "";
  if (isElsewhere || wanted.spans !== search.spans) answered = null;
  search = wanted;
  period.reset();
  showPlace();
  showRows();
  restart(true);
}

/** Links of this page change what it shows, unless they are to be opened elsewhere. */
function openHere(event) {
  const target = event.target.closest?.("a[href^='/services']");
  if (!target || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || target.closest(".top")) return;
  event.preventDefault();
  history.pushState(null, "", target.href);
  begin(readAddress());
  scrollTo(0, 0);
  byId("place").querySelector("a")?.focus({ preventScroll: true });
}

function showPlace() {
  const { service, operation } = search;
  for (const choice of form.elements.spans) choice.checked = choice.value === search.spans;
  for (const choice of form.elements.range) choice.checked = search.to === 0 && choice.value === search.range;
  const zoomed = byId("zoomed");
  zoomed.hidden = search.to === 0;
  const clockOf = (millis) => clock(BigInt(millis) * 1_000_000n).replace(/\.\d+$/, "");
  if (search.to > 0) setText(zoomed, `${clockOf(search.from)} – ${clockOf(search.to)} ×`);

  const here = { ...search, service: undefined, operation: undefined };
  const parts = service === undefined ? ["Services"] : [link("Services", addressOf(here))];
  if (service !== undefined) parts.push(operation === undefined ? element("span", "service", serviceTitle(service)) : link(serviceTitle(service), addressOf({ ...search, operation: undefined }), "service"));
  if (operation !== undefined) parts.push(element("span", "name", operationTitle(operation)));
  byId("place").replaceChildren(...parts.flatMap((part, index) => (index === 0 ? [part] : [element("span", "step", "›"), part])));
  document.title = plainTitle([operation, service === undefined ? undefined : serviceTitle(service), "Services"].filter((part) => part !== undefined).join(" – "));
  byId("charts").hidden = service === undefined;
  byId("table-title").hidden = service === undefined;
  if (service === undefined) for (const id of ["rate", "errors", "durations"]) byId(id).replaceChildren();
  byId("links").hidden = true;
}

function restart(anew) {
  asking?.abort();
  clearTimeout(timer);
  refresh(anew);
}

/** An answer that is asked for `anew` is shown even if the page is paused. */
async function refresh(anew) {
  const mine = new AbortController();
  asking = mine;
  const begun = performance.now();
  if (!document.hidden && (!paused || anew)) {
    try {
      if (status === undefined) await refreshStatus();
      const news = await (search.service === undefined ? askServices(mine.signal) : askOperations(search, mine.signal));
      if (mine.signal.aborted) return;
      answered = news;
      showRows();
      showCharts();
      refreshStatus().catch(() => {});
    } catch (error) {
      if (mine.signal.aborted) return;
      const isRefused = error instanceof Refused && (error.status === 400 || error.status === 422);
      const why = isRefused ? "Refused" : error instanceof Refused ? "Not answered" : "Not reachable";
      setText(state, `${why}, trying again: ${error.message}${/too many series/.test(error.message) ? "; a shorter time has fewer" : ""}`);
      state.classList.add("failed");
      state.classList.remove("live");
    }
  }
  if (mine.signal.aborted) return;
  // A server that takes long is not asked all the time.
  timer = setTimeout(() => refresh(false), Math.max(REFRESH_MS, 4 * (performance.now() - begun)));
}

const rangeQuery = (query, signal) => (time) => ask(`/api/metrics/query_range?${rangeOf(query, time)}`, { signal });

async function quantiles(spans, by, { from, to }, signal) {
  return readQuantiles(await ask(`/api/metrics/query?${rangeOf(durationsQuery(spans, by), { from, to })}`, { signal }));
}

function wantedTime() {
  return { from: search.from, to: search.to, seconds: RANGES.get(search.range) };
}

/** All services: one query for rates and errors, one for durations, and one more if some have none of the wanted spans. */
async function askServices(signal) {
  const { spans } = search;
  const { answer, window } = await period.ask(wantedTime(), status, POINTS, rangeQuery(ratesQuery(), signal));
  const { lengths, groups } = readRates(answer, window);
  const rows = [];
  for (const [name, group] of groups) {
    const which = whichCount(spans, new Set(group.keys()));
    if (which !== null) rows.push({ name, title: serviceTitle(name), isOther: which.isOther, which: which.kinds, hue: hue(serviceTitle(name)), ...total([group], which.kinds, lengths) });
  }
  const others = rows.filter(({ isOther }) => isOther).map(({ name }) => name);
  const kinds = [...new Set(rows.filter(({ isOther }) => !isOther).flatMap(({ which }) => which ?? [null]))];
  const by = "resource.service.name";
  const [own, rest] = await Promise.all([
    kinds.length > 0 ? quantiles(selector({ kinds: kinds.includes(null) ? null : kinds }), by, window, signal) : new Map(),
    others.length > 0 ? quantiles(others.length <= MOST_NAMED ? anyOf(others) : selector({}), by, window, signal) : new Map(),
  ]);
  for (const row of rows) row.quantiles = (row.isOther ? rest : own).get(row.name) ?? {};
  return { rows, window, what: ["service", "services"] };
}

function anyOf(services) {
  return `{ ${services.map((service) => selector({ service }).slice(2, -2)).join(" || ")} }`;
}

/**
 * The operations of a service: one query for rates and errors, one for their durations, one for the chart of durations, and one
 * that finds slow spans for it, since most exemplars are of spans as fast as most.
 */
async function askOperations({ service, operation, spans }, signal) {
  const { answer, window } = await period.ask(wantedTime(), status, POINTS, rangeQuery(ratesQuery(service), signal));
  const { times, lengths, groups } = readRates(answer, window);
  const which = whichCount(spans, new Set([...groups.values()].flatMap((group) => [...group.keys()])));
  const rows = [];
  if (which === null) return { rows, window, times, what: ["operation", "operations"], which, isEmpty: true };
  for (const [name, group] of groups) {
    const row = total([group], which.kinds, lengths);
    if (row.kinds.size > 0) rows.push({ name, title: operationTitle(name), which: which.kinds === null ? null : [...row.kinds], isCurrent: name === operation, hue: hue(serviceTitle(service)), ...row });
  }
  const chosen = operation === undefined ? [...groups.values()] : [groups.get(operation) ?? new Map()];
  const [own, chart] = await Promise.all([
    rows.length > 0 ? quantiles(selector({ service, kinds: which.kinds }), "name", window, signal) : new Map(),
    rows.length > 0 ? rangeQuery(durationsQuery(selector({ service, operation, kinds: which.kinds }), ""), signal)(window) : { series: [] },
  ]);
  for (const row of rows) row.quantiles = own.get(row.name) ?? {};
  const all = total(chosen, which.kinds, lengths);
  const durations = readSeries(chart, "quantile_over_time");
  const slow = durations.series.find(({ name }) => name === "p95")?.mean;
  if (slow > 0) {
    const found = readSeries(await rangeQuery(slowQuery({ service, operation, kinds: which.kinds }, slow), signal)(window));
    const dots = found.series.flatMap(({ exemplars }) => exemplars);
    const known = new Set(dots.map(({ trace }) => trace));
    for (const each of durations.series) each.exemplars = [...(each.name === "p99" ? dots : []), ...each.exemplars.filter(({ trace }) => !known.has(trace))];
  }
  return { rows, window, times, which, all, durations, what: ["operation", "operations"] };
}

function showRows() {
  const rows = answered?.rows ?? [];
  const wanted = byId("find").value.trim().toLowerCase();
  const found = wanted === "" ? rows : rows.filter(({ title }) => title.toLowerCase().includes(wanted));
  const isAll = search.to === 0 && search.range === "all";
  const isNothingKept = (status?.usage?.spans ?? 0) === 0;
  showTable(found, search, answered?.window, addressOf);
  byId("table").hidden = found.length === 0;
  byId("empty").hidden = answered === null || rows.length > 0 || !isNothingKept;
  byId("none").hidden = answered === null || found.length > 0 || !byId("empty").hidden;
  setText(byId("none-text"), rows.length > 0 ? "No name has that in it." : isAll ? "No span counts." : "No span that counts began in this time. Others may have: look at a longer time, or at all spans.");
  setText(byId("caption"), search.service === undefined ? "Services" : `Operations of ${serviceTitle(search.service)}`);
  setText(byId("counted"), explain());
  tellState(found.length, rows.length);
}

/** Says which spans were counted. */
function explain() {
  const others = answered?.rows.some(({ isOther }) => isOther) || answered?.which?.isOther;
  if (search.spans === "calls") return "Calls are client and producer spans: what a service asks of others.";
  if (search.spans === "all") return "Every span counts, whatever its kind.";
  const rest = search.service !== undefined ? "This service has none in this time, so all its spans count." : "Of a service that has none, all spans count.";
  return `Requests are server and consumer spans: what a service was asked for.${others ? ` ${rest}` : ""}`;
}

function tellState(found, all) {
  if (answered === null) return setText(state, "Loading");
  state.classList.remove("failed");
  const [one, many] = answered.what;
  const what = found < all ? `${number(found)} of ${count(all, one, many)}` : count(all, one, many);
  setText(state, `${what}, ${paused ? "paused" : "live"}`);
  state.classList.toggle("live", !paused);
}

function showCharts() {
  const { service, operation, spans } = search;
  if (service === undefined) return;
  const { times, all, durations, isEmpty = false } = answered;
  // As wide as the intervals, of which the last may not have ended.
  const window = { ...answered.window, to: Math.max(answered.window.to, times.at(-1) ?? 0) };
  const isUsed = (box) => box.querySelector(".dragged:not([hidden])") !== null || box.matches(":active");
  const onZoom = (time) => go({ ...search, ...(time === null ? { from: 0, to: 0 } : { from: Math.floor(time.from), to: Math.ceil(time.to) }) });
  const draw = (id, title, series, unit, points = times) => {
    const box = byId(id);
    if (isUsed(box)) return;
    const keep = box.contains(document.activeElement) ? document.activeElement.dataset.keep : undefined;
    drawLines(box, { times: points, series }, { window, unit, metrics: { function: title }, query: JSON.stringify([service, operation, spans]), onZoom, moments: 4 });
    box.prepend(element("h2", "", title));
    for (const node of box.querySelectorAll("[data-keep]")) if (keep !== undefined && node.dataset.keep === keep) node.focus({ preventScroll: true });
  };
  if (isEmpty || all.spans === 0) return ["Rate", "Errors", "Duration"].forEach((title, index) => draw(["rate", "errors", "durations"][index], title, [], unitOf({ function: "rate" })));
  const line = (name, own, values, exemplars) => ({ key: name, name, labels: [], hue: own, values, exemplars: thin(exemplars), ...summary(values) });
  draw("rate", "Rate", [line(spans === "requests" && !answered.which.isOther ? "requests" : spans === "calls" ? "calls" : "spans", hue(serviceTitle(service)), all.rates, all.exemplars)], { ...unitOf({ function: "rate" }), name: "per second" });
  const shares = all.rates.map((rate, index) => (rate > 0 ? (100 * all.failures[index]) / rate : NaN));
  draw("errors", "Errors", [{ ...line("failed", RED, shares, all.failed), mean: 100 * all.share }], percent);
  draw("durations", "Duration", durations.series.map((series) => ({ ...series, exemplars: thin(series.exemplars) })), unitOf({ function: "quantile_over_time", of: "duration" }), durations.times);
  showLinks(all);
}

const percent = {
  name: "% of them",
  text: (value) => `${value.toLocaleString("en", { maximumSignificantDigits: 3 })} %`,
  tick: (value) => `${value.toLocaleString("en", { maximumSignificantDigits: 3 })} %`,
};

/** So many that the line still shows, spread over all of them, and each trace once. */
function thin(exemplars) {
  const known = [...new Map(exemplars.map((each) => [each.trace, each])).values()];
  const every = Math.ceil(known.length / MOST_DOTS);
  return known.sort((one, other) => one.time - other.time).filter((_, index) => index % every === 0);
}

function showLinks({ errors }) {
  const { service, operation } = search;
  const { which, rows, window } = answered;
  const row = rows.find(({ name }) => name === operation);
  const of = { service, operation, kinds: row?.which ?? which.kinds };
  const slow = operation === undefined ? answered.durations.series.find(({ name }) => name === "p95")?.mean : row?.quantiles[0.95];
  const made = [link("Traces", tracesLink(of, search, window))];
  if (errors > 0) made.push(link("Failed", tracesLink({ ...of, failed: true }, search, window)));
  if (slow > 0) made.push(link("Slowest", tracesLink({ ...of, atLeast: bucketOf(slow) }, search, window)));
  // Of an operation nothing in a record says so.
  if (status?.logs?.records > 0 && operation === undefined) made.push(link("Logs", logsLink()));
  const box = byId("links");
  const next = made.map(({ href, textContent }) => `${textContent} ${href}`).join("\n");
  if (box.dataset.shown !== next) box.replaceChildren(element("span", "zero", "Look at"), ...made);
  box.dataset.shown = next;
  box.hidden = false;
}

/** The logs of the service in the time that shows, as far as the page of logs has such a time. */
function logsLink() {
  const { service, range, from, to } = search;
  const time = to > 0 ? { from: String(from), to: String(to) } : ["15m", "1h"].includes(range) ? { range } : {};
  return `/logs?${new URLSearchParams({ service: serviceTitle(service), ...time })}`;
}

function setPaused(wanted) {
  paused = wanted;
  const button = byId("pause");
  button.ariaPressed = String(paused);
  setText(button, paused ? "Resume" : "Pause");
  if (paused) showRows();
  else restart(true);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=radio]), select, textarea, [role=slider]")) return;
  if (event.key === "/") byId("find").focus();
  else if (event.key === "p") setPaused(!paused);
  else if (event.key === "j" || event.key === "k") {
    const links = [...byId("rows").querySelectorAll("a.open")];
    const at = links.indexOf(document.activeElement);
    links[at < 0 ? 0 : Math.min(Math.max(at + (event.key === "j" ? 1 : -1), 0), links.length - 1)]?.focus();
  } else return;
  event.preventDefault();
}
