// Four clicks from a chart to the line of a log that says why: what the playground has sent to a lab. `SLOW` in the environment
// has the ids of its slow traces, as its summary lists them.

import assert from "node:assert/strict";
import { assertAccessible } from "./accessible.mjs";
import { until } from "./send.mjs";

const slowTraces = process.env.SLOW.split(",");
const WHY = "sales.sold has no index, so every row is read";

export const steps = [fourClicks, pictures, narrow, logsOfAService];

async function fourClicks({ page, one, shoot }) {
  let clicks = 0;
  const click = async (what) => {
    await what.click();
    clicks++;
  };
  // All time begins with the first span here, so that the charts are full.
  await page.goto(`${one.page}/services?range=all`);
  await click(page.getByRole("link", { name: "playground", exact: true }));
  // What it would point at covers dots.
  await page.mouse.move(5, 5);
  const slow = page.locator("#durations .exemplar").and(page.getByRole("link", { name: /, 1\.[2-9]\d* s$/ }));
  await slow.first().waitFor();
  await shoot("four-1-chart");
  // One that no other lies upon. The chart is drawn anew now and then, and another dot may be there by then.
  await until(true, async () => {
    const onTop = await slow.evaluateAll((dots) => dots.findIndex((dot) => {
      const { x, y, width, height } = dot.getBoundingClientRect();
      return document.elementFromPoint(x + width / 2, y + height / 2) === dot;
    }));
    return onTop >= 0 && slow.nth(onTop).click({ timeout: 2000 }).then(() => true, () => false);
  });
  clicks++;
  await page.waitForURL("**/trace/*");
  assert.ok(slowTraces.some((id) => page.url().includes(id)), `${page.url()} is none of ${slowTraces}`);
  const span = page.locator("#tree .row", { hasText: "database SELECT sales" });
  await span.locator(".log-mark[data-severity=warn]").waitFor();
  await shoot("four-2-trace");
  await click(span);
  const said = page.locator("#details .said");
  await until([WHY], () => said.allTextContents());
  await shoot("four-3-span");
  await click(said);
  await page.locator("#details .value").getByText("playground::database").waitFor();
  assert.equal(clicks, 4);
  await assertAccessible(page);
  await shoot("four-4-log");
}

/** On a small screen nothing is wider than it. */
async function narrow({ page, one, shoot }) {
  const trace = page.url();
  const size = page.viewportSize();
  await page.setViewportSize({ width: 600, height: 900 });
  for (const [name, url] of [["services", `${one.page}/services?range=all`], ["service", `${one.page}/services?range=all&service=playground`], ["logs", `${one.page}/logs?service=playground&range=1h`], ["trace", trace]]) {
    await page.goto(url);
    await page.locator("#rows tr, #rows .record, #tree .row").first().waitFor();
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wider <= 0, `${name} is ${wider} pixels too wide`);
    await shoot(`narrow-${name}`);
  }
  await page.setViewportSize(size);
}

/** The other way: from a service to all of its logs. */
async function logsOfAService({ page, one, shoot }) {
  await page.goto(`${one.page}/services?service=playground&range=1h`);
  await page.locator("#links").getByRole("link", { name: "Logs" }).click();
  await page.waitForURL("**/logs?service=playground&range=1h");
  await until(["playground"], async () => [...new Set(await page.locator("#rows .service").allTextContents())]);
  await shoot("four-5-logs");
}

/** As README.org shows them. */
async function pictures({ page, one, screenshots }) {
  await page.emulateMedia({ colorScheme: "light" });
  const trace = page.url();
  await page.setViewportSize({ width: 1180, height: 740 });
  await page.goto(`${one.page}/services?range=all&service=playground`);
  await page.locator("#durations .exemplar").first().waitFor();
  await page.mouse.move(5, 5);
  await page.screenshot({ path: `${screenshots}/services.png` });
  await page.setViewportSize({ width: 1180, height: 560 });
  await page.goto(trace);
  await page.reload();
  await page.locator("#details .record").first().waitFor();
  await page.screenshot({ path: `${screenshots}/logs.png` });
  await page.goto(`${one.page}/?q=${encodeURIComponent('{ resource.service.name = "playground" && span.http.request.resend_count > 0 }')}`);
  await page.locator("#rows tr").first().waitFor();
  await page.mouse.move(5, 5);
  await page.screenshot({ path: `${screenshots}/playground.png` });
  await page.goto(trace);
  await page.locator("#details .record").first().waitFor();
}
