// The list of traces.

import assert from "node:assert/strict";
import { assertAccessible } from "./accessible.mjs";
import { attributes, MS, newTrace, now, send, sendShop, span, until } from "./send.mjs";

const names = (page) => page.locator("#rows .name").allTextContents();
const sendOne = async (store, name, begun = now()) => {
  const trace = newTrace();
  await send(store, "one", [span(trace, begun, { id: 1, name, lasts: 20 })]);
  return trace;
};

export const steps = [emptyStore, live, newestFirst, pause, timeRange, theKeyboard, refusal, theme, gauge, markup, loadMore];

async function emptyStore({ page, one }) {
  await page.goto(one.page);
  await page.getByRole("heading", { name: "No traces yet" }).waitFor();
  await page.getByText("Waiting for the first one").waitFor();
  await assertAccessible(page);
}

async function live({ page, one }) {
  const trace = await sendShop(one);
  const row = page.locator("#rows tr");
  await row.locator(`a[href="/trace/${trace}"]`).waitFor();
  // The rest of the trace may come with the next look.
  await until(["7"], () => row.locator("td:nth-child(4)").allTextContents());
  assert.equal((await row.locator(".root").textContent()).trim(), "edge GET");
  assert.equal(await row.locator(".place").textContent(), "shop.localhost/checkout");
  assert.deepEqual(await row.locator(".chip").allTextContents(), ["cart41", "edge1", "payment21"]);
  assert.equal(await row.locator(".chip").first().getAttribute("title"), "4 spans, 1 error");
  assert.equal(await row.locator("td:nth-child(5)").textContent(), "2");
  assert.equal(await row.locator(".length .value").textContent(), "400 ms");
  assert.match(await row.locator("time").textContent(), /^(now|\d+ s ago)$/);
  assert.match(await row.locator("time").getAttribute("title"), /^\d{4}-\d\d-\d\dT[\d:.]{18}Z$/);
  await assertAccessible(page);
}

async function newestFirst({ page, one }) {
  await sendOne(one, "earlier", now() - 60_000n * MS);
  await until(["GET", "earlier"], () => names(page));
  await sendOne(one, "later");
  await until(["later", "GET", "earlier"], () => names(page));
}

async function pause({ page, one }) {
  await page.getByRole("button", { name: "Pause" }).click();
  await sendOne(one, "while paused");
  const news = page.getByRole("button", { name: "1 new" });
  await news.waitFor();
  assert.deepEqual(await names(page), ["later", "GET", "earlier"]);
  await news.click();
  await until(["while paused", "later", "GET", "earlier"], () => names(page));
  const resume = page.getByRole("button", { name: "Resume" });
  assert.equal(await resume.getAttribute("aria-pressed"), "true");
  await sendOne(one, "still paused");
  await page.getByRole("button", { name: "1 new" }).waitFor();
  await resume.click();
  await until("still paused", async () => (await names(page))[0]);
  await sendOne(one, "live again");
  await until("live again", async () => (await names(page))[0]);
}

async function timeRange({ page }) {
  // The server tests that a window leaves out what is older; here it counts that it is asked for.
  const asked = async (action) => {
    const [request] = await Promise.all([page.waitForRequest(/\/api\/search/), action()]);
    const parameters = new URL(request.url()).searchParams;
    return [parameters.get("start"), parameters.get("end")].map((seconds) => (seconds === null ? null : Math.round((Date.now() / 1000 - seconds) / 60)));
  };
  assert.deepEqual(await asked(() => page.getByRole("radio", { name: "15 min" }).check()), [15, -1]);
  assert.equal(new URL(page.url()).search, "?range=15m");
  assert.deepEqual(await asked(() => page.reload()), [15, -1]);
  assert.ok(await page.getByRole("radio", { name: "15 min" }).isChecked());
  await until("live again", async () => (await names(page))[0]);
  assert.deepEqual(await asked(() => page.getByRole("radio", { name: "1 h" }).check()), [60, -1]);
  assert.deepEqual(await asked(() => page.goBack()), [15, -1]);
  await until(true, () => page.getByRole("radio", { name: "15 min" }).isChecked());
  assert.deepEqual(await asked(() => page.goBack()), [null, null]);
  await until(true, () => page.getByRole("radio", { name: "All" }).isChecked());
}

async function theKeyboard({ page, shoot }) {
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  await page.keyboard.press("j");
  await shoot("list");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/trace\//);
  await page.getByRole("heading", { level: 1, name: "still paused" }).waitFor();
  await page.goBack();
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "query");
}

async function refusal({ page }) {
  const query = page.getByLabel("TraceQL");
  await query.fill("{ this is no query");
  await query.press("Enter");
  await page.getByText("This search was refused").waitFor();
  assert.notEqual(await page.getByRole("alert").textContent(), "");
  assert.notEqual(await page.locator("#rows tr").count(), 0, "what showed before stays");
  await assertAccessible(page);
  await page.goBack();
  await page.locator("#refusal").waitFor({ state: "hidden" });
  await page.locator("#state.live").waitFor();
  const minimum = page.getByLabel("Minimum duration");
  await minimum.fill("soon");
  await minimum.press("Enter");
  assert.match(await page.getByRole("alert").textContent(), /“soon” is no number with a unit/);
  assert.equal(new URL(page.url()).search, "");
  await page.reload();
}

async function theme({ page }) {
  const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await back();
  await page.emulateMedia({ colorScheme: "light" });
  const light = await back();
  assert.notEqual(dark, light);
  await page.getByRole("button", { name: "Theme: Auto" }).click();
  await page.getByRole("button", { name: "Theme: Light" }).click();
  assert.equal(await back(), dark);
  await page.reload();
  assert.equal(await back(), dark, "remembered");
  await page.goto(new URL("/setup", page.url()).href);
  assert.equal(await back(), dark, "on every page");
  await page.getByRole("button", { name: "Theme: Dark" }).click();
  assert.equal(await back(), light, "that of the system again");
  await page.goto(new URL("/", page.url()).href);
}

async function gauge({ page }) {
  const button = page.locator("#gauge");
  await button.waitFor();
  assert.match(await button.textContent(), /^\d+ spans, .* of 256 MiB$/);
  await button.click();
  await page.locator("#kept").getByText("Nothing was evicted yet").waitFor();
  await page.locator("#kept").getByText(/^Spans came \d+ (s|min) ago\.$/).waitFor();
  await page.locator("#kept").getByText("No log records came since this program started.").waitFor();
  await page.locator("#kept").getByText("No Prometheus asked for metrics since this program started.").waitFor();
  await assertAccessible(page);
  await page.keyboard.press("Escape");
}

async function markup({ page, one }) {
  const trace = newTrace();
  const evil = '<img src=x onerror="window.pwned=1">';
  await send(one, "</script><script>window.pwned=1</script>", [span(trace, now(), { id: 1, name: evil, attributes: attributes({ [evil]: evil }) })]);
  await page.getByText(evil).first().waitFor();
  assert.equal(await page.locator("#rows img, #rows script").count(), 0);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
}

async function loadMore({ page, one }) {
  const begun = now();
  const spans = Array.from({ length: 120 }, (_, at) => span(newTrace(), begun + BigInt(at) * MS, { id: 1, name: `many ${at}` }));
  await send(one, "many", spans);
  await page.getByText("The newest 100, live").waitFor();
  assert.equal(await page.locator("#rows tr").count(), 100);
  await page.getByRole("button", { name: "Load more" }).click();
  await until(true, async () => (await page.locator("#rows tr").count()) > 120);
  assert.equal(new URL(page.url()).search, "?limit=250");
  assert.ok(await page.getByRole("button", { name: "Load more" }).isHidden());
}
