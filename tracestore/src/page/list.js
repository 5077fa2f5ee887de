// The list of the newest traces: searched again and again, so that it is live.

import { ask, Refused } from "/assets/api.js";
import { rememberQuery, showRefusal } from "/assets/box.js";
import { tint } from "/assets/colours.js";
import { byId, chips, element, setText } from "/assets/dom.js";
import { initFilters, learn, showFilters, zoomTime } from "/assets/filters.js";
import { ago, count, exact, millis, NO_SERVICE, number, valueText } from "/assets/format.js";
import { hideChart, resetChart, showChart } from "/assets/metrics.js";
import { onStatus, refreshStatus } from "/assets/top.js";
import { acceptFiles } from "/assets/transfer.js";

const REFRESH_MS = 1500;
const LIMITS = [100, 250, 500, 1000];
const RANGES = new Map([["15m", 15 * 60], ["1h", 3600]]);

/** The last second that a search can name. */
const LAST_MILLI = 2 ** 32 * 1000;

/** Clocks of senders may be ahead of this one. */
const AHEAD_SECONDS = 60;

const state = byId("state");
const rows = byId("rows");

/** Rows by trace id: `{ node, content, time, start }`. */
const shown = new Map();
let search = readAddress();
let paused = false;
let fresh = [];
let asking = null;
let timer = 0;
/** The last `/status.json`. */
let status;
/** What the chart shows, in a few words; `null` where there is a list. */
let charted = null;

initFilters((wanted) => go({ ...search, ...wanted, limit: LIMITS[0] }));
showFilters(search);
acceptFiles();
onStatus((news) => {
  status = news;
  const { ports = {} } = news;
  if (ports.otlpHttp) setText(byId("otlpHttp"), String(ports.otlpHttp));
});
setText(document.querySelector(".host"), location.hostname);
byId("pause").addEventListener("click", () => setPaused(!paused));
byId("news").addEventListener("click", () => show(fresh));
byId("more-button").addEventListener("click", () => go({ ...search, limit: LIMITS.find((limit) => limit > search.limit) ?? LIMITS.at(-1) }));
addEventListener("popstate", () => {
  search = readAddress();
  showFilters(search);
  restart(true);
});
addEventListener("visibilitychange", () => document.hidden || restart(false));
document.addEventListener("keydown", onKey);
setInterval(tellTime, 1000);
refresh(true);

function readAddress() {
  const parameters = new URLSearchParams(location.search);
  const limit = Number(parameters.get("limit"));
  const range = parameters.get("range");
  const [from, to] = [Number(parameters.get("from")), Number(parameters.get("to"))];
  const isZoomed = Number.isSafeInteger(from) && Number.isSafeInteger(to) && from > 0 && to > from && to < LAST_MILLI;
  return {
    query: parameters.get("q")?.trim() || "{}",
    range: RANGES.has(range) && !isZoomed ? range : "all",
    from: isZoomed ? from : 0,
    to: isZoomed ? to : 0,
    limit: Number.isInteger(limit) && limit >= 1 && limit <= LIMITS.at(-1) ? limit : LIMITS[0],
  };
}

/** Searches for something else, which gets an address of its own. */
function go(wanted) {
  const parameters = new URLSearchParams();
  if (wanted.query !== "{}") parameters.set("q", wanted.query);
  if (wanted.range !== "all") parameters.set("range", wanted.range);
  if (wanted.to > 0) {
    parameters.set("from", String(wanted.from));
    parameters.set("to", String(wanted.to));
  }
  if (wanted.limit !== LIMITS[0]) parameters.set("limit", String(wanted.limit));
  const address = parameters.size > 0 ? `/?${parameters}` : "/";
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  // What the server said of another query is no news of this one.
  search = { ...wanted, read: undefined };
  resetChart();
  restart(true);
}

function restart(anew) {
  asking?.abort();
  clearTimeout(timer);
  refresh(anew);
}

/** The answer to a search that is asked `anew` is shown even if the list is paused. */
async function refresh(anew) {
  const mine = new AbortController();
  asking = mine;
  const begun = performance.now();
  if (!document.hidden) {
    try {
      search.read ??= await ask(`/query.json?${new URLSearchParams({ q: search.query })}`, { signal: mine.signal });
      if (search.read.error !== undefined) return refused(search.read.error);
      if (search.read.metrics !== undefined) await refreshChart(anew, mine.signal);
      else await refreshTraces(anew, mine.signal);
      if (anew) {
        showRefusal(null);
        rememberQuery(search.query);
      }
      refreshStatus().catch(() => {});
    } catch (error) {
      if (mine.signal.aborted) return;
      if (error instanceof Refused && (error.status === 400 || error.status === 422)) return refused({ message: error.message });
      setText(state, `${error instanceof Refused ? "Not answered" : "Not reachable"}, trying again: ${error.message}`);
      state.classList.add("failed");
    }
  }
  if (mine.signal.aborted) return;
  // A server that takes long is not asked all the time.
  timer = setTimeout(() => refresh(false), Math.max(REFRESH_MS, 4 * (performance.now() - begun)));
}

async function refreshTraces(anew, signal) {
  const { traces = [] } = await ask(`/api/search?${parameters()}`, { signal });
  charted = null;
  hideChart();
  learn(traces);
  fresh = traces;
  if (paused && !anew) showNews();
  else show(traces);
}

async function refreshChart(anew, signal) {
  if (paused && !anew) return;
  if (status === undefined) await refreshStatus();
  const wanted = { query: search.query, metrics: search.read.metrics, from: search.from, to: search.to, seconds: RANGES.get(search.range) };
  charted = await showChart(wanted, status, (time) => (time === null ? go({ ...search, range: "all", from: 0, to: 0 }) : zoomTime(time)), signal);
  for (const id of ["news", "table", "empty", "none", "more"]) byId(id).hidden = true;
  tellState();
}

function parameters() {
  // A query of several stages is not added to: what it selects is its own affair.
  const q = search.query.includes("|") ? search.query : `${search.query} | select(${PLACE.join(", ")})`;
  const asked = new URLSearchParams({ q, limit: String(search.limit) });
  const seconds = RANGES.get(search.range);
  if (search.to > 0) {
    asked.set("start", String(Math.floor(search.from / 1000)));
    asked.set("end", String(Math.ceil(search.to / 1000)));
  } else if (seconds !== undefined) {
    const now = Math.floor(Date.now() / 1000);
    asked.set("start", String(now - seconds));
    asked.set("end", String(now + AHEAD_SECONDS));
  }
  return asked;
}

/** Asking again would be refused again, so it is not. What showed before stays. */
function refused(error) {
  showRefusal(error);
  setText(state, shown.size > 0 || charted !== null ? "This search was refused; what shows is older" : "This search was refused");
  state.classList.remove("live", "failed");
}

function setPaused(wanted) {
  paused = wanted;
  const button = byId("pause");
  button.ariaPressed = String(paused);
  setText(button, paused ? "Resume" : "Pause");
  if (paused) tellState();
  else restart(true);
}

function showNews() {
  const unseen = fresh.filter(({ traceID }) => !shown.has(traceID)).length;
  const button = byId("news");
  const least = unseen === search.limit ? `${number(unseen)} or more` : number(unseen);
  setText(button, `${least} new`);
  button.title = "Show them, and stay paused";
  button.hidden = unseen === 0;
}

function show(traces) {
  byId("news").hidden = true;
  const all = search.query === "{}" && search.range === "all" && search.to === 0;
  byId("table").hidden = traces.length === 0;
  byId("empty").hidden = traces.length > 0 || !all;
  byId("none").hidden = traces.length > 0 || all;
  setText(byId("none-text"), search.range !== "all" || search.to > 0 ? "No trace of this time matches. Others may: look at all times." : "No trace that is kept matches.");

  const kept = new Set(traces.map((trace) => trace.traceID));
  for (const [id, row] of shown) {
    if (!kept.has(id)) {
      row.node.remove();
      shown.delete(id);
    }
  }
  const longest = Math.max(1, ...traces.map(knownDuration));
  let next = rows.firstChild;
  for (const trace of traces) {
    const content = JSON.stringify(trace);
    let row = shown.get(trace.traceID);
    if (row === undefined) {
      row = { node: document.createElement("tr") };
      shown.set(trace.traceID, row);
    }
    if (row.content !== content) {
      row.content = content;
      fill(row, trace);
    }
    row.bar.style.width = `${(100 * knownDuration(trace)) / longest}%`;
    if (row.node === next) next = next.nextSibling;
    else rows.insertBefore(row.node, next);
  }
  byId("more").hidden = traces.length < search.limit || search.limit >= LIMITS.at(-1);
  tellTime();
  tellState();
}

function tellState() {
  state.classList.remove("failed");
  const many = shown.size >= search.limit;
  const found = charted !== null ? charted : many ? `The newest ${number(search.limit)}` : count(shown.size, "trace", "traces");
  if (shown.size === 0 && charted === null) setText(state, paused ? "Paused" : "Waiting for the first one");
  else setText(state, `${found}, ${paused ? "paused" : "live"}`);
  state.classList.toggle("live", !paused);
}

function tellTime() {
  const now = Date.now();
  for (const { time, start } of shown.values()) setText(time, ago(start, now));
}

function fill(row, trace) {
  const stats = Object.entries(trace.serviceStats ?? {});
  const spans = stats.reduce((sum, [, service]) => sum + service.spanCount, 0);
  const errors = stats.reduce((sum, [, service]) => sum + (service.errorCount ?? 0), 0);
  row.start = BigInt(trace.startTimeUnixNano ?? 0);
  row.time = element("time", "");
  row.time.title = exact(row.start);

  const link = element("a", "root");
  link.href = `/trace/${trace.traceID}`;
  link.append(element("span", "service", rootService(trace)), " ", element("span", "name", trace.rootTraceName ?? ""));
  const root = element("td", "what", link);
  const place = rootPlace(trace);
  if (place) root.append(" ", element("span", "place", place));

  const services = stats.map(([service, { spanCount, errorCount = 0 }]) => ({ service: service || NO_SERVICE, spans: spanCount, errors: errorCount }));
  row.bar = element("div", "fill");
  row.node.replaceChildren(
    element("td", "started", row.time),
    root,
    element("td", "services", chips(services, tint)),
    element("td", "number", number(spans)),
    element("td", "number", errors > 0 ? element("span", "error", number(errors)) : element("span", "zero", "0")),
    element("td", "length", element("span", "value", row.start === 0n ? "unknown" : millis(trace.durationMs ?? 0)), element("div", "track", row.bar)),
  );
}

/** In milliseconds. A trace with a span that has no start time seems to have begun in 1970. */
function knownDuration(trace) {
  return trace.startTimeUnixNano === undefined ? 0 : trace.durationMs ?? 0;
}

/** The API says the same of a root that is missing and of one without a service name. */
function rootService(trace) {
  const named = (trace.rootServiceName ?? "") in (trace.serviceStats ?? {});
  return named || trace.rootTraceName === undefined ? trace.rootServiceName : NO_SERVICE;
}

/** What says where a root span's request went: edges name all their roots `GET`. */
const PLACE = ["span.url.full", "span.server.address", "span.http.route", "span.url.path"];

/** Host and path that the root span was asked for, where the answer holds that span with these attributes. */
function rootPlace(trace) {
  const spans = (trace.spanSets ?? []).flatMap((set) => set.spans ?? []);
  const root = spans.find((span) => span.startTimeUnixNano === trace.startTimeUnixNano);
  const value = (key) => valueText((root?.attributes ?? []).find((attribute) => attribute.key === key)?.value);
  return value("url.full") || value("server.address") + (value("http.route") || value("url.path"));
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=radio]), select, textarea, [role=slider]")) return;
  if (event.key === "/") byId("query").focus();
  else if (event.key === "p") setPaused(!paused);
  else if (event.key === "j" || event.key === "k") {
    const links = [...rows.querySelectorAll("a.root")];
    const at = links.indexOf(document.activeElement);
    links[at < 0 ? 0 : Math.min(Math.max(at + (event.key === "j" ? 1 : -1), 0), links.length - 1)]?.focus();
  } else return;
  event.preventDefault();
}
