// Traces that are large, deep or wide.

import assert from "node:assert/strict";
import { attributes, MS, newTrace, now, rows, send, span, until } from "./send.mjs";

/** Rows in the document, however many there are in the trace. */
const MOST_ROWS = 200;
/** Of a heap that holds 50,000 spans; their JSON takes 20. */
const MOST_MEGABYTES = 300;
/** From the arrival of the data to the first rows; a machine that runs other tests is slower than a reader's. */
const MOST_MILLISECONDS = 5000;

export const steps = [fiftyThousand, scrolling, searching, folding, chain, ring, star];

const count = (page) => page.locator("#tree .row").count();
const open = async (page, store, trace) => {
  await page.goto(`${store.page}/trace/${trace}`);
  await page.locator("#tree .row").first().waitFor({ timeout: 60_000 });
};
const old = () => now() - 100_000n * MS;

async function fiftyThousand({ page, one }) {
  const trace = newTrace();
  const begun = old();
  const spans = Array.from({ length: 50_000 }, (_, index) => {
    const id = index + 1;
    return span(trace, begun, {
      id,
      parent: id === 1 ? 0 : Math.max(1, id - 1 - ((id * 7919) % 50)),
      name: `operation ${index % 97}`,
      at: index / 50,
      lasts: id === 1 ? 1100 : 1 + (index % 40),
      ...(index === 40_000 ? { failed: "the only one" } : {}),
      attributes: attributes({ index, "http.route": `/things/${index % 50}`, "db.query.text": "SELECT 1", user: `u${index % 1000}` }),
    });
  });
  await send(one, "large", spans);
  await open(page, one, trace);
  await page.getByText("50,000", { exact: true }).first().waitFor();
  const took = await page.evaluate(() => performance.getEntriesByName("shown")[0].startTime - performance.getEntriesByName("arrived")[0].startTime);
  assert.ok(took < MOST_MILLISECONDS, `${took} ms`);
  assert.ok((await count(page)) < MOST_ROWS);
  const heap = await page.evaluate(() => {
    gc();
    return performance.memory.usedJSHeapSize / 1e6;
  });
  assert.ok(heap < MOST_MEGABYTES, `${heap} MB`);
  console.log(`50,000 spans: first rows ${took.toFixed(0)} ms after the data, ${heap.toFixed(0)} MB`);
}

async function scrolling({ page }) {
  await page.evaluate(async () => {
    const tree = document.getElementById("tree");
    for (let at = 0; at < 50; at++) {
      tree.scrollTop = (tree.scrollHeight * at) / 50;
      await new Promise(requestAnimationFrame);
    }
  });
  assert.ok((await count(page)) < MOST_ROWS);
  const visible = await page.evaluate(() => {
    const box = document.getElementById("tree").getBoundingClientRect();
    return document.elementFromPoint(box.left + 100, box.top + 200)?.closest(".row") !== null;
  });
  assert.ok(visible, "rows are where one scrolls to");
  await page.keyboard.press("End");
  const last = page.locator("#tree .row[aria-selected=true]");
  assert.equal(await last.evaluate((node) => node.index), 49_999);
  assert.ok(await last.evaluate((node) => node.getBoundingClientRect().bottom <= innerHeight));
}

async function searching({ page }) {
  await page.keyboard.press("n");
  await until("error", () => page.locator("#tree .row[aria-selected=true] .error").textContent());
  await page.getByLabel("Find in this trace").fill("user=u999");
  await until("50 matches", () => page.locator("#found").textContent(), 30_000);
  await page.getByLabel("Find in this trace").press("Escape");
}

async function folding({ page }) {
  await page.getByRole("button", { name: "Collapse all" }).click();
  assert.equal(await count(page), 1);
  assert.equal(await page.locator(".hidden-below").textContent(), "+49,999");
  await page.getByText("1 error", { exact: true }).first().waitFor();
  await page.getByRole("button", { name: "Expand all" }).click();
  assert.ok((await count(page)) > 10);
}

async function chain({ page, one }) {
  const trace = newTrace();
  const begun = old();
  await send(one, "chain", Array.from({ length: 10_000 }, (_, at) => span(trace, begun, { id: at + 1, parent: at, name: `level ${at}`, at: at / 1000, lasts: (20_000 - at) / 1000 })));
  await open(page, one, trace);
  await page.keyboard.press("End");
  const last = page.locator("#tree .row[aria-selected=true]");
  assert.equal(await last.getAttribute("aria-level"), "10000");
  assert.ok((await last.locator(".name").boundingBox()).width > 60, "its name has room");
  await page.keyboard.press("c");
  assert.deepEqual(await rows(page), ["level 0"]);
  await page.keyboard.press("5");
  assert.equal(await count(page), 5);
}

async function ring({ page, one }) {
  const trace = newTrace();
  const begun = old();
  await send(one, "ring", Array.from({ length: 1000 }, (_, at) => span(trace, begun, { id: at + 1, parent: at === 0 ? 1000 : at, name: `ring ${at}`, at: at / 1000 })));
  await open(page, one, trace);
  await page.getByText("1 chain of parents is a circle").waitFor();
  assert.equal((await rows(page))[0], "ring 0");
  await page.keyboard.press("End");
  assert.equal(await page.locator("#tree .row[aria-selected=true]").getAttribute("aria-level"), "1000");
}

async function star({ page, one }) {
  const trace = newTrace();
  const begun = old();
  await send(one, "star", Array.from({ length: 20_000 }, (_, at) => span(trace, begun, { id: at + 1, parent: at === 0 ? 0 : 1, name: `ray ${at}`, at: at / 1000 })));
  await open(page, one, trace);
  await page.keyboard.press("End");
  assert.equal(await page.locator("#tree .row[aria-selected=true] .name").textContent(), "ray 19999");
  assert.ok((await count(page)) < MOST_ROWS);
}
