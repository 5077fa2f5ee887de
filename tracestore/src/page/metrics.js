// What a metrics query makes, asked for as the list of traces is: as lines, as a heatmap, or as a table of differences.

import { ask } from "/assets/api.js";
import { drawContrast } from "/assets/contrast.js";
import { byId } from "/assets/dom.js";
import { count } from "/assets/format.js";
import { drawHeatmap } from "/assets/heatmap.js";
import { drawLines } from "/assets/lines.js";
import { newPeriod, rangeOf } from "/assets/period.js";
import { bucketUnit, readContrast, readHistogram, readSeries, unitOf } from "/assets/series.js";

const chart = byId("chart");
const MOST_POINTS = 200;
const period = newPeriod();

/** What showed last, so that it is not drawn again. */
let shown = "";

/** Forgets what showed, before something else is asked for. */
export function resetChart() {
  shown = "";
  period.reset();
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
  const room = Math.min(Math.max(Math.round(innerWidth / 7), 40), MOST_POINTS);
  const { answer, window } = await period.ask(search, status, room, (time) => ask(`/api/metrics/query_range?${rangeOf(search.query, time)}`, { signal }));
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

function draw({ query, metrics }, answer, window, onZoom) {
  if (metrics.function === "compare") return drawContrast(chart, readContrast(answer), window);
  if (metrics.function === "histogram_over_time") return drawHeatmap(chart, readHistogram(answer), { window, unit: bucketUnit(metrics), query, onZoom });
  drawLines(chart, readSeries(answer, metrics.function), { window, unit: unitOf(metrics), metrics, query, onZoom });
}

function describe({ metrics }, { series = [] }) {
  if (metrics.function === "compare" || metrics.function === "histogram_over_time") return series.length === 0 ? "no spans" : metrics.function === "compare" ? "differences" : "heatmap";
  return count(series.length, "series", "series");
}

