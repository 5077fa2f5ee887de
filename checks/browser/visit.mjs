// Visits the chain as a person does, in a real browser, and fails at the first thing that is not as README.org
// says. Arguments: the addresses file of a running lab, the browser, a folder for screenshots.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [addressesFile, executablePath, screenshots] = process.argv.slice(2);
const addresses = JSON.parse(readFileSync(addressesFile));
const port = new URL(addresses.edge).port;

const browser = await chromium.launch({
  executablePath,
  // Root has no sandbox; the rest keeps a machine without internet quiet.
  chromiumSandbox: process.getuid() !== 0,
  args: ["--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"],
});
try {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 } })).newPage();
  const complaints = [];
  page.on("pageerror", error => complaints.push(`${page.url()}: ${error}`));
  page.on("console", message => message.type() === "error" && complaints.push(`${page.url()}: ${message.text()}`));
  const shoot = name => page.screenshot({ path: `${screenshots}/${name}.png` });

  await page.goto(`http://uservice1.localhost:${port}/`);
  await page.getByRole("heading", { name: "Hello, world!" }).waitFor();
  await page.getByText("It names no trace").waitFor();
  assert.equal(await page.getByRole("link").count(), 0, "uservice1 knows of no trace");
  await shoot("uservice1");

  await page.goto(`http://uservice3.localhost:${port}/`);
  await page.getByRole("heading", { name: "Hello, world!" }).waitFor();
  const link = page.getByRole("link", { name: /^trace [0-9a-f]{32}$/ });
  const id = (await link.textContent()).slice("trace ".length);
  await shoot("uservice3");

  await link.click();
  await page.waitForURL(`${addresses.tracestore}/trace/${id}`);
  for (const name of ["ReverseProxy", "redis_call", "other_uservice_call", "database_call"]) {
    await page.getByText(name, { exact: true }).first().waitFor();
  }
  await shoot("trace");
  await page.getByText("database_call", { exact: true }).first().click();
  await page.getByText("process.command_args").first().waitFor();
  await shoot("span");

  await page.goto(`${addresses.tracestore}/`);
  await page.locator(`a[href*="${id}"]`).first().waitFor();
  await shoot("traces");

  assert.deepEqual(complaints, []);
} finally {
  await browser.close();
}
