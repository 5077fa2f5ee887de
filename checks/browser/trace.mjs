// One trace.

import assert from "node:assert/strict";
import { assertAccessible } from "./accessible.mjs";
import { attributes, MS, newTrace, now, rows, send, sendShop, span, spanId, until } from "./send.mjs";

const ALL = ["GET", "checkout", "read cart", "SELECT prices", "SELECT stock", "charge", "POST bank"];
let trace = "";

const current = async (page) => {
  const row = page.locator("#tree .row[aria-selected=true]");
  return (await row.count()) === 0 ? null : row.locator(".name").textContent();
};
const press = async (page, ...keys) => {
  for (const key of keys) await page.keyboard.press(key);
};

export const steps = [waterfall, keyboard, details, width, deepLink, collapse, errors, find, zoom, help, lateSpans, oddities, markup];

async function waterfall({ page, one }) {
  trace = await sendShop(one);
  await page.goto(`${one.page}/trace/${trace}`);
  await until(ALL, () => rows(page));
  await page.getByRole("heading", { level: 1 }).getByText("shop.localhost/checkout").waitFor();
  assert.deepEqual(await page.locator("#facts dd").first().evaluate(() => [...document.querySelectorAll("#facts dt")].map((node) => node.textContent)),
    ["Started", "Duration", "Spans", "Errors", "Depth", "3 services"]);
  assert.equal(await page.locator("#tree .row[aria-level='4']").getAttribute("aria-label"), "payment POST bank, client, 200 ms");
  assert.equal(await page.locator("#tree .failed").count(), 2);
  assert.equal(await page.locator("#tree .event.exception").count(), 1);
  const widths = await page.locator("#tree .bar").evaluateAll((bars) => bars.map((bar) => Number.parseFloat(bar.style.width).toFixed(1)));
  assert.ok(widths.includes("100.0") && widths.includes("50.0"), `${widths}`);
  await assertAccessible(page);
}

async function keyboard({ page }) {
  await press(page, "j", "ArrowDown", "j");
  assert.equal(await current(page), "read cart");
  assert.equal(new URL(page.url()).hash, `#${spanId(3)}`);
  await press(page, "k");
  assert.equal(await current(page), "checkout");
  await press(page, "End");
  assert.equal(await current(page), "POST bank");
  await press(page, "ArrowLeft");
  assert.equal(await current(page), "charge");
  await press(page, "Home");
  assert.equal(await current(page), "GET");
  const active = await page.locator("#tree").getAttribute("aria-activedescendant");
  assert.equal(await page.locator(`#${active} .name`).textContent(), "GET");
}

async function details({ page, shoot }) {
  const panel = page.locator("#details");
  await press(page, "j", "Enter");
  await panel.getByText("payment failed").waitFor();
  assert.equal(await panel.locator("tr", { hasText: "user.id" }).locator(".value").textContent(), "u-1337");
  assert.equal(await panel.locator("tr", { hasText: "items" }).locator(".value").textContent(), "3");
  await press(page, "End", "k");
  await panel.getByText("card declined").waitFor();
  await panel.getByText("exception.type").waitFor();
  const link = panel.getByRole("link", { name: "0af7651916cd43dd8448eb211c80319c" });
  assert.equal(await link.getAttribute("href"), "/trace/0af7651916cd43dd8448eb211c80319c#b7ad6b7169203331");
  assert.equal(await panel.getByRole("link", { name: "Find traces with this service.name" }).getAttribute("href"), `/?${new URLSearchParams({ q: '{ resource.service.name = "payment" }' })}`);
  await shoot("trace");
  await panel.getByRole("button", { name: spanId(2), exact: true }).click();
  assert.equal(await current(page), "checkout");
  await assertAccessible(page);
  await press(page, "Escape");
  assert.ok(await panel.isHidden());
}

async function width({ page }) {
  const panel = page.locator("#details");
  const wide = async () => Math.round((await panel.boundingBox()).width);
  const line = page.getByRole("separator", { name: "Width of the details" });
  await page.locator("#tree").focus();
  if (await panel.isHidden()) await press(page, "Enter");
  const before = await wide();
  const place = await line.boundingBox();
  await page.mouse.move(place.x + 4, place.y + 200);
  await page.mouse.down();
  await page.mouse.move(place.x - 96, place.y + 200, { steps: 4 });
  await page.mouse.up();
  assert.ok(Math.abs((await wide()) - before - 100) <= 8, `${before} became ${await wide()}`);
  await line.focus();
  await line.press("ArrowRight");
  const after = await wide();
  assert.ok(after < before + 92, "the keyboard moves it too");
  await page.reload();
  await panel.getByRole("heading", { level: 2 }).waitFor();
  assert.equal(await wide(), after, "remembered");
  await press(page, "Escape");
}

async function deepLink({ page, one }) {
  await page.getByText("SELECT stock").click();
  assert.equal(new URL(page.url()).hash, `#${spanId(5)}`);
  await page.reload();
  await page.locator("#details").getByRole("heading", { name: "SELECT stock" }).waitFor();
  assert.equal(await current(page), "SELECT stock");
  await page.goto(`${one.page}/trace/${trace}#${spanId(7)}`);
  await until("POST bank", () => current(page));
  await press(page, "Escape");
}

async function collapse({ page }) {
  await press(page, "Home", "j", "ArrowLeft");
  assert.deepEqual(await rows(page), ["GET", "checkout"]);
  assert.equal(await page.locator(".hidden-below").textContent(), "+5");
  assert.equal(await page.locator("#tree .row[aria-expanded=false]").count(), 1);
  await press(page, "ArrowRight");
  assert.deepEqual(await rows(page), ALL);
  await page.locator("#tree .row", { hasText: "charge" }).locator(".toggle").click();
  assert.deepEqual(await rows(page), ALL.slice(0, 6));
  await page.getByRole("button", { name: "Collapse all" }).click();
  assert.deepEqual(await rows(page), ["GET"]);
  await page.getByRole("button", { name: "Show a level more" }).click();
  await page.getByText("2 of 4 levels").waitFor();
  assert.deepEqual(await rows(page), ["GET", "checkout"]);
  await press(page, "3");
  assert.deepEqual(await rows(page), ALL.slice(0, 6));
  await page.getByRole("button", { name: "Expand all" }).click();
  assert.deepEqual(await rows(page), ALL);
}

async function errors({ page }) {
  await press(page, "c", "Home", "n");
  assert.equal(await current(page), "checkout", "an error that was hidden shows");
  await press(page, "n");
  assert.equal(await current(page), "charge");
  await press(page, "n");
  assert.equal(await current(page), "checkout", "round and round");
  await press(page, "p");
  assert.equal(await current(page), "charge");
  await page.getByRole("button", { name: "Previous error" }).click();
  assert.equal(await current(page), "checkout");
  await press(page, "e");
}

async function find({ page }) {
  const field = page.getByLabel("Find in this trace");
  const found = page.locator("#found");
  const search = async (text, expected) => {
    await field.fill(text);
    await until(expected, () => found.textContent());
  };
  await press(page, "/");
  await search("SELECT", "2 matches");
  await search("POSTGRESQL", "2 matches");
  await search("db.system.name=redis", "1 match");
  await search("card declined", "1 match");
  await search("payment", "1 of 3");
  await search("Declined", "1 match");
  await search("nowhere", "no match");
  await page.getByRole("button", { name: "Collapse all" }).click();
  await search("postgres", "2 matches");
  await field.press("Enter");
  assert.equal(await current(page), "SELECT prices");
  assert.equal(await found.textContent(), "1 of 2");
  await page.getByRole("button", { name: "Next match" }).click();
  assert.equal(await current(page), "SELECT stock");
  await field.press("Shift+Enter");
  assert.equal(await current(page), "SELECT prices");
  assert.equal(await page.locator("#tree .match").count(), 2);
  await assertAccessible(page);
  await field.press("Escape");
  assert.equal(await page.locator("#tree .match").count(), 0);
  await press(page, "j");
  assert.equal(await current(page), "SELECT stock", "the keys are those of the tree again");
}

async function zoom({ page }) {
  const width = () => page.locator("#tree .row", { hasText: "SELECT prices" }).locator(".bar").evaluate((bar) => Number.parseFloat(bar.style.width));
  const reset = page.getByRole("button", { name: "Reset zoom" });
  const before = await width();
  assert.ok(await reset.isDisabled());
  const box = await page.locator("#overview").boundingBox();
  await page.mouse.move(box.x + box.width * 0.1, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.2, box.y + 20);
  await page.mouse.move(box.x + box.width * 0.3, box.y + 20);
  await page.mouse.up();
  const after = await width();
  assert.ok(after > 4.5 * before && after < 5.5 * before, `${before} ${after}`);
  assert.ok((await page.locator(".tick").allTextContents()).includes("60 ms"));
  await page.locator("#tree .beyond.after").first().waitFor();
  await reset.click();
  assert.equal(await width(), before);
  await press(page, "Home", "j", "j", "j", "z");
  assert.ok((await width()) > 85);
  await press(page, "-", "-");
  assert.ok((await width()) < 50);
  await press(page, "0");
  assert.equal(await width(), before);
  await page.getByRole("slider", { name: "Start of the part" }).press("ArrowRight");
  assert.ok((await width()) > before);
  await page.locator("#overview").dblclick();
  assert.equal(await width(), before);
}

async function help({ page }) {
  await press(page, "?");
  const dialog = page.getByRole("dialog", { name: "Keys" });
  await dialog.getByText("Next and previous error").waitFor();
  const before = await current(page);
  await press(page, "j");
  assert.equal(await current(page), before, "keys do nothing behind the dialog");
  await assertAccessible(page);
  await press(page, "Escape");
  assert.ok(await dialog.isHidden());
}

async function lateSpans({ page, one }) {
  const growing = newTrace();
  const begun = now() - 100n * MS;
  await page.goto(`${one.page}/trace/${growing}`);
  await page.getByText("Not here yet, still looking").waitFor();
  await send(one, "late", [
    span(growing, begun, { id: 2, parent: 1, name: "child", at: 10, lasts: 50 }),
    span(growing, begun, { id: 3, parent: 2, name: "grandchild", at: 20, lasts: 20 }),
  ]);
  await until(["child", "grandchild"], () => rows(page));
  await page.getByText("1 span has a parent that is not here").waitFor();
  await press(page, "Home", "ArrowLeft");
  await send(one, "late", [
    span(growing, begun, { id: 1, name: "root", lasts: 100 }),
    span(growing, begun, { id: 4, parent: 1, name: "second", at: 70, lasts: 20 }),
  ]);
  await until(["root", "child", "second"], () => rows(page));
  assert.equal(await current(page), "child", "still selected");
  assert.ok(await page.locator("#details").isHidden(), "still closed");
  assert.ok(await page.locator("#warnings").isHidden());
}

async function oddities({ page, one }) {
  const odd = newTrace();
  const begun = now() - 100_000n * MS;
  const at = (fields) => span(odd, begun, fields);
  await send(one, "odd", [
    at({ id: 1, name: "root", lasts: 50 }),
    at({ id: 2, name: "another root", at: 10 }),
    at({ id: 3, parent: 99, name: "orphan", at: 20 }),
    at({ id: 4, parent: 5, name: "circle one", at: 21 }),
    at({ id: 5, parent: 6, name: "circle two", at: 22 }),
    at({ id: 6, parent: 4, name: "circle three", at: 23 }),
    at({ id: 7, parent: 7, name: "its own parent", at: 24 }),
    at({ id: 1, name: "the same id", at: 25 }),
    { ...at({ id: 8, parent: 1, name: "no times" }), startTimeUnixNano: "0", endTimeUnixNano: "0" },
  ]);
  await send(one, "behind", [at({ id: 9, parent: 2, name: "clock is behind", at: 4 })]);
  await page.goto(`${one.page}/trace/${odd}`);
  await until(
    ["root", "no times", "another root", "clock is behind", "orphan", "its own parent", "the same id", "circle one", "circle three", "circle two"],
    () => rows(page),
  );
  const warnings = await page.locator("#warnings li span").allTextContents();
  for (const part of ["1 span has a parent that is not here", "2 chains of parents are circles", "2 spans share an id", "1 span starts before its parent in another service", "1 span has no start time"]) {
    assert.ok(warnings.some((text) => text.startsWith(part)), `${part}: ${warnings}`);
  }
  const second = page.getByRole("button", { name: /^Show next: 2 spans share/ });
  await second.click();
  assert.equal(await current(page), "root");
  await second.click();
  assert.equal(await current(page), "the same id");
  assert.equal(new URL(page.url()).hash, `#${spanId(1)}.2`);
  await assertAccessible(page);
}

async function markup({ page, one }) {
  const trace = newTrace();
  const evil = '<img src=x onerror="window.pwned=1">';
  const script = "</script><script>window.pwned=1</script>";
  const begun = now() - 100_000n * MS;
  await send(one, script, [
    span(trace, begun, {
      id: 1, name: evil, lasts: 9, failed: script,
      attributes: attributes({ [evil]: evil, "url.full": "javascript:window.pwned=1", reversed: "\u202egnp.exe" }),
      events: [{ timeUnixNano: String(begun), name: "<svg onload=alert(1)>", attributes: attributes({ [script]: evil }) }],
      links: [{ traceId: newTrace(), spanId: spanId(1), attributes: attributes({ href: "javascript:window.pwned=1" }) }],
      traceState: "a=<b>",
    }),
    span(trace, begun, { id: 2, parent: 1, name: "\u202eesrever", at: 1 }),
    span(trace, begun, { id: 3, parent: 1, name: "x".repeat(1_000_000), at: 2 }),
  ]);
  await page.goto(`${one.page}/trace/${trace}#${spanId(1)}`);
  const panel = page.locator("#details");
  await panel.getByRole("heading", { name: evil }).waitFor();
  await panel.getByText("\\u{202e}gnp.exe").waitFor();
  assert.equal((await rows(page))[1], "\\u{202e}esrever");
  assert.equal(await page.locator("main img, main script, main svg, main b").count(), 0);
  assert.deepEqual(await page.locator("main a[href]").evaluateAll((links) => links.filter((link) => !link.getAttribute("href").startsWith("/")).map((link) => link.href)), []);
  assert.ok(!/[\u202a-\u202e]/.test(await page.title()));
  await page.getByLabel("Find in this trace").fill(evil);
  await until("1 of 1", () => page.locator("#found").textContent());
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "a long name does not widen the page");
  assert.equal(await page.evaluate(() => window.pwned), undefined);
}
