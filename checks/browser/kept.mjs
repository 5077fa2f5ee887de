// The gauge of what is kept, once something had to go.

import assert from "node:assert/strict";
import { assertAccessible } from "./accessible.mjs";
import { attributes, MS, newTrace, now, record, send, sendLogs, span, until } from "./send.mjs";

export const steps = [nothingYet, traces, logs, theSameOnSetup];

const status = async (store) => (await fetch(`${store.page}/status.json`)).json();
const lost = (page, where) => page.locator(`${where} .lost li`).allTextContents();
const number = (amount) => amount.toLocaleString("en");

async function nothingYet({ page, one }) {
  await page.goto(one.page);
  await page.locator("#gauge").click();
  await page.locator("#kept").getByText("Nothing was evicted yet").waitFor();
  assert.equal(await page.locator("#kept .fill:visible, #gauge-fill:visible").count(), 0, "bars of nothing");
  await page.keyboard.press("Escape");
}

/** Sends until the store, which has a bound of 1 MiB, has let go of the first. */
async function traces({ page, one, shoot }) {
  const first = newTrace();
  const begun = now();
  await send(one, "first", [span(first, begun, { id: 1, name: "the first" })]);
  for (let sent = 0; (await status(one)).usage.evictedTraces === 0; sent += 1) {
    assert.ok(sent < 1000, "nothing is evicted");
    const two = (at) => {
      const trace = newTrace();
      const filler = attributes({ filler: `${sent}.${at} `.repeat(100) });
      const each = (id, parent) => span(trace, begun + BigInt(sent * 50 + at + 1), { id, parent, name: `span ${id} of ${sent}`, attributes: filler });
      return [each(1), each(2, 1)];
    };
    await send(one, "many", Array.from({ length: 50 }, (_, at) => two(at)).flat());
  }
  assert.equal((await fetch(`${one.page}/api/traces/${first}`)).status, 404);
  await page.goto(one.page);
  const button = page.locator("#gauge");
  await button.click();
  const meter = page.locator("#kept").getByRole("meter", { name: "Memory used", exact: true });
  const shown = async () => ({
    button: await button.textContent(),
    evicted: (await lost(page, "#kept"))[0],
    kept: (await page.locator("#kept dd").allTextContents()).slice(0, 2),
    used: await meter.getAttribute("aria-valuenow"),
  });
  // The store may still be making room, and the page asks it now and then.
  await until(true, async () => {
    const { usage } = await status(one);
    assert.equal(usage.evictedSpans, 2 * usage.evictedTraces - 1, "the first trace has one span, others have two");
    const expected = {
      evicted: `${number(usage.evictedTraces)} traces with ${number(usage.evictedSpans)} spans evicted, oldest first, for their age or to make room.`,
      kept: [number(usage.traces), number(usage.spans)],
      used: String(Math.round((usage.memoryBytes / usage.maxMemoryBytes) * 100)),
    };
    const { button: text, ...rest } = await shown();
    return JSON.stringify(rest) === JSON.stringify(expected) && text.startsWith(`${number(usage.spans)} spans, `) && text.endsWith(" of 1 MiB");
  });
  assert.ok(Number((await shown()).used) > 0);
  await assertAccessible(page);
  await shoot("kept");
  await page.keyboard.press("Escape");
}

async function logs({ page, one }) {
  for (let sent = 0; (await status(one)).logs.evictedRecords === 0; sent += 1) {
    assert.ok(sent < 1000, "nothing is evicted");
    // Of bytes that do not compress.
    const noise = () => Array.from({ length: 20 }, newTrace).join("");
    await sendLogs(one, "chatty", Array.from({ length: 200 }, (_, at) => record(now(), { at, severity: "info", body: noise() })));
  }
  await page.reload();
  await page.locator("#gauge").click();
  const count = async () => {
    const { logs } = await status(one);
    return (await lost(page, "#kept")).includes(`${number(logs.evictedRecords)} log records were evicted, oldest first.`);
  };
  await until(true, count);
  await page.keyboard.press("Escape");
}

async function theSameOnSetup({ page, one }) {
  await page.goto(`${one.page}/setup`);
  await until(true, async () => {
    const { usage } = await status(one);
    return (await lost(page, "#usage"))[0]?.startsWith(`${number(usage.evictedTraces)} traces with `);
  });
}
