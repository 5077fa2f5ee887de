// Settings for those who want to send.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { assertAccessible } from "./accessible.mjs";
import { until } from "./send.mjs";

export const steps = [realPorts, copying, languages, oneSpan, whatIsKept, onAPhone];

async function realPorts({ page, one }) {
  const { ports } = await (await fetch(`${one.page}/status.json`)).json();
  await page.goto(`${one.page}/`);
  await page.getByRole("link", { name: "Setup" }).first().click();
  await page.waitForURL(`${one.page}/setup`);
  await page.getByText(`OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:${ports.otlpGrpc}`).first().waitFor();
  await page.getByText(`OTEL_EXPORTER_OTLP_ENDPOINT=${one.otlp}`).first().waitFor();
  await page.getByText(`JAEGER_ENDPOINT=http://127.0.0.1:${ports.jaegerHttp}/api/traces`).waitFor();
  await page.goto(`${one.page.replace("127.0.0.1", "localhost")}/setup`);
  await page.getByText(`OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:${ports.otlpGrpc}`).first().waitFor();
  await page.goto(`${one.page}/setup`);
}

async function copying({ page, context, one, shoot }) {
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: one.page });
  const copy = page.getByRole("button", { name: "Copy: OTLP over HTTP, JSON" });
  await copy.click();
  await until("Copied", () => copy.textContent());
  const text = await page.evaluate(() => navigator.clipboard.readText());
  assert.ok(text.includes("OTEL_EXPORTER_OTLP_PROTOCOL=http/json\n"), text);
  assert.ok(text.includes("OTEL_LOGS_EXPORTER=otlp\n"), text);
  assert.ok(text.endsWith(`OTEL_EXPORTER_OTLP_ENDPOINT=${one.otlp}`), text);
  const cut = await page.locator("#environment pre").evaluateAll((blocks) => blocks.filter((block) => block.scrollWidth > block.clientWidth).map((block) => block.textContent));
  assert.deepEqual(cut, [], "every line is seen whole");
  await shoot("setup");
}

async function languages({ page, one }) {
  await page.getByRole("tab", { name: "Rust" }).click();
  await page.getByText("SdkTracerProvider::builder()").waitFor();
  for (const [name, text] of [
    ["Node.js", "auto-instrumentations-node/register"],
    ["Python", "opentelemetry-instrument python"],
    ["Java", "-javaagent:"],
    ["Go", `OTEL_EXPORTER_OTLP_ENDPOINT=${one.otlp} go run .`],
    [".NET", "AddOtlpExporter"],
    ["Collector", "logs/tracestore:"],
  ]) {
    await page.keyboard.press("ArrowRight");
    await page.getByRole("tab", { name, selected: true }).waitFor();
    await page.getByRole("tabpanel", { name }).getByText(text).first().waitFor();
    await assertAccessible(page);
  }
  await page.reload();
  await page.getByRole("tab", { name: "Collector", selected: true }).waitFor();
}

async function oneSpan({ page, one }) {
  const command = await page.locator("#one pre").textContent();
  const { stdout } = await promisify(execFile)("sh", ["-c", command]);
  assert.equal(stdout, "{}");
  await page.goto(`${one.page}/`);
  await page.getByRole("link", { name: "curl hello" }).waitFor();
  assert.equal(await page.locator("#rows .length .value").textContent(), "250 ms");
}

async function whatIsKept({ page, one }) {
  await page.goto(`${one.page}/setup`);
  const usage = page.locator("#usage");
  await usage.getByText("Nothing was evicted yet").waitFor();
  assert.deepEqual(await usage.locator("dd").allTextContents().then((all) => all.slice(0, 2)), ["1", "1"]);
  assert.match(await usage.getByRole("meter", { name: "Memory used", exact: true }).getAttribute("aria-valuetext"), /B of 256 MiB$/);
}

async function onAPhone({ page, one, shoot }) {
  const size = page.viewportSize();
  await page.setViewportSize({ width: 380, height: 700 });
  for (const [path, content] of [
    ["/", "#rows .length"],
    ["/services", "text=curl"],
    ["/logs", "text=OTEL_EXPORTER_OTLP_ENDPOINT"],
    ["/setup", "#usage .gauge-details"],
  ]) {
    await page.goto(`${one.page}${path}`);
    await page.locator("#gauge").waitFor();
    await page.locator(content).first().waitFor();
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(width, 380, `${path} is cut off at the right`);
  }
  await shoot("phone");
  await page.setViewportSize(size);
}
