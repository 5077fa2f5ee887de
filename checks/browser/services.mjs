// Services and operations: rate, errors and duration from spans.

import assert from "node:assert/strict";
import { assertAccessible } from "./accessible.mjs";
import { MS, newTrace, now, send, span, until } from "./send.mjs";

const EVIL = '<img src=x onerror="window.pwned=1">';
const MINUTE = 60_000;
/** Ten minutes that are over, from a whole minute on. */
const BEGUN = Math.floor(Number(now() / MS) / MINUTE) * MINUTE - 20 * MINUTE;
const SPAN = 10 * MINUTE;
const THEN = { from: String(BEGUN), to: String(BEGUN + SPAN) };
const [INTERNAL, SERVER, CLIENT, CONSUMER] = [1, 2, 3, 5];

const at = (seconds, fields) => span(newTrace(), BigInt(BEGUN + Math.round(seconds * 1000)) * MS, { id: 1, ...fields });
const times = (count, make) => Array.from({ length: count }, (_, index) => make(index));
const open = (page, store, more = {}) => page.goto(`${store.page}/services?${new URLSearchParams({ ...THEN, ...more })}`);
const names = (page) => page.locator("#rows .open").allTextContents();
/** Rate, errors, p50, p95 and p99 of a row. */
const numbers = async (page, name) => {
  const row = page.locator("#rows tr").filter({ has: page.locator(".open").getByText(name, { exact: true }) });
  return (await row.locator("td:not(.links)").allTextContents()).map((text) => text.trim());
};
const inMillis = (text) => Number.parseFloat(text) * (text.endsWith(" ms") ? 1 : 1000);
const legend = (page, chart) => page.locator(`#${chart} .legend tbody tr`).evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent)));
const sortedBy = (page) => page.locator("#head th:not([aria-sort=none])").evaluateAll((cells) => cells.map((cell) => `${cell.textContent} ${cell.ariaSort}`));
/** Asks of the store for one look at the page. */
const asked = async (page, action) => {
  const queries = [];
  const note = (request) => request.url().includes("/api/") && queries.push(new URL(request.url()).searchParams.get("q"));
  page.on("request", note);
  await action();
  await page.locator("#state.live").waitFor();
  page.off("request", note);
  return queries;
};

export const steps = [empty, setUp, worstFirst, order, whatCounts, findOne, openOne, operation, toTheTraces, zoom, exemplar, live, keyboard, hostile, nothing, notAnswered, many];

async function empty({ page, one }) {
  await page.goto(`${one.page}/`);
  await page.getByRole("link", { name: "Services" }).click();
  await page.getByRole("heading", { name: "No services yet" }).waitFor();
  await assertAccessible(page);
}

async function setUp({ one }) {
  await send(one, "shop", [
    ...times(27, (index) => at(10 + index * 20, { name: "checkout", kind: SERVER, lasts: 100 })),
    ...times(3, (index) => at(301 + index, { name: "checkout", kind: SERVER, lasts: 400, failed: "declined" })),
    ...times(10, (index) => at(15 + index * 50, { name: "browse", kind: SERVER, lasts: 20 })),
    ...times(40, (index) => at(11 + index * 14, { name: "ask bank", kind: CLIENT, lasts: 2000 })),
  ]);
  await send(one, "mailer", times(120, (index) => at(1 + index * 4.9, { name: "mail", kind: CONSUMER, lasts: 5 })));
  await send(one, "cron", times(6, (index) => at(30 + index * 90, { name: "sweep", kind: INTERNAL, lasts: 900, ...(index === 0 ? { failed: "locked" } : {}) })));
  await send(one, EVIL, [at(300, { name: EVIL, kind: SERVER, lasts: 1 })]);
}

async function worstFirst({ page, one, shoot }) {
  const queries = await asked(page, async () => {
    await open(page, one);
    await until(["shop", "cron", "mailer", EVIL], () => names(page));
  });
  assert.equal(queries.length, 3, `${queries}`);
  const [rate, errors, median, , slow] = await numbers(page, "shop");
  assert.deepEqual([rate, errors], ["4 /min", "7.5 % 3"]);
  assert.ok(inMillis(median) > 33 && inMillis(median) < 135, median);
  assert.ok(inMillis(slow) > 134 && inMillis(slow) < 538, `the client's two seconds are not its requests': ${slow}`);
  assert.deepEqual((await numbers(page, "mailer")).slice(0, 2), ["0.2 /s", "0"]);
  const cron = await numbers(page, "cron");
  assert.deepEqual(cron.slice(0, 2), ["0.6 /min", "17 % 1"]);
  assert.ok(inMillis(cron[2]) > 500, cron[2]);
  assert.deepEqual(await page.locator("#rows .aside-note").allTextContents(), ["all spans"]);
  await page.getByText("Requests are server and consumer spans").waitFor();
  await page.getByText("Of a service that has none, all spans count.").waitFor();
  await page.getByText("4 services, live").waitFor();
  assert.equal(await page.locator("#rows tr", { hasText: "shop" }).locator(".spark .failing").count(), 1);
  await assertAccessible(page);
  await shoot("services");
}

async function order({ page }) {
  assert.deepEqual(await sortedBy(page), ["Errors descending"]);
  const sort = (name) => page.locator("#head").getByRole("button", { name, exact: true }).click();
  await sort("p99");
  assert.deepEqual(await names(page), ["cron", "shop", "mailer", EVIL]);
  assert.deepEqual(await sortedBy(page), ["p99 descending"]);
  await sort("p99");
  assert.deepEqual(await names(page), [EVIL, "mailer", "shop", "cron"]);
  assert.equal(new URL(page.url()).searchParams.get("sort"), "-p99");
  await sort("Rate");
  assert.equal((await names(page))[0], "mailer");
  await sort("Service");
  assert.deepEqual(await names(page), [EVIL, "cron", "mailer", "shop"]);
  assert.deepEqual(await sortedBy(page), ["Service ascending"]);
  await page.reload();
  await until([EVIL, "cron", "mailer", "shop"], () => names(page));
  await page.goBack();
  await until("mailer", async () => (await names(page))[0]);
}

async function whatCounts({ page, one }) {
  await open(page, one);
  await page.getByRole("radio", { name: "Calls" }).check();
  await until(["shop"], () => names(page));
  assert.equal(new URL(page.url()).searchParams.get("spans"), "calls");
  const [rate, errors, median] = await numbers(page, "shop");
  assert.deepEqual([rate, errors], ["4 /min", "0"]);
  assert.ok(inMillis(median) > 900, median);
  await page.getByRole("group", { name: "Spans that count" }).getByRole("radio", { name: "All", exact: true }).check();
  await until("0.133 /s", async () => (await numbers(page, "shop"))[0]);
  await page.goBack();
  await until(["shop"], () => names(page));
  assert.ok(await page.getByRole("radio", { name: "Calls" }).isChecked());
}

async function findOne({ page, one }) {
  await open(page, one);
  await until(4, async () => (await names(page)).length);
  await page.keyboard.press("/");
  await page.keyboard.type("MAIL");
  await until(["mailer"], () => names(page));
  await page.getByText("1 of 4 services, live").waitFor();
  await page.getByLabel("Find").fill("nobody");
  await page.getByText("No name has that in it.").waitFor();
  await page.getByLabel("Find").fill("");
  await until(4, async () => (await names(page)).length);
}

async function openOne({ page, shoot }) {
  const queries = await asked(page, async () => {
    await page.getByRole("link", { name: "shop", exact: true }).click();
    await until(["checkout", "browse"], () => names(page));
    await page.locator("#durations .legend").waitFor();
  });
  assert.equal(queries.filter((query) => query.includes('"shop"')).length, 4, `${queries}`);
  assert.equal(new URL(page.url()).searchParams.get("service"), "shop");
  assert.equal(await page.getByRole("heading", { level: 1 }).innerText().then((text) => text.replace(/\s+/g, " ")), "Services › shop");
  assert.deepEqual((await numbers(page, "checkout")).slice(0, 2), ["3 /min", "10 % 3"]);
  assert.deepEqual((await numbers(page, "browse")).slice(0, 2), ["1 /min", "0"]);
  const [[requests, last, mean, max]] = await legend(page, "rate");
  // Three failed within the ten seconds of one point.
  assert.deepEqual([requests, last, mean, max], ["requests", "0", "0.06667", "0.4"]);
  assert.deepEqual((await legend(page, "errors"))[0].filter((_, index) => index !== 1), ["failed", "7.5 %", "75 %"]);
  assert.deepEqual((await legend(page, "durations")).map(([name]) => name).sort(), ["p50", "p95", "p99"]);
  await assertAccessible(page);
  await shoot("service");
}

async function operation({ page }) {
  await page.getByRole("link", { name: "checkout", exact: true }).click();
  await until("75 %", async () => (await legend(page, "errors"))[0]?.[3]);
  await until("0.05", async () => (await legend(page, "rate"))[0][2]);
  assert.deepEqual(await page.locator("#rows .current .open").allTextContents(), ["checkout"]);
  assert.equal(await page.getByRole("link", { name: "checkout", exact: true }).getAttribute("aria-current"), "true");
  await page.reload();
  await until("0.05", async () => (await legend(page, "rate"))[0]?.[2]);
  assert.equal(new URL(page.url()).searchParams.get("operation"), "checkout");
  await page.goBack();
  await until("0.06667", async () => (await legend(page, "rate"))[0][2]);
  await page.goForward();
  await until("0.05", async () => (await legend(page, "rate"))[0][2]);
}

async function toTheTraces({ page }) {
  const look = async (link, query, found) => {
    await link.click();
    await until(found, () => page.locator("#rows tr").count());
    assert.match(await page.getByLabel("TraceQL").inputValue(), query);
    assert.equal(new URL(page.url()).searchParams.get("from"), THEN.from, "in the same time");
    assert.ok(await page.locator("#by-hand").isHidden(), "the pickers can say it");
    await page.goBack();
    await page.locator("#links a").first().waitFor();
  };
  await look(page.locator("#links").getByRole("link", { name: "Failed" }), /^\{ resource\.service\.name = "shop" && name = "checkout" && kind = server && status = error \}$/, 3);
  await look(page.locator("#links").getByRole("link", { name: "Traces" }), /^\{ resource\.service\.name = "shop" && name = "checkout" && kind = server \}$/, 30);
  await look(page.getByRole("link", { name: "Slowest traces of checkout" }), /^\{ .* && duration >= [\d.]+ms \}$/, 3);
  assert.equal(await page.getByRole("link", { name: "Failed traces of browse" }).count(), 0);
}

async function zoom({ page }) {
  const surface = page.locator("#rate .surface");
  const box = await surface.boundingBox();
  const y = box.y + box.height / 3;
  await page.mouse.move(box.x + box.width * 0.4, y);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, y, { steps: 5 });
  await page.mouse.up();
  const chosen = () => ["from", "to"].map((name) => Math.round((Number(new URL(page.url()).searchParams.get(name)) - BEGUN) / MINUTE));
  await until([4, 6], chosen);
  await until(["checkout", "browse"], () => names(page));
  await until("3", () => page.locator("#rows tr", { hasText: "checkout" }).locator(".errors .zero").textContent());
  await page.locator("#zoomed").click();
  await until(null, () => new URL(page.url()).searchParams.get("from"));
  assert.ok(await page.getByRole("radio", { name: "15 min" }).isChecked());
  await page.goBack();
  await until([4, 6], chosen);
}

async function exemplar({ page, one }) {
  await open(page, one, { service: "shop", operation: "checkout" });
  const dots = page.locator("#errors .exemplar");
  await dots.first().waitFor();
  // The last one lies above others of nearly the same time.
  const failed = await dots.last().getAttribute("href");
  assert.match(failed, /^\/trace\/[0-9a-f]{32}$/);
  await dots.last().click();
  await page.waitForURL(`**${failed}`);
  await page.getByText("1 error").waitFor();
  await page.goBack();
  const slow = page.locator("#durations .exemplar[aria-label$=', 400 ms']").first();
  await slow.waitFor();
  assert.ok((await page.locator("#durations .exemplar").count()) > 5);
  await slow.press("Enter");
  await page.waitForURL("**/trace/*");
  await page.getByText("400 ms").first().waitFor();
  // And back from the span to its operation.
  await page.locator("#tree .row").first().click();
  await page.getByRole("link", { name: "Rate, errors, durations" }).click();
  await page.waitForURL("**/services?service=shop&operation=checkout");
}

async function live({ page, one }) {
  await page.clock.install();
  await page.goto(`${one.page}/services`);
  await page.locator("#state.live").waitFor();
  await send(one, "news", [span(newTrace(), now() - 30_000n * MS, { id: 1, name: "ping", kind: SERVER, lasts: 10 })]);
  await until(true, async () => (await names(page)).includes("news"));
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByText(/services, paused/).waitFor();
  await send(one, "later", [span(newTrace(), now() - 30_000n * MS, { id: 1, name: "ping", kind: SERVER, lasts: 10 })]);
  const queries = [];
  page.on("request", (request) => queries.push(request.url()));
  await page.clock.fastForward(10_000);
  assert.deepEqual(queries, [], "paused");
  await page.getByRole("button", { name: "Resume" }).click();
  await until(true, async () => (await names(page)).includes("later"));
  await page.getByRole("radio", { name: "1 h", exact: true }).check();
  await until(true, async () => (await names(page)).includes("shop"));
  assert.equal(new URL(page.url()).search, "?range=1h");
  // All of the time is where spans are.
  await page.getByRole("group", { name: "Time" }).getByRole("radio", { name: "All", exact: true }).check();
  await until(true, async () => (await names(page)).includes("shop"));
  await page.getByRole("link", { name: "shop", exact: true }).click();
  await page.locator("#rate .moment").first().waitFor();
  const moments = await page.locator("#rate .moment span").allTextContents();
  assert.ok(moments.some((text) => /^\d\d:\d\d/.test(text)), moments.join());
}

async function keyboard({ page, one }) {
  await open(page, one);
  await until(4, async () => (await names(page)).length);
  for (const key of ["j", "j", "k"]) await page.keyboard.press(key);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "shop");
  // The focus stays where it is while answers arrive.
  await Promise.all([page.waitForResponse(/query_range/), page.waitForResponse(/status\.json/)]);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "shop");
  await page.keyboard.press("Enter");
  await until(["checkout", "browse"], () => names(page));
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Services", "the way back");
  const surface = page.getByRole("slider", { name: /^Errors over time/ });
  await surface.focus();
  await page.keyboard.press("End");
  await page.waitForResponse(/query_range/);
  assert.match(await surface.getAttribute("aria-valuetext"), /: (failed [\d.]+ %|nothing)$/);
  await page.keyboard.press("Escape");
}

async function hostile({ page, one }) {
  await open(page, one);
  await page.locator("#rows .open").getByText(EVIL).click();
  await until([EVIL], () => names(page));
  await page.locator("#rows .open").click();
  await page.locator("#rows .current").waitFor();
  assert.equal(await page.locator("main img").count(), 0);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  await page.locator("#links").getByRole("link", { name: "Traces" }).click();
  await until(1, () => page.locator("#rows tr").count());
}

async function nothing({ page, one }) {
  await open(page, one, { from: String(BEGUN - SPAN), to: String(BEGUN - MINUTE) });
  await page.getByText("No span that counts began in this time.").waitFor();
  await open(page, one, { service: "nobody" });
  await page.locator("#rate").getByText("No span of this time matches.").waitFor();
  await assertAccessible(page);
}

async function notAnswered({ page, one }) {
  await page.route("**/api/metrics/**", (route) => route.fulfill({ status: 400, body: "the query makes too many series" }));
  await open(page, one);
  await page.getByText("Refused, trying again: the query makes too many series; a shorter time has fewer").waitFor();
  await page.unroute("**/api/metrics/**");
  await until(4, async () => (await names(page)).length);
  await page.locator("#state.live").waitFor();
}

async function many({ page, other, shoot }) {
  for (let index = 0; index < 200; index++) {
    await send(other, `service ${index}`, times(3, (nth) => at(30 + nth * 60 + index, { name: "work", kind: SERVER, lasts: 1 + index, ...(index === 150 ? { failed: "full" } : {}) })));
  }
  await send(other, "wide", times(2000, (index) => at(index / 4, { name: `GET /users/${index}`, kind: SERVER, lasts: 1 + index })));
  await open(page, other);
  await until(201, async () => (await names(page)).length);
  assert.equal((await names(page))[0], "service 150");
  await open(page, other, { service: "wide", sort: "p99" });
  await page.getByText("2,000 operations, live").waitFor();
  assert.equal(await page.locator("#rows tr").count(), 250);
  await page.getByRole("button", { name: "Show more" }).click();
  assert.equal(await page.locator("#rows tr").count(), 500);
  await page.getByLabel("Find").fill("/users/77");
  await until(true, async () => (await names(page)).includes("GET /users/77") && (await names(page)).length === 11);
  await page.setViewportSize({ width: 600, height: 800 });
  await open(page, other);
  await until(201, async () => (await names(page)).length);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
  await assertAccessible(page);
  await shoot("services-narrow");
}
