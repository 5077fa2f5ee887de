// Log records: as they come, searched, and beside the trace that they are of.

import assert from "node:assert/strict";
import { assertAccessible } from "./accessible.mjs";
import { MS, newTrace, now, record, rows, send, sendLogs, sendShop, span, spanId, until } from "./send.mjs";

const EVIL = '<img src=x onerror="window.pwned=1">';
const SCRIPT = "</script><script>window.pwned=1</script>";
const said = (page) => page.locator("#rows .said").allTextContents();
const line = (page, text) => page.locator("#rows .record", { has: page.locator(".said", { hasText: text }) });
const marks = async (page, name) => {
  const row = page.locator("#tree .row").filter({ has: page.locator(".name").getByText(name, { exact: true }) });
  return row.locator(".log-mark").evaluateAll((nodes) => nodes.map((node) => node.dataset.severity));
};
let shop = "";
let begun = 0n;

export const steps = [empty, live, opened, pause, narrow, times, older, hostile, tooMuch, noLogs, besideTheTrace, listOfTheTrace, manyOfATrace, withoutSpan, refused, narrowWindow];

async function empty({ page, one }) {
  await page.goto(`${one.page}/`);
  await page.getByRole("link", { name: "Logs" }).click();
  await page.getByRole("heading", { name: "No logs yet" }).waitFor();
  await page.getByText(`OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:`).waitFor();
  await page.getByText("Waiting for the first one").waitFor();
  await assertAccessible(page);
}

async function live({ page, one }) {
  begun = now() - 60_000n * MS;
  shop = await sendShop(one, begun);
  const at = (fields) => record(begun, { trace: shop, ...fields });
  await sendLogs(one, "cart", [
    at({ span: 2, at: 6, severity: "info", body: "checkout begins", pairs: { "user.id": "u-1337" } }),
    at({ span: 3, at: 12, severity: "debug", body: "GET cart:u-1337" }),
    at({ span: 2, at: 384, severity: "error", body: "payment failed: card declined\n  at pay (checkout.js:42)\n  at process (task.js:95)", pairs: { "exception.type": "PaymentError" } }),
  ]);
  await until(["payment failed: card declined at pay (checkout.js:42) at process (task.js:95)", "GET cart:u-1337", "checkout begins"], () => said(page));
  // What comes late stands where it belongs by arrival, and in its place once it is asked for anew.
  await sendLogs(one, "payment", [
    at({ span: 6, at: 140, severity: "info", body: "charging" }),
    at({ span: 7, at: 340, severity: "warn", body: "bank took 190 ms" }),
    at({ span: 6, at: 366, severity: "fatal", body: "card declined" }),
  ]);
  await until(6, async () => (await said(page)).length);
  await page.reload();
  await until(["payment failed", "card declined", "bank took 190 ms", "charging", "GET cart:u-1337", "checkout begins"], async () => (await said(page)).map((text) => text.split(":")[0] === "payment failed" ? "payment failed" : text));
  await page.getByText("6 records, live").waitFor();
  assert.deepEqual(await page.locator("#rows .severity").allTextContents(), ["error", "fatal", "warn", "info", "debug", "info"]);
  assert.deepEqual(await page.locator("#rows .beside").allTextContents(), ["exception.type=PaymentError", "user.id=u-1337"]);
  assert.deepEqual(await page.locator("#rows .service").allTextContents(), ["cart", "payment", "payment", "payment", "cart", "cart"]);
  await assertAccessible(page);
}

async function opened({ page, shoot }) {
  await line(page, "payment failed").locator("summary").click();
  const box = line(page, "payment failed").locator(".log-details");
  assert.equal(await box.locator(".body").textContent(), "payment failed: card declined\n  at pay (checkout.js:42)\n  at process (task.js:95)");
  assert.equal(await box.locator("tr", { hasText: "exception.type" }).locator(".value").textContent(), "PaymentError");
  assert.equal(await box.locator("tr", { hasText: "host.name" }).locator(".value").textContent(), "here");
  await box.getByText("logger 1.2").waitFor();
  await box.getByText("error, number 17").waitFor();
  assert.equal(await box.getByRole("link", { name: spanId(2) }).getAttribute("href"), `/trace/${shop}#${spanId(2)}`);
  assert.equal(await line(page, "card declined").last().getByRole("link", { name: /^Trace of payment/ }).getAttribute("href"), `/trace/${shop}#${spanId(6)}`);
  await page.getByText("6 records, paused").waitFor();
  await assertAccessible(page);
  await shoot("logs");
}

async function pause({ page, one }) {
  await sendLogs(one, "cart", [record(now(), { severity: "info", body: "while paused" })]);
  assert.equal((await said(page)).length, 6);
  await page.getByRole("button", { name: "Resume" }).click();
  await until("while paused", async () => (await said(page))[0]);
  assert.ok(await line(page, "payment failed").locator(".log-details").isVisible(), "what was open stays open");
  await page.keyboard.press("p");
  await page.getByText("7 records, paused").waitFor();
  await page.keyboard.press("p");
  await page.getByText("7 records, live").waitFor();
  for (const key of ["j", "j", "k", "Enter"]) await page.keyboard.press(key);
  await page.getByText("7 records, paused").waitFor();
  assert.ok(await line(page, "while paused").locator(".log-details").isVisible());
}

async function narrow({ page, one }) {
  await page.goto(`${one.page}/logs`);
  await page.getByRole("radio", { name: "Warn" }).check();
  await until(3, async () => (await said(page)).length);
  assert.equal(new URL(page.url()).search, "?severity=warn");
  const service = page.getByLabel("Service", { exact: true });
  await service.fill("payment");
  await service.press("Enter");
  await until(["card declined", "bank took 190 ms"], () => said(page));
  await page.getByLabel("Text").fill("BANK");
  await until(["bank took 190 ms"], () => said(page));
  assert.equal(new URL(page.url()).search, "?text=BANK&service=payment&severity=warn");
  // What comes is narrowed down too.
  await sendLogs(one, "payment", [record(now(), { severity: "error", body: "bank is closed" }), record(now(), { severity: "info", body: "bank opens" }), record(now(), { severity: "error", body: "no match" })]);
  await until(["bank is closed", "bank took 190 ms"], () => said(page));
  await page.reload();
  await until(["bank is closed", "bank took 190 ms"], () => said(page));
  assert.equal(await page.getByLabel("Text").inputValue(), "BANK");
  assert.ok(await page.getByRole("radio", { name: "Warn" }).isChecked());
  await page.goBack();
  await until(true, async () => (await said(page)).includes("no match"));
  await page.getByRole("button", { name: "Clear" }).click();
  await until(10, async () => (await said(page)).length);
  await page.getByLabel("Trace", { exact: true }).fill(shop);
  await page.getByLabel("Trace", { exact: true }).press("Enter");
  await until(6, async () => (await said(page)).length);
  await page.goto(`${one.page}/logs?trace=${shop}&span=${spanId(6)}`);
  await until(["card declined", "charging"], () => said(page));
  await page.getByRole("button", { name: /^Span / }).click();
  await until(6, async () => (await said(page)).length);
  await page.getByLabel("Text").fill("nobody says that");
  await page.getByText("No record that is kept matches.").waitFor();
  await assertAccessible(page);
}

async function times({ page, one }) {
  await sendLogs(one, "old", [record(now() - 3_000_000n * MS, { severity: "info", body: "fifty minutes ago" })]);
  await page.goto(`${one.page}/logs`);
  await until("fifty minutes ago", async () => (await said(page)).at(-1));
  await page.getByRole("radio", { name: "15 min" }).check();
  await until(false, async () => (await said(page)).includes("fifty minutes ago"));
  const from = Number(begun / MS);
  await page.goto(`${one.page}/logs?from=${from}&to=${from + 200}`);
  await until(["charging", "GET cart:u-1337", "checkout begins"], () => said(page));
  await page.getByText(/^3 records$/).waitFor();
  assert.ok(await page.getByRole("button", { name: "Pause" }).isDisabled(), "nothing comes any more");
  await page.locator("#zoomed").click();
  await until("fifty minutes ago", async () => (await said(page)).at(-1));
}

async function older({ page, one }) {
  const from = now() - 2000_000n * MS;
  await sendLogs(one, "counter", Array.from({ length: 450 }, (_, index) => record(from, { at: index, severity: "info", body: `count ${index}` })));
  await page.goto(`${one.page}/logs?service=counter`);
  await until(200, async () => (await said(page)).length);
  await page.getByText("The newest 200, live").waitFor();
  await page.getByRole("button", { name: "Load older" }).click();
  await until(400, async () => (await said(page)).length);
  await page.getByRole("button", { name: "Load older" }).click();
  await until(450, async () => (await said(page)).length);
  assert.deepEqual(await said(page), Array.from({ length: 450 }, (_, index) => `count ${449 - index}`));
  assert.ok(await page.getByRole("button", { name: "Load older" }).isHidden());
  await page.getByText("450 records, paused").waitFor();
}

async function hostile({ page, one }) {
  const trace = newTrace();
  await send(one, SCRIPT, [span(trace, now() - 100_000n * MS, { id: 1, name: EVIL, lasts: 9 })]);
  await sendLogs(one, SCRIPT, [
    record(now() - 99_999n * MS, { trace, span: 1, body: `${EVIL}\u202egnp.exe\u0007\u001b[31mred\n\n\nsecond line`, severityText: SCRIPT, pairs: { [EVIL]: SCRIPT, "url.full": "javascript:window.pwned=1" } }),
    record(now() - 99_998n * MS, { trace, span: 1, body: "x".repeat(200_000) }),
  ]);
  await page.goto(`${one.page}/logs?trace=${trace}`);
  await until(2, async () => (await said(page)).length);
  assert.equal((await said(page))[1], `${EVIL}\\u{202e}gnp.exe\\u{7}\\u{1b}[31mred second line`);
  assert.ok((await said(page))[0].length < 600);
  assert.deepEqual(await page.locator("#rows .severity").allTextContents(), ["–", "–"]);
  for (const summary of await page.locator("#rows .log > summary").all()) await summary.click();
  await page.locator("#rows tr", { hasText: EVIL }).locator(".value").getByText(SCRIPT).waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "a long text does not widen the page");
  const harmless = async () => {
    assert.equal(await page.locator("main img, main script, main b").count(), 0);
    assert.deepEqual(await page.locator("main a[href]").evaluateAll((links) => links.filter((link) => !link.getAttribute("href").startsWith("/")).map((link) => link.href)), []);
    assert.equal(await page.evaluate(() => window.pwned), undefined);
  };
  await harmless();
  await page.goto(`${one.page}/trace/${trace}#${spanId(1)}`);
  await page.locator("#details .records summary").first().click();
  await harmless();
}

/** Ten thousand records a second: the page stays usable, and says that it does not show all of them. */
async function tooMuch({ page, other }) {
  await page.goto(`${other.page}/logs`);
  await page.getByText("Waiting for the first one").waitFor();
  let isSending = true;
  let [sent, from] = [0, performance.now()];
  const sending = (async () => {
    for (let batch = 0; isSending; batch++) {
      const begun = now();
      await sendLogs(other, "flood", Array.from({ length: 2500 }, (_, index) => record(begun, { at: index / 1000, severity: "info", body: `drop ${batch} ${index}` })));
      sent += 2500;
      // No faster than that, for the sake of the tests beside this one.
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, sent / 10 - (performance.now() - from))));
    }
  })();
  await page.getByText(/faster than can be read: some are left out/).waitFor();
  // The longest that the page did not answer, while the flood goes on.
  const longest = await page.evaluate(async () => {
    let [most, before] = [0, performance.now()];
    for (let frame = 0; frame < 200; frame++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      most = Math.max(most, performance.now() - before);
      before = performance.now();
    }
    return most;
  });
  const rate = (1000 * sent) / (performance.now() - from);
  console.log(`${rate.toFixed(0)} log records a second: the page paused for ${longest.toFixed(0)} ms at most`);
  assert.ok(longest < 1000, `${longest} ms`);
  assert.ok((await page.locator("#rows .record").count()) <= 1000);
  await page.getByRole("button", { name: "Pause" }).click();
  isSending = false;
  await sending;
  await sendLogs(other, "quiet", [record(now(), { severity: "info", body: "after the flood" })]);
  await page.getByRole("button", { name: "Resume" }).click();
  await until("after the flood", async () => (await said(page))[0]);
}

async function noLogs({ page, one }) {
  const trace = newTrace();
  await send(one, "silent", [span(trace, now() - 100_000n * MS, { id: 1, name: "quiet", lasts: 9 })]);
  const asked = [];
  const note = (request) => request.url().includes("/logs.json") && request.url().includes(trace) && asked.push(request.url());
  page.on("request", note);
  await page.goto(`${one.page}/trace/${trace}#${spanId(1)}`);
  await page.locator("#details").getByRole("heading", { name: "quiet" }).waitFor();
  await page.waitForLoadState("networkidle");
  page.off("request", note);
  assert.equal(asked.length, 1);
  assert.ok(await page.getByRole("button", { name: /^Logs/ }).isHidden());
  assert.equal(await page.locator("#details summary").getByText("Logs").count(), 0);
}

async function besideTheTrace({ page, one, shoot }) {
  await page.goto(`${one.page}/logs?trace=${shop}`);
  await line(page, "payment failed").getByRole("link", { name: /^Trace of/ }).click();
  await page.waitForURL(`${one.page}/trace/${shop}#${spanId(2)}`);
  const panel = page.locator("#details");
  await until(["checkout begins", "payment failed: card declined at pay (checkout.js:42) at process (task.js:95)"], () => panel.locator(".said").allTextContents());
  assert.deepEqual(await panel.locator(".record time").allTextContents(), ["+6.00 ms", "+384 ms"]);
  await until(["info", "error"], () => marks(page, "checkout"));
  assert.deepEqual(await marks(page, "charge"), ["info", "fatal"]);
  assert.deepEqual(await marks(page, "POST bank"), ["warn"]);
  assert.deepEqual(await marks(page, "GET"), []);
  const charge = page.locator("#tree .row", { hasText: "charge" });
  assert.match(await charge.getAttribute("aria-label"), /, 2 log records, fatal$/);
  const [lane, mark] = [await charge.locator(".lane").boundingBox(), await charge.locator(".log-mark").last().boundingBox()];
  assert.ok(Math.abs((mark.x + mark.width / 2 - lane.x) / lane.width - 366 / 400) < 0.01, "where it happened");
  await panel.locator(".record summary").last().click();
  await panel.locator(".value").getByText("PaymentError").waitFor();
  await charge.click();
  await until(["charging", "card declined"], () => panel.locator(".said").allTextContents());
  await assertAccessible(page);
  await shoot("trace-logs");
}

async function listOfTheTrace({ page, shoot }) {
  await page.getByRole("button", { name: "Logs 6" }).click();
  const panel = page.locator("#details");
  await panel.getByRole("heading", { name: "Logs of this trace" }).waitFor();
  assert.equal((await panel.locator(".said").allTextContents()).length, 6);
  await panel.getByText("2 errors").waitFor();
  assert.deepEqual(await panel.locator(".record.current .said").allTextContents(), ["charging", "card declined"], "those of the span that was chosen");
  await panel.locator("summary", { hasText: "bank took 190 ms" }).click();
  const current = page.locator("#tree .row[aria-selected=true] .name");
  await until("POST bank", () => current.textContent());
  assert.deepEqual(await panel.locator(".record.current .said").allTextContents(), ["bank took 190 ms"]);
  await assertAccessible(page);
  await shoot("trace-all-logs");
  await page.getByRole("button", { name: "Collapse all" }).click();
  await panel.locator("summary", { hasText: "GET cart" }).click();
  // Wherever it hides.
  await until("read cart", () => current.textContent());
  await page.keyboard.press("Escape");
  assert.ok(await panel.isHidden());
  await page.locator("#tree").focus();
  await page.keyboard.press("g");
  await panel.getByRole("heading", { name: "Logs of this trace" }).waitFor();
  await page.keyboard.press("Enter");
  await panel.getByRole("heading", { name: "read cart" }).waitFor();
  await page.keyboard.press("g");
  await panel.getByRole("link", { name: "Open in Logs" }).click();
  await until(6, async () => (await said(page)).length);
}

async function manyOfATrace({ page, one }) {
  const trace = newTrace();
  const from = now() - 100_000n * MS;
  await send(one, "talker", [span(trace, from, { id: 1, name: "talk", lasts: 3000 })]);
  await sendLogs(one, "talker", Array.from({ length: 2500 }, (_, index) => record(from, { at: index, trace, span: 1, severity: index === 2000 ? "error" : "debug", body: `word ${index}` })));
  await page.goto(`${one.page}/trace/${trace}#${spanId(1)}`);
  await page.getByRole("button", { name: "Logs 2,500" }).waitFor();
  const panel = page.locator("#details");
  await until(500, () => panel.locator(".record").count());
  await panel.getByRole("link", { name: "All of them" }).waitFor();
  assert.equal(await panel.locator(".said").first().textContent(), "word 0");
  // So near to each other that one stands for many, the worst of them.
  assert.equal(await page.locator("#tree .log-mark").count(), 105);
  assert.equal(await page.locator("#tree .log-mark[data-severity=error]").count(), 1);
  assert.deepEqual(await rows(page), ["talk"]);
}

/** Lines of a program that knows its trace alone, as those that are read from its output. */
async function withoutSpan({ page, one }) {
  const trace = newTrace();
  const from = now() - 100_000n * MS;
  const at = (fields) => span(trace, from, fields);
  await send(one, "front", [at({ id: 1, name: "page", lasts: 500, kind: 2 }), at({ id: 2, parent: 1, name: "ask", at: 10, lasts: 480, kind: 3 })]);
  await send(one, "back", [at({ id: 3, parent: 2, name: "first", at: 20, lasts: 100, kind: 2 }), at({ id: 4, parent: 3, name: "query", at: 30, lasts: 80 }), at({ id: 5, parent: 2, name: "second", at: 200, lasts: 100, kind: 2 })]);
  const say = (milliseconds, body) => record(from, { at: milliseconds, trace, severity: "info", body });
  await sendLogs(one, "back", [say(40, "one"), say(310, "two"), say(1200, "after the end"), say(90_000, "long after")]);
  await sendLogs(one, "elsewhere", [say(50, "who is that")]);
  await page.goto(`${one.page}/trace/${trace}#${spanId(3)}`);
  const panel = page.locator("#details");
  await until(["one"], () => panel.locator(".said").allTextContents());
  await panel.getByText("What names no span stands here by its service and time.").waitFor();
  assert.deepEqual(await marks(page, "query"), [], "the service is known, no more");
  assert.deepEqual(await marks(page, "first"), ["info"]);
  await page.locator("#tree .row", { hasText: "second" }).click();
  await until(["two", "after the end"], () => panel.locator(".said").allTextContents());
  assert.deepEqual(await marks(page, "second"), ["info", "info"], "what came after the trace is at its end");
  await page.getByRole("button", { name: "Logs 5" }).click();
  await until(["one", "who is that", "two", "after the end", "long after"], () => panel.locator(".said").allTextContents());
}

async function refused({ page, one }) {
  await page.goto(`${one.page}/logs?trace=nonsense`);
  await page.getByRole("alert").getByText(/trace id/).waitFor();
  await page.getByText("This search was refused").waitFor();
  await assertAccessible(page);
  await page.getByRole("button", { name: "Clear" }).click();
  await page.locator("#state.live").waitFor();
  assert.ok(await page.getByRole("alert").isHidden());
}

async function narrowWindow({ page, one, shoot }) {
  await page.setViewportSize({ width: 600, height: 900 });
  await page.goto(`${one.page}/logs?trace=${shop}`);
  await until(6, async () => (await said(page)).length);
  await line(page, "payment failed").locator("summary").click();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
  await assertAccessible(page);
  await shoot("logs-narrow");
  await page.goto(`${one.page}/trace/${shop}#${spanId(6)}`);
  await page.locator("#details .record").first().waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
  await shoot("trace-logs-narrow");
}
