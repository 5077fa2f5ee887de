// The pickers, on a server that searches.

import assert from "node:assert/strict";
import { attributes, newTrace, now, send, sendShop, span, until } from "./send.mjs";

const names = (page) => page.locator("#rows .name").allTextContents();
const query = (page) => new URL(page.url()).searchParams.get("q");
const pick = async (page, label, text) => {
  const field = page.getByLabel(label, { exact: true });
  await field.fill(text);
  await field.press("Enter");
};
const completions = (page, list) => page.locator(`#${list} option`).evaluateAll((options) => options.map((option) => option.value));

export const steps = [setUp, service, operation, errors, durations, attribute, quoting, typed, stages, fromDetails];

async function setUp({ page, one }) {
  await sendShop(one);
  for (const [name, lasts, pairs] of [
    ["slow", 3000, { "http.route": "/slow", count: 7 }],
    ["fast", 2, { "http.route": "/fast", count: 8, ok: true, digits: "8" }],
    ['say "hi" \\ bye', 5, { 'odd key"': "a b" }],
  ]) await send(one, "lonely", [span(newTrace(), now(), { id: 1, name, lasts, attributes: attributes(pairs) })]);
  await page.goto(one.page);
  await until(4, () => page.locator("#rows tr").count());
}

async function service({ page }) {
  await page.getByLabel("Service", { exact: true }).focus();
  await until(["cart", "edge", "lonely", "payment"], async () => (await completions(page, "services")).sort());
  await pick(page, "Service", "payment");
  await until(["GET"], () => names(page));
  assert.equal(query(page), '{ resource.service.name = "payment" }');
  await page.reload();
  await until(["GET"], () => names(page));
  assert.equal(await page.getByLabel("Service", { exact: true }).inputValue(), "payment");
  await page.goBack();
  await until(4, () => page.locator("#rows tr").count());
  assert.equal(await page.getByLabel("Service", { exact: true }).inputValue(), "");
}

async function operation({ page }) {
  await pick(page, "Service", "cart");
  await page.getByLabel("Operation", { exact: true }).focus();
  await until(["SELECT prices", "SELECT stock", "checkout", "read cart"], async () => (await completions(page, "operations")).sort());
  await pick(page, "Operation", "checkout");
  assert.equal(query(page), '{ resource.service.name = "cart" && name = "checkout" }');
  await until(["GET"], () => names(page));
  await pick(page, "Operation", "charge");
  await page.getByRole("heading", { name: "Nothing found" }).waitFor();
  await page.getByRole("button", { name: "Clear" }).click();
  await until(4, () => page.locator("#rows tr").count());
}

async function errors({ page }) {
  await page.getByRole("radio", { name: "Errors" }).check();
  await until(["GET"], () => names(page));
  assert.equal(query(page), "{ status = error }");
  await page.getByRole("radio", { name: "Any" }).check();
  await until(4, () => page.locator("#rows tr").count());
}

async function durations({ page }) {
  await pick(page, "Minimum duration", "1.5 s");
  await until(["slow"], () => names(page));
  assert.equal(query(page), "{ duration >= 1.5s }");
  await pick(page, "Minimum duration", "");
  await pick(page, "Maximum duration", "3");
  await until(["fast"], () => names(page));
  assert.equal(query(page), "{ duration <= 3ms }");
  await page.getByRole("button", { name: "Clear" }).click();
}

async function attribute({ page }) {
  await page.getByRole("button", { name: "+ Attribute" }).click();
  await until(true, async () => (await completions(page, "keys")).includes("span.http.route"));
  await pick(page, "Attribute", "span.count");
  await page.getByLabel("Operator").selectOption(">=");
  await pick(page, "Value", "8");
  await until(["fast"], () => names(page));
  assert.equal(query(page), "{ span.count >= 8 }");
  await page.getByRole("button", { name: "+ Attribute" }).click();
  await page.getByLabel("Attribute", { exact: true }).nth(1).fill("span.digits");
  await page.getByLabel("Value", { exact: true }).nth(1).focus();
  await until(true, async () => (await page.locator(".attribute").nth(1).locator("datalist option").count()) > 0);
  await page.getByLabel("Value", { exact: true }).nth(1).fill("8");
  await page.getByLabel("Value", { exact: true }).nth(1).press("Enter");
  assert.equal(query(page), '{ span.count >= 8 && span.digits = "8" }', "a string that looks like a number stays one");
  await until(["fast"], () => names(page));
  await page.reload();
  assert.equal(await page.getByLabel("Attribute", { exact: true }).nth(1).inputValue(), "span.digits");
  await page.getByRole("button", { name: "Remove" }).first().click();
  assert.equal(query(page), '{ span.digits = "8" }');
  await page.getByRole("button", { name: "Clear" }).click();
}

async function quoting({ page }) {
  await pick(page, "Operation", 'say "hi" \\ bye');
  assert.equal(query(page), '{ name = "say \\"hi\\" \\\\ bye" }');
  await until(['say "hi" \\ bye'], () => names(page));
  await page.reload();
  assert.equal(await page.getByLabel("Operation", { exact: true }).inputValue(), 'say "hi" \\ bye');
  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByRole("button", { name: "+ Attribute" }).click();
  await pick(page, "Attribute", 'span.odd key"');
  await pick(page, "Value", "a b");
  assert.equal(query(page), '{ span."odd key\\"" = "a b" }');
  await until(['say "hi" \\ bye'], () => names(page));
  await page.getByRole("button", { name: "Clear" }).click();
}

async function typed({ page }) {
  await pick(page, "TraceQL", '{ name = "slow" || name = "fast" }');
  await until(["fast", "slow"], () => names(page));
  await page.getByRole("radio", { name: "15 min" }).check();
  assert.equal(query(page), '{ name = "slow" || name = "fast" }', "the time is not part of the query");
  await until(["fast", "slow"], () => names(page));
  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByRole("radio", { name: "All" }).check();
}

async function stages({ page }) {
  const box = page.getByLabel("TraceQL");
  const service = page.getByLabel("Service", { exact: true });
  await pick(page, "TraceQL", '{ resource.service.name = "cart" } | count() > 3');
  await until(["GET"], () => names(page));
  assert.equal(await service.inputValue(), "cart", "the pickers show what is before the stages");
  await pick(page, "Service", "payment");
  assert.equal(await box.inputValue(), '{ resource.service.name = "payment" } | count() > 3', "and keep the stages");
  await page.getByRole("heading", { name: "Nothing found" }).waitFor();
  await pick(page, "TraceQL", '{ name = "GET" } >> { name = "charge" }');
  await until(["GET"], () => names(page));
  assert.equal(await service.inputValue(), "", "what the pickers cannot say they leave aside");
  await page.getByText("Written by hand").waitFor();
  for (const same of ['{ name = "a\\x41" }', "{ span.n = 2*3 }", "{ duration >= 5 }", "{ name = `a` }"]) {
    await pick(page, "TraceQL", same);
    assert.equal(query(page), same);
    await page.getByRole("radio", { name: "Errors" }).check();
    const kept = query(page);
    assert.ok(kept === "{ status = error }" || kept.includes(same.slice(2, -2)), `${same} became ${kept}`);
    await page.getByRole("button", { name: "Clear" }).click();
  }
}

async function fromDetails({ page }) {
  await page.getByRole("link", { name: "lonely fast" }).click();
  await page.locator("#tree .row").click();
  await page.getByRole("link", { name: "Find traces with this http.route" }).click();
  await until(["fast"], () => names(page));
  assert.equal(query(page), '{ span.http.route = "/fast" }');
}
