// What a metrics query makes, asked for as the list of traces is: as lines, as a heatmap, or as a table of differences.

import { ask } from "/assets/api.js";
import { drawContrast } from "/assets/contrast.js";
import { byId } from "/assets/dom.js";
import { count } from "/assets/format.js";
import { drawHeatmap } from "/assets/heatmap.js";
import { drawLines } from "/assets/lines.js";
import { bucketUnit, readContrast, readHistogram, readSeries, stepOf, unitOf } from "/assets/series.js";

const chart = byId("chart");
const DAY = 86_400_000;
/** Where nothing says when spans began. */
const FAR_BACK = 7 * DAY;
/** A chart of a moment shows nothing. */
const LEAST = 30_000;
const MOST_POINTS = 200;

/** What showed last, so that it is not drawn again. */
let shown = "";

/** The time of the chart once `All` was cut down to where spans are, in milliseconds; 0 if there are none. */
let begins = 0;

/** Forgets what showed, before something else is asked for. */
export function resetChart() {
  shown = "";
  begins = 0;
}

export function hideChart() {
  if (chart.hidden) return;
  chart.hidden = true;
  chart.replaceChildren();
  resetChart();
}

/**
 * Asks, and shows the answer.
 *
 * @param search `{ query, metrics, from, to, seconds }`: what the server says of the query, a time to look at or zeros, and
 *        how many seconds back from now otherwise, or `undefined` for all
 * @param status the last `/status.json`
 * @param onZoom gets a part of the time that someone chose, `{ from, to }` in milliseconds
 * @return says what shows, in a few words
 */
export async function showChart(search, status, onZoom, signal) {
  const { answer, window } = await answered(search, status, signal);
  const content = JSON.stringify([search.query, answer.series]);
  chart.hidden = false;
  const isDragging = chart.querySelector(".dragged:not([hidden])") !== null;
  if (!isDragging && (content !== shown || chart.firstChild === null)) {
    shown = content;
    const keep = document.activeElement?.dataset.keep;
    draw(search, answer, window, onZoom);
    for (const node of chart.querySelectorAll("[data-keep]")) if (node.dataset.keep === keep) node.focus();
  }
  return describe(search, answer);
}

async function answered(search, status, signal) {
  const query = (window) => {
    const step = stepIn(window);
    const parameters = new URLSearchParams({ q: search.query, start: seconds(window.from), end: seconds(window.to), step: `${step}ms` });
    return ask(`/api/metrics/query_range?${parameters}`, { signal });
  };
  const window = timeOf(search, status);
  let answer = await query(window);
  const isAll = search.to === 0 && search.seconds === undefined;
  // Most of all time is empty where a store is young, or where one span is old.
  for (let look = 0; isAll && look < 3; look++) {
    const first = firstTime(answer);
    if (first === null) break;
    const step = stepIn(window);
    const from = Math.min(first - 2 * step, window.to - LEAST);
    if (from - window.from < (window.to - window.from) / 3) break;
    begins = window.from = from;
    answer = await query(window);
  }
  return { answer, window: { ...window, step: stepIn(window) } };
}

function stepIn({ from, to }) {
  return stepOf(to - from, Math.min(Math.max(Math.round(innerWidth / 7), 40), MOST_POINTS));
}

/** Milliseconds since the Unix epoch. */
function timeOf({ from, to, seconds: back }, { usage = {} } = {}) {
  if (to > 0) return { from, to: Math.max(to, from + 1) };
  const now = Date.now();
  if (back !== undefined) return { from: now - back * 1000, to: now };
  if (begins > 0) return { from: begins, to: now };
  return { from: now - (usage.maxAgeSeconds > 0 ? usage.maxAgeSeconds * 1000 : FAR_BACK), to: now };
}

/** The end of the first interval that has anything in it. */
function firstTime({ series = [] }) {
  let first = Infinity;
  for (const { samples = [] } of series) {
    const sample = samples.find(({ value = 0 }) => Number(value) !== 0);
    if (sample !== undefined) first = Math.min(first, Number(sample.timestampMs));
  }
  return first === Infinity ? null : first;
}

function seconds(millis) {
  return (millis / 1000).toFixed(3);
}

function draw({ query, metrics }, answer, window, onZoom) {
  if (metrics.function === "compare") return drawContrast(chart, readContrast(answer), window);
  if (metrics.function === "histogram_over_time") return drawHeatmap(chart, readHistogram(answer), { window, unit: bucketUnit(metrics), query, onZoom });
  drawLines(chart, readSeries(answer, metrics.function), { window, unit: unitOf(metrics), metrics, query, onZoom });
}

function describe({ metrics }, { series = [] }) {
  if (metrics.function === "compare" || metrics.function === "histogram_over_time") return series.length === 0 ? "no spans" : metrics.function === "compare" ? "differences" : "heatmap";
  return count(series.length, "series", "series");
}

