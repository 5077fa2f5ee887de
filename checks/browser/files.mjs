// Traces to and from files.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { attributes, newTrace, now, send, sendShop, span, spanId, until } from "./send.mjs";

let trace = "";
let file = "";

const apiTrace = async (store, id) => (await fetch(`${store.page}/api/v2/traces/${id}`)).json();
const result = (page) => page.locator("#upload-text");
const upload = (page, name, text) => page.locator("#file").setInputFiles({ name, mimeType: "application/json", buffer: Buffer.from(text) });

export const steps = [download, otherReceivers, uploadIt, dropIt, refusals, largeFile];

async function download({ page, one }) {
  trace = await sendShop(one);
  await page.goto(`${one.page}/trace/${trace}`);
  await page.locator("#tree .row").nth(6).waitFor();
  const [downloaded] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
  assert.equal(downloaded.suggestedFilename(), `trace-${trace}.json`);
  file = await readFile(await downloaded.path(), "utf8");
  const spans = JSON.parse(file).resourceSpans.flatMap((group) => group.scopeSpans.flatMap((scoped) => scoped.spans));
  assert.equal(spans.length, 7);
  const charge = spans.find((each) => each.name === "charge");
  assert.deepEqual([charge.traceId, charge.spanId, charge.parentSpanId, charge.kind, charge.status.code], [trace, spanId(6), spanId(2), 2, 2]);
  assert.equal(charge.links[0].traceId, "0af7651916cd43dd8448eb211c80319c");
}

async function otherReceivers({ one }) {
  const answer = await fetch(`${one.otlp}/v1/traces`, { method: "POST", headers: { "content-type": "application/json" }, body: file });
  assert.equal(answer.status, 200);
  assert.deepEqual(await answer.json(), {});
}

async function uploadIt({ page, one, other }) {
  await page.goto(other.page);
  await page.getByRole("heading", { name: "No traces yet" }).waitFor();
  const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.getByRole("button", { name: "Upload" }).click()]);
  await chooser.setFiles({ name: "shop.json", mimeType: "application/json", buffer: Buffer.from(file) });
  await page.getByText("Imported 7 spans of 1 trace from shop.json.").waitFor();
  assert.deepEqual(await apiTrace(other, trace), await apiTrace(one, trace));
  await page.locator("#rows tr").first().waitFor();
  await page.locator("#uploaded").getByRole("link", { name: `Open ${trace.slice(0, 8)}` }).click();
  await page.waitForURL(`${other.page}/trace/${trace}`);
  await page.locator("#tree .row").nth(6).waitFor();
}

async function dropIt({ page, one, other }) {
  // What the API answers is a file that people have too.
  const second = await sendShop(one);
  const text = JSON.stringify(await apiTrace(one, second));
  await page.goto(other.page);
  await page.locator("#rows tr").first().waitFor();
  const dropped = await page.evaluateHandle((text) => {
    const data = new DataTransfer();
    data.items.add(new File([text], "dropped.json"));
    return data;
  }, text);
  await page.dispatchEvent("body", "dragenter", { dataTransfer: dropped });
  await page.getByText("Drop OTLP JSON to import it").waitFor();
  await page.dispatchEvent("body", "drop", { dataTransfer: dropped });
  await page.getByText("Imported 7 spans of 1 trace from dropped.json.").waitFor();
  assert.ok(await page.getByText("Drop OTLP JSON to import it").isHidden());
  assert.deepEqual(await apiTrace(other, second), await apiTrace(one, second));
}

async function refusals({ page }) {
  const says = async (name, text, expected) => {
    await upload(page, name, text);
    await until(true, async () => expected.test(await result(page).textContent()));
  };
  await says("text.json", "no JSON <b>at all</b>", /^text\.json was not imported: it is not JSON: /);
  await says("other.json", '{"data": []}', /^other\.json was not imported: it has no resourceSpans/);
  await says("empty.json", '{"resourceSpans": []}', /^empty\.json was not imported: it has no spans$/);
  await says("wrong.json", '{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 7}]}]}]}', /^wrong\.json was not imported: .+/);
  const good = span(newTrace(), now(), { id: 1, name: "good" });
  const bad = { ...span(newTrace(), now(), { id: 2, name: "bad" }), traceId: "0".repeat(32) };
  await says("partly.json", JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [good, bad] }] }] }), /^Imported 1 span of \d traces? from partly\.json\. 1 span was refused: .+\./);
  const lines = [good, span(newTrace(), now(), { id: 1, name: "second line" })].map((each) => JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [each] }] }] }));
  await says("lines.jsonl", `${lines.join("\n")}\n`, /^Imported 2 spans of 2 traces from lines\.jsonl\./);
}

/** Larger than what the server takes at once. */
async function largeFile({ page, one, other }) {
  const large = newTrace();
  const begun = now();
  const pad = "x".repeat(4000);
  const spans = Array.from({ length: 5000 }, (_, at) => span(large, begun, { id: at + 1, parent: at === 0 ? 0 : 1, name: `span ${at}`, at, attributes: attributes({ pad }) }));
  await send(one, "large", spans, 1000);
  await page.goto(`${one.page}/trace/${large}`);
  await page.locator("#tree .row").nth(5).waitFor({ timeout: 60_000 });
  const [downloaded] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
  const path = await downloaded.path();
  await page.goto(other.page);
  await page.locator("#rows tr").first().waitFor();
  await page.locator("#file").setInputFiles(path);
  await until(true, async () => /^Imported 5,000 spans of 1 trace/.test(await result(page).textContent()), 60_000);
  const [sent, arrived] = await Promise.all([one, other].map((store) => apiTrace(store, large)));
  assert.deepEqual(arrived, sent);
}
