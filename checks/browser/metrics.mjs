// Charts of metrics queries.

import assert from "node:assert/strict";
import { assertAccessible } from "./accessible.mjs";
import { attributes, MS, newTrace, now, send, span, until } from "./send.mjs";

const EVIL = '<img src=x onerror="window.pwned=1">';
const MINUTE = 60_000;
/** Ten minutes that are over, from a whole minute on. */
const BEGUN = Math.floor(Number(now() / MS) / MINUTE) * MINUTE - 20 * MINUTE;
const SPAN = 10 * MINUTE;

const legend = async (page) => {
  const rows = await page.locator(".legend tbody tr").evaluateAll((all) => all.map((row) => [...row.children].map((cell) => cell.textContent)));
  return Object.fromEntries(rows.map(([name, ...numbers]) => [name, numbers]));
};
const tip = (page) => page.locator(".tip li").evaluateAll((all) => all.map((row) => row.innerText.replace(/\s+/g, " ").trim()));
const lines = (page) => page.locator(".plot svg .series:not(.alone)").count();
const surface = (page) => page.getByRole("slider", { name: /Arrow keys step through time/ });
const open = async (page, store, q, more = { from: String(BEGUN), to: String(BEGUN + SPAN) }) => {
  await page.goto(`${store.page}/?${new URLSearchParams({ q, ...more })}`);
};
/** Points at a moment of the chart. */
const point = async (page, millis) => {
  const box = await surface(page).boundingBox();
  await page.mouse.move(box.x + (box.width * (millis - BEGUN)) / SPAN, box.y + box.height / 2);
};

export const steps = [setUp, numbers, hover, toggle, durations, table, zoom, heatmap, differences, exemplars, hostile, tooMany, nothing, live, views, refusedByTheStore];

async function setUp({ one }) {
  const at = (name, seconds, lasts, more = {}) => span(newTrace(), BigInt(BEGUN + seconds * 1000) * MS, { id: 1, name, lasts, ...more });
  // In the interval of five seconds that ends two minutes after the beginning.
  await send(one, "alpha", [at("read", 116, 100), at("read", 117, 200), at("write", 118, 400, { failed: "full", attributes: attributes({ version: 2 }) })]);
  await send(one, "beta", [at("ask", 119, 30, { attributes: attributes({ version: 1 }) })]);
  await send(one, EVIL, [at(EVIL, 301, 50)]);
}

async function numbers({ page, one, shoot }) {
  await open(page, one, "{ } | rate() by (resource.service.name)");
  await until({ alpha: ["0", "0.004959", "0.6"], beta: ["0", "0.001653", "0.2"], [EVIL]: ["0", "0.001653", "0.2"] }, () => legend(page));
  assert.equal(await lines(page), 3);
  assert.equal(await page.locator(".chart-unit").textContent(), "spans/s");
  assert.deepEqual(await page.locator(".level span").allTextContents(), ["0", "0.2", "0.4", "0.6"]);
  assert.equal(await page.locator(".moment").count() > 3, true);
  assert.equal(await page.locator("#rows tr:visible").count(), 0, "a chart instead of the list");
  await page.getByText("3 series, live").waitFor();
  await assertAccessible(page);
  await shoot("rate");
}

async function hover({ page }) {
  await point(page, BEGUN + 2 * MINUTE);
  await until(["alpha 0.6", "beta 0.2", `${EVIL} 0`], () => tip(page));
  // Still so after the answers that follow.
  await Promise.all([page.waitForResponse(/query_range/), page.waitForResponse(/status\.json/)]);
  await until(["alpha 0.6", "beta 0.2", `${EVIL} 0`], () => tip(page));
  await page.mouse.move(5, 5);
  await until(true, () => page.locator(".tip").isHidden());
  await surface(page).focus();
  await page.keyboard.press("Home");
  const first = await surface(page).getAttribute("aria-valuetext");
  assert.match(first, /: .*alpha 0/);
  for (let times = 0; times < 24; times++) await page.keyboard.press("ArrowRight");
  await until(true, async () => /alpha 0\.6, beta 0\.2/.test(await surface(page).getAttribute("aria-valuetext")));
  await page.keyboard.press("Escape");
  assert.equal(await surface(page).getAttribute("aria-valuetext"), "no time chosen");
}

async function toggle({ page }) {
  const alpha = page.getByRole("button", { name: "alpha" });
  await alpha.click();
  await until(2, () => lines(page));
  assert.equal(await alpha.getAttribute("aria-pressed"), "false");
  assert.deepEqual(await page.locator(".level span").allTextContents(), ["0", "0.05", "0.1", "0.15", "0.2"], "the axis fits what is left");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "alpha", "the focus stays");
  await alpha.press("Enter");
  await until(3, () => lines(page));
  await page.getByRole("button", { name: "beta" }).click({ modifiers: ["Shift"] });
  await until(1, () => lines(page));
  assert.equal(await page.locator(".plot svg .area").count(), 1);
  await page.getByRole("button", { name: "beta" }).click({ modifiers: ["Shift"] });
  await until(3, () => lines(page));
}

async function durations({ page, one, shoot }) {
  await open(page, one, "{ resource.service.name = `alpha` } | max_over_time(duration) by (name)");
  await until({ read: ["200 ms", "200 ms", "200 ms"], write: ["400 ms", "400 ms", "400 ms"] }, () => legend(page));
  assert.equal(await page.locator(".plot svg .alone").count(), 2, "a point alone is a dot");
  assert.equal(await page.locator(".chart-unit").textContent(), "duration");
  assert.deepEqual(await page.locator(".level span").allTextContents(), ["0", "100 ms", "200 ms", "300 ms", "400 ms"]);
  await open(page, one, "{ resource.service.name = `alpha` } | quantile_over_time(duration, 0.5, 0.99)");
  await until(["p50", "p99"], async () => Object.keys(await legend(page)).sort());
  await shoot("quantiles");
}

async function table({ page, one }) {
  await open(page, one, "{ } | count_over_time() by (resource.service.name)");
  await page.getByText("Values as a table").click();
  const row = page.locator(".values tbody tr", { has: page.getByRole("cell", { name: "3", exact: true }) });
  await row.waitFor();
  assert.deepEqual(await row.locator("td").allTextContents(), ["3", "1", "0"]);
  assert.deepEqual(await page.locator(".values thead th").allTextContents(), ["Time", "alpha", "beta", EVIL]);
  await page.waitForResponse(/query_range/);
  assert.equal(await page.locator(".values").count(), 1, "it stays open");
  await assertAccessible(page);
}

async function zoom({ page }) {
  const box = await surface(page).boundingBox();
  const y = box.y + box.height / 2;
  await page.mouse.move(box.x + box.width * 0.1, y);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.3, y, { steps: 5 });
  await page.mouse.up();
  const chosen = () => ["from", "to"].map((name) => Math.round((Number(new URL(page.url()).searchParams.get(name)) - BEGUN) / 10_000));
  await until([6, 18], chosen);
  await until(true, async () => "alpha" in (await legend(page)) && !(EVIL in (await legend(page))));
  assert.ok(await page.getByRole("button", { name: /^\d\d:\d\d:\d\d – / }).or(page.locator("#zoomed")).isVisible());
  assert.equal(await page.getByRole("radio", { name: "All", exact: true }).isChecked(), false);
  await page.goBack();
  await until([0, 60], chosen);
  await until(true, async () => EVIL in (await legend(page)));
  await page.locator("#zoomed").click();
  await until(null, () => new URL(page.url()).searchParams.get("from"));
  // All of the time is where spans are, not all that could be kept.
  await until(true, async () => EVIL in (await legend(page)));
  // Days would be told by their dates alone.
  const moments = await page.locator(".moment span").allTextContents();
  assert.ok(moments.some((text) => /^\d\d:\d\d/.test(text)), moments.join());
}

async function heatmap({ page, one, shoot }) {
  await open(page, one, "{ } | histogram_over_time(duration)");
  await page.locator(".cell").first().waitFor();
  await point(page, BEGUN + 2 * MINUTE);
  // By powers of two of a nanosecond.
  await until(["268 ms – 537 ms 1", "134 ms – 268 ms 1", "67.1 ms – 134 ms 1", "16.8 ms – 33.6 ms 1"], () => tip(page));
  assert.equal(await page.locator(".level span").first().textContent(), "16.8 ms");
  await page.mouse.move(5, 5);
  await assertAccessible(page);
  await shoot("heatmap");
}

async function differences({ page, one, shoot }) {
  await open(page, one, "{ resource.service.name =~ `alpha|beta` } | compare({ status = error })");
  await page.getByText("1 span was selected, 3 others compared").waitFor();
  const row = async (field, value) => page.locator(".contrast tbody tr", { hasText: field }).filter({ hasText: value }).first().locator("td").allTextContents();
  assert.deepEqual(await row("name", "write"), ["write", "100 %", "0 %", "+100 %", "Find"]);
  assert.deepEqual(await row("span.version", "2"), ["2", "100 %", "0 %", "+100 %", "Find"]);
  assert.deepEqual(await row("resource.service.name", "beta"), ["beta", "0 %", "33 %", "−33 %", "Find"]);
  await assertAccessible(page);
  await shoot("compare");
  await page.locator(".contrast tbody tr", { hasText: "span.version" }).first().getByRole("link").click();
  await until(["write"], () => page.locator("#rows .name").allTextContents());
  // Of each side only the most frequent values are told: one that is missing may be as frequent as the least of them.
  await page.route("**/api/metrics/query_range*", async (route) => {
    const of = (meta, value, sum) => ({ labels: [{ key: "__meta_type", value: { stringValue: meta } }, { key: "span.host", value: { stringValue: value } }], samples: [{ timestampMs: String(BEGUN + 2 * MINUTE), value: sum }] });
    await route.fulfill({ json: { series: [of("selection_total", "nil", 100), of("selection", "host-a", 60), of("selection", "host-b", 30), of("selection", "host-c", 10), of("baseline_total", "nil", 200), of("baseline", "host-d", 90), of("baseline", "host-a", 50)] } });
  });
  await open(page, one, "{ } | compare({ status = error })");
  await page.getByText("100 spans were selected, 200 others compared").waitFor();
  assert.deepEqual(await row("span.host", "host-a"), ["host-a", "60 %", "25 %", "+35 %", "Find"]);
  assert.deepEqual(await row("span.host", "host-b"), ["host-b", "30 %", "≤ 25 %", "+5 %", "Find"]);
  assert.deepEqual(await row("span.host", "host-c"), ["host-c", "10 %", "≤ 25 %", "0 %", "Find"]);
  assert.deepEqual(await row("span.host", "host-d"), ["host-d", "0 %", "45 %", "−45 %", "Find"]);
  await page.unroute("**/api/metrics/query_range*");
}

async function exemplars({ page, one }) {
  const trace = "0af7651916cd43dd8448eb211c80319c";
  await page.route("**/api/metrics/query_range*", async (route) => {
    const answer = await (await route.fetch()).json();
    const of = (id, value) => ({ labels: [{ key: "trace:id", value: { stringValue: id } }], value, timestampMs: String(BEGUN + 2 * MINUTE) });
    answer.series[0].exemplars = [of(trace, 0.2), of("javascript:alert(1)", 0.2), of(trace, "NaN")];
    await route.fulfill({ json: answer });
  });
  await open(page, one, "{ resource.service.name = `alpha` } | max_over_time(duration)");
  const dot = page.locator(".exemplar");
  await dot.first().waitFor();
  assert.equal(await dot.count(), 1, "what is no id leads nowhere");
  assert.equal(await dot.getAttribute("href"), `/trace/${trace}`);
  assert.equal(await dot.getAttribute("aria-label"), `Trace ${trace}, 200 ms`);
  const [plot, place] = [await surface(page).boundingBox(), await dot.boundingBox()];
  assert.ok(Math.abs((place.x + place.width / 2 - plot.x) / plot.width - 0.2) < 0.01);
  assert.ok(Math.abs(1 - (place.y + place.height / 2 - plot.y) / plot.height - 0.5) < 0.03, "0.2 s of 0.4 s");
  await assertAccessible(page);
  await dot.click();
  await page.waitForURL(`**/trace/${trace}`);
  await page.unroute("**/api/metrics/query_range*");
}

async function hostile({ page, one }) {
  await open(page, one, "{ } | rate() by (name, resource.service.name)");
  await until(true, async () => `name = ${EVIL}, resource.service.name = ${EVIL}` in (await legend(page)));
  assert.equal(await page.locator("#chart img").count(), 0);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
}

async function tooMany({ page, other }) {
  const spans = Array.from({ length: 50 }, (_, at) => span(newTrace(), BigInt(BEGUN + 60_000) * MS, { id: 1, name: `series ${at}` }));
  await send(other, "many", [...spans, ...spans.slice(0, 10).map((each) => ({ ...each, traceId: newTrace() }))]);
  await open(page, other, "{ } | count_over_time() by (name)");
  await until(36, () => lines(page));
  const left = await page.locator(".left-out").textContent();
  assert.match(left, /^14 smaller series are not drawn/);
  assert.match(left, /Left out: series \d+, /);
  await point(page, BEGUN + MINUTE);
  await page.locator(".tip").getByText("and 24 more").waitFor();
  await page.mouse.move(5, 5);
}

async function nothing({ page, one }) {
  await open(page, one, "{ name = `absent` } | quantile_over_time(duration, 0.5)");
  await page.getByText("No span of this time matches.").waitFor();
  await page.getByText("0 series, live").waitFor();
}

async function live({ page, one }) {
  await open(page, one, "{ name = `news` } | count_over_time()", { range: "15m" });
  await until({ count_over_time: ["0", "0", "0"] }, () => legend(page));
  await send(one, "gamma", [span(newTrace(), now() - 60_000n * MS, { id: 1, name: "news" })]);
  await until("1", async () => (await legend(page)).count_over_time[2]);
  await page.getByRole("button", { name: "Pause" }).click();
  await send(one, "gamma", Array.from({ length: 3 }, () => span(newTrace(), now() - 30_000n * MS, { id: 1, name: "news" })));
  await page.waitForResponse(/query\.json|status\.json/).catch(() => {});
  assert.equal((await legend(page)).count_over_time[2], "1", "paused");
  await page.getByRole("button", { name: "Resume" }).click();
  await until("3", async () => (await legend(page)).count_over_time[2]);
}

async function views({ page, one }) {
  await page.goto(`${one.page}/?${new URLSearchParams({ q: '{ resource.service.name = "alpha" }' })}`);
  await until(3, () => page.locator("#rows tr").count());
  await page.getByRole("radio", { name: "Rate" }).check();
  await until('{ resource.service.name = "alpha" } | rate() by (resource.service.name)', () => page.getByLabel("TraceQL").inputValue());
  await until(["alpha"], async () => Object.keys(await legend(page)));
  await page.getByRole("radio", { name: "Heatmap" }).check();
  await page.locator(".cell").first().waitFor();
  await page.getByLabel("Service", { exact: true }).fill("beta");
  await page.getByLabel("Service", { exact: true }).press("Enter");
  await until('{ resource.service.name = "beta" } | histogram_over_time(duration)', () => page.getByLabel("TraceQL").inputValue());
  await page.getByRole("radio", { name: "Traces" }).check();
  await until(["ask"], () => page.locator("#rows .name").allTextContents());
  assert.ok(await page.locator("#chart").isHidden());
}

async function refusedByTheStore({ page, one }) {
  await page.route("**/api/metrics/query_range*", (route) => route.fulfill({ status: 400, body: "too many series" }));
  await open(page, one, "{ } | rate() by (span:id)");
  await page.getByRole("alert").getByText("too many series").waitFor();
  await page.unroute("**/api/metrics/query_range*");
}
