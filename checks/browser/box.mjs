// The box that a query is typed into: completions, errors under their place, and earlier queries.

import assert from "node:assert/strict";
import { assertAccessible } from "./accessible.mjs";
import { attributes, newTrace, now, send, sendShop, span, until } from "./send.mjs";

const EVIL = '<img src=x onerror="window.pwned=1">';
const REVERSED = "abc\u202edef";

const names = (page) => page.locator("#rows .name").allTextContents();
const query = (page) => new URL(page.url()).searchParams.get("q");
const box = (page) => page.getByRole("combobox", { name: "TraceQL" });
const text = (page) => box(page).inputValue();
const offers = (page) => page.getByRole("option").locator(".text").allTextContents();
const isOpen = async (page) => (await box(page).getAttribute("aria-expanded")) === "true";
/** Types, and waits for what is offered then. */
const type = async (page, keys, first) => {
  await page.keyboard.type(keys);
  await until(first, async () => (await offers(page))[0]);
};
const clear = async (page) => {
  await box(page).fill("");
  await page.keyboard.press("Escape");
};

export const steps = [setUp, byKeyboardAlone, nothingIsStolen, whatFits, hostileNames, errorsHaveAPlace, unfinished, earlierQueries, deepLinks, late];

async function setUp({ page, one }) {
  await sendShop(one);
  await send(one, "lonely", [
    span(newTrace(), now(), { id: 1, name: "hostile", attributes: attributes({ [EVIL]: EVIL, [REVERSED]: "x", 'odd key"': 'say "hi" \\ bye', "http.route": "/r", count: 7, ok: true }) }),
  ]);
  await page.goto(one.page);
  await until(2, () => page.locator("#rows tr").count());
}

async function byKeyboardAlone({ page, shoot }) {
  await page.keyboard.press("/");
  assert.equal(await isOpen(page), false, "an empty box offers nothing by itself");
  await page.keyboard.press("Control+Space");
  await until("{", async () => (await offers(page))[0]);
  assert.ok((await offers(page)).includes("{ status = error }"), "examples");
  await assertAccessible(page);
  await page.keyboard.press("Tab");
  await until("name", async () => (await offers(page))[0]);
  await shoot("completion");
  await type(page, "servi", "resource.service.name");
  await until("resource.service.name", async () => (await offers(page))[0]);
  const at = (await offers(page)).indexOf("resource.service.name");
  for (let times = 0; times <= at; times++) await page.keyboard.press("ArrowDown");
  const active = await box(page).getAttribute("aria-activedescendant");
  assert.equal(await page.locator(`#${active}[aria-selected=true] .text`).textContent(), "resource.service.name");
  assert.equal(await page.locator("[role=option][aria-selected=true]").count(), 1);
  await page.keyboard.press("Enter");
  await until("{ resource.service.name ", () => text(page));
  await until("=", async () => (await offers(page))[0]);
  await page.keyboard.press("Tab");
  await until(['"cart"', '"edge"', '"lonely"', '"payment"'], async () => (await offers(page)).slice(0, 4));
  await shoot("values");
  await type(page, '"pay', '"payment"');
  await page.keyboard.press("Tab");
  await until("}", async () => (await offers(page))[0]);
  await page.keyboard.press("Tab");
  await until('{ resource.service.name = "payment" } ', () => text(page));
  assert.equal(await isOpen(page), false, "what is whole is left alone");
  await page.keyboard.press("Enter");
  await until(["GET"], () => names(page));
  assert.equal(query(page), '{ resource.service.name = "payment" }');
  assert.equal(await page.getByLabel("Service", { exact: true }).inputValue(), "payment");
}

async function nothingIsStolen({ page }) {
  await box(page).fill("");
  const whole = '{ name = "charge" && status = error }';
  await page.keyboard.type(whole);
  await page.keyboard.press("Enter");
  await until(whole, () => query(page));
  assert.equal(await text(page), whole);
  await until(["GET"], () => names(page));

  // A list that opened by itself takes no Enter.
  await clear(page);
  await type(page, "{ sta", "status");
  await page.keyboard.press("Enter");
  await page.getByText("This search was refused").waitFor();
  assert.equal(await text(page), "{ sta");

  await clear(page);
  await type(page, "{ sta", "status");
  await page.keyboard.press("Escape");
  assert.equal(await isOpen(page), false);
  assert.equal(await text(page), "{ sta");
  await type(page, "t", "status");
  await page.keyboard.press("Shift+Tab");
  assert.notEqual(await page.evaluate(() => document.activeElement.id), "query");
  assert.equal(await isOpen(page), false);
  await box(page).focus();

  // One click takes one, and the change can be undone.
  await clear(page);
  await type(page, "{ dur", "duration");
  await page.getByRole("option").first().click();
  await until("{ duration ", () => text(page));
  await page.keyboard.press("Control+z");
  await until("{ dur", () => text(page));
  await clear(page);
}

async function whatFits({ page }) {
  for (const [typed, expected] of [
    ['{ resource.service.name = "cart" && name = ', ['"checkout"', '"read cart"', '"SELECT prices"', '"SELECT stock"']],
    ["{ span.count = ", ["7"]],
    ["{ span.ok = ", ["true"]],
    ["{ status = ", ["error", "ok", "unset"]],
    ["{ status ", ["=", "!="]],
    ["{ name =~ ", ['"GET"', '"POST bank"', '"SELECT prices"', '"SELECT stock"']],
    ["{ event.exception.type !~ ", ['"Declined"']],
    ["{ } | quan", ["quantile_over_time("]],
    ["{ } | rate() by (resource.", ["resource.service.name"]],
    ["{ } | avg(dur", ["duration"]],
    ["{ event.exc", ["event.exception.type"]],
    ["{ .exc", [".exception.type"]],
  ]) {
    await clear(page);
    await page.keyboard.type(typed);
    await until([...expected].sort(), async () => (await offers(page)).slice(0, expected.length).sort());
  }
  // In the middle of a query the word at the caret is completed, and what follows stays.
  await clear(page);
  await box(page).fill('{ resource.service.name = "" && status = error }');
  await box(page).evaluate((input) => input.setSelectionRange(27, 27));
  await page.keyboard.press("Control+Space");
  await until(['"cart"', '"payment"'], async () => (await offers(page)).slice(0, 2), 5000);
  await page.keyboard.press("Tab");
  assert.equal(await text(page), '{ resource.service.name = "cart" && status = error }');
  await clear(page);
}

async function hostileNames({ page }) {
  await page.keyboard.type("{ span.");
  await until(true, async () => (await offers(page)).some((offer) => offer.includes("<img src=x")));
  assert.equal(await page.locator("#offers img").count(), 0);
  assert.ok((await offers(page)).some((offer) => offer.includes("abc\\u{202e}def")), "what reorders text shows as an escape");
  await type(page, '"<img', 'span."<img src=x onerror=\\"window.pwned=1\\">"');
  await page.keyboard.press("Tab");
  await until("=", async () => (await offers(page))[0]);
  await page.keyboard.press("Tab");
  await until('"<img src=x onerror=\\"window.pwned=1\\">"', async () => (await offers(page))[0]);
  await page.keyboard.press("Tab");
  await until("}", async () => (await offers(page))[0]);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await until(["hostile"], () => names(page));
  await clear(page);
  await type(page, "{ span.odd", 'span."odd key\\""');
  await page.keyboard.press("Tab");
  await page.keyboard.type("= ");
  await until('"say \\"hi\\" \\\\ bye"', async () => (await offers(page))[0]);
  await page.keyboard.press("Tab");
  await page.keyboard.type("}");
  await page.keyboard.press("Enter");
  await until(["hostile"], () => names(page));
  assert.equal(await page.evaluate(() => window.pwned), undefined);
}

async function errorsHaveAPlace({ page, shoot }) {
  await page.getByRole("button", { name: "Clear" }).click();
  await until(2, () => page.locator("#rows tr").count());
  await page.keyboard.type('{ name = "ü😀日" && duration =~ 5s }');
  const alert = page.getByRole("alert");
  await alert.waitFor();
  assert.equal(await alert.textContent(), "`=~` does not take a duration");
  const mark = page.locator("#marks mark");
  assert.equal(await mark.textContent(), "=~");
  assert.equal(await box(page).getAttribute("aria-invalid"), "true");
  assert.equal(await page.locator("#rows tr").count(), 2, "nothing was searched for yet");
  // Where the browser draws these characters in the box is not told, but the font is the same.
  const places = await page.evaluate(() => {
    const input = document.getElementById("query");
    const style = getComputedStyle(input);
    const context = document.createElement("canvas").getContext("2d");
    context.font = `${style.fontSize} ${style.fontFamily}`;
    const wanted = input.getBoundingClientRect().left + 1 + parseFloat(style.paddingLeft) + context.measureText(input.value.slice(0, input.value.indexOf("=~"))).width;
    return [wanted, document.querySelector("#marks mark").getBoundingClientRect().left];
  });
  assert.ok(Math.abs(places[0] - places[1]) < 2, `${places}`);
  await assertAccessible(page);
  await shoot("error");
  await page.keyboard.press("Enter");
  await page.getByText("This search was refused; what shows is older").waitFor();
  assert.equal(await page.locator("#rows tr").count(), 2, "what showed before stays");
  assert.equal(await mark.textContent(), "=~");
  await box(page).fill('{ duration < 5s }');
  await alert.waitFor({ state: "hidden" });
  await page.keyboard.press("Enter");
  await page.getByText("2 traces, live").waitFor();
}

async function unfinished({ page }) {
  await clear(page);
  await page.keyboard.type("{ name = ");
  await page.keyboard.press("Escape");
  const alert = page.getByRole("alert");
  await alert.waitFor();
  assert.match(await alert.textContent(), /found the end of the query$/);
  assert.equal(await box(page).getAttribute("aria-invalid"), "false", "it is no mistake yet");
  await page.keyboard.press("Enter");
  await until("true", () => box(page).getAttribute("aria-invalid"));
  // Far to the right, the place is still below the caret.
  await box(page).fill(`{ name = "${"a".repeat(300)}" && duration =~ 5s }`);
  await page.keyboard.press("End");
  await until("=~", () => page.locator("#marks mark").textContent());
  await until(true, async () => {
    const [mark, field] = [await page.locator("#marks mark").boundingBox(), await box(page).boundingBox()];
    return mark.x > field.x && mark.x < field.x + field.width;
  });
  await page.getByRole("button", { name: "Clear" }).click();
}

async function earlierQueries({ page }) {
  for (const [each, found] of [['{ name = "charge" }', "GET"], ["{ span.count > 5 }", "hostile"]]) {
    await box(page).fill(each);
    await page.keyboard.press("Enter");
    await until([found], () => names(page));
    assert.equal(query(page), each);
  }
  await box(page).fill("{ draft");
  await page.keyboard.press("Escape");
  await page.keyboard.press("ArrowUp");
  assert.equal(await text(page), "{ span.count > 5 }");
  await page.keyboard.press("ArrowUp");
  assert.equal(await text(page), '{ name = "charge" }');
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  assert.equal(await text(page), "{ draft");
  await page.reload();
  await box(page).fill("");
  await page.keyboard.press("Control+Space");
  await until(true, async () => (await offers(page)).includes('{ name = "charge" }'));
  await page.keyboard.press("Escape");
}

async function deepLinks({ page, one }) {
  const open = (q) => page.goto(`${one.page}/?${new URLSearchParams({ q })}`);
  await open('{ resource.service.name = "cart" && duration >= 300ms }');
  await until(["GET"], () => names(page));
  assert.equal(await text(page), '{ resource.service.name = "cart" && duration >= 300ms }');
  assert.equal(await page.getByLabel("Service", { exact: true }).inputValue(), "cart");
  assert.equal(await page.getByLabel("Minimum duration").inputValue(), "300ms");
  await open('{ name = "checkout" }\n  >> { status = error }');
  await until(["GET"], () => names(page));
  assert.equal(await text(page), '{ name = "checkout" } >> { status = error }');
  await open("{ status == error }");
  await page.getByText("This search was refused").waitFor();
  assert.equal(await page.locator("#marks mark").textContent(), "=");
  await open(`{ name = "${EVIL}`);
  await page.getByText("This search was refused").waitFor();
  assert.equal(await page.evaluate(() => window.pwned), undefined);
}

async function late({ page, one }) {
  await page.goto(one.page);
  // A store that takes its time delays no words, and what it says too late is not shown.
  let release = () => {};
  const held = new Promise((resolve) => (release = resolve));
  await page.route("**/api/v2/search/tag/**", async (route) => {
    await held;
    await route.continue().catch(() => {});
  });
  await box(page).focus();
  await type(page, "{ status = error && name = ", "name");
  await page.keyboard.type('"x" }');
  release();
  await page.unroute("**/api/v2/search/tag/**");
  await until(false, () => isOpen(page));
  assert.equal(await text(page), '{ status = error && name = "x" }');
}
