// Four clicks from a chart to the line of a log that says why.

import assert from "node:assert/strict";
import { assertAccessible } from "./accessible.mjs";
import { attributes, MS, newTrace, now, record, send, sendLogs, span, until } from "./send.mjs";

const [INTERNAL, SERVER, CLIENT] = [1, 2, 3];
const SECOND = 1000n * MS;

export const steps = [slowService, fourClicks, pictures, logsOfAService];

/** Fourteen minutes of a shop whose database held a lock for too long, some minutes ago. */
async function slowService({ one }) {
  const spans = { edge: [], shop: [], mailer: [] };
  const logs = { edge: [], shop: [] };
  for (let index = 0; index < 700; index++) {
    const trace = newTrace();
    // Any numbers, the same each time.
    const any = (index * 7919) % 101;
    const begun = now() - BigInt(8 + Math.round(index * 1.2 + any / 8)) * SECOND;
    const at = (fields) => span(trace, begun, fields);
    const say = (service, fields) => logs[service].push(record(begun, { trace, ...fields }));
    const isSlow = index > 230 && index < 330 && any % 4 === 0;
    const took = isSlow ? 1520 + any * 4 : 20 + any * (any % 7 === 0 ? 3 : 1);
    const name = any % 3 === 0 ? "POST /checkout" : "GET /stock";
    const declined = name.startsWith("POST") && index % 13 === 5 ? "card declined" : undefined;
    spans.edge.push(at({ id: 1, name: name.split(" ")[0], lasts: took + 20, kind: SERVER, attributes: attributes({ "server.address": "shop.localhost", "url.path": name.split(" ")[1] }) }));
    spans.shop.push(
      at({ id: 2, parent: 1, name, at: 4, lasts: took + 12, kind: SERVER, failed: declined, attributes: attributes({ "http.route": name.split(" ")[1] }) }),
      at({ id: 3, parent: 2, name: "read session", at: 5, lasts: 2, kind: INTERNAL }),
      at({ id: 4, parent: 2, name: "UPDATE stock", at: 9, lasts: took, kind: CLIENT, attributes: attributes({ "db.system.name": "postgresql" }) }),
    );
    if (name.startsWith("POST")) spans.mailer.push(at({ id: 5, parent: 2, name: "mail receipt", at: took + 13, lasts: 3, kind: 5 }));
    say("edge", { span: 1, at: 1, severity: "debug", body: `${name} for shop.localhost` });
    say("shop", { span: 2, at: 6, severity: "info", body: `session of u-${1000 + index} is known`, pairs: { "user.id": `u-${1000 + index}` } });
    if (declined) say("shop", { span: 2, at: took + 10, severity: "error", body: declined });
    if (isSlow) {
      say("shop", { span: 4, at: 1010, severity: "warn", body: "waiting for the lock of stock", pairs: { "db.collection.name": "stock", "lock.holder": "nightly-report" } });
      say("shop", { span: 4, at: took + 8, severity: "info", body: `got the lock after ${took} ms`, pairs: { "db.collection.name": "stock" } });
    }
  }
  for (const [service, sent] of Object.entries(spans)) await send(one, service, sent);
  for (const [service, sent] of Object.entries(logs)) await sendLogs(one, service, sent);
}

async function fourClicks({ page, one, shoot }) {
  let clicks = 0;
  const click = async (what) => {
    await what.click();
    clicks++;
  };
  await page.goto(`${one.page}/services`);
  await click(page.getByRole("link", { name: "shop", exact: true }));
  const slow = page.locator("#durations .exemplar").and(page.getByRole("link", { name: /, 1\.[5-9]\d s$/ }));
  await slow.first().waitFor();
  await shoot("four-1-chart");
  // One that no other lies upon.
  const href = await slow.evaluateAll((dots) => {
    const isOnTop = (dot) => {
      const { x, y, width, height } = dot.getBoundingClientRect();
      return document.elementFromPoint(x + width / 2, y + height / 2) === dot;
    };
    return dots.find(isOnTop).getAttribute("href");
  });
  await click(page.locator(`#durations .exemplar[href="${href}"]`));
  await page.waitForURL(`**${href}`);
  const span = page.locator("#tree .row", { hasText: "UPDATE stock" });
  await span.locator(".log-mark[data-severity=warn]").waitFor();
  await shoot("four-2-trace");
  await click(span);
  const said = page.locator("#details .said");
  await until(true, async () => /^waiting for the lock of stock,got the lock after 1\d\d\d ms$/.test((await said.allTextContents()).join()));
  await shoot("four-3-span");
  await click(said.first());
  await page.locator("#details .value").getByText("nightly-report").waitFor();
  assert.equal(clicks, 4);
  await assertAccessible(page);
  await shoot("four-4-log");
}

/** The other way: from a service to all of its logs. */
async function logsOfAService({ page, one }) {
  await page.goto(`${one.page}/services?service=shop&range=1h`);
  await page.locator("#links").getByRole("link", { name: "Logs" }).click();
  await page.waitForURL("**/logs?service=shop&range=1h");
  await until(["shop"], async () => [...new Set(await page.locator("#rows .service").allTextContents())]);
}

/** As README.org shows them. */
async function pictures({ page, one, screenshots }) {
  await page.emulateMedia({ colorScheme: "light" });
  const trace = page.url();
  await page.setViewportSize({ width: 1180, height: 740 });
  await page.goto(`${one.page}/services?service=shop`);
  await page.locator("#durations .exemplar").first().waitFor();
  await page.mouse.move(5, 5);
  await page.screenshot({ path: `${screenshots}/services.png` });
  await page.setViewportSize({ width: 1180, height: 560 });
  await page.goto(trace);
  await page.reload();
  await page.locator("#details .record").first().waitFor();
  await page.screenshot({ path: `${screenshots}/logs.png` });
}
