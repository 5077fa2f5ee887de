// Uses the page of a trace store as people do, in a real browser, and fails at the first thing that is not so.
// Arguments: what to try (a module of this folder with `steps`), the browser, a folder for screenshots, and the
// addresses of two stores that are empty, each as PAGE,OTLP_HTTP.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [what, executablePath, screenshots, ...stores] = process.argv.slice(2);
const [one, other] = stores.map((addresses) => {
  const [page, otlp] = addresses.split(",");
  return { page, otlp };
});
/** For one step, in milliseconds: a page that hangs is no answer either. */
const PATIENCE = 120_000;
const { steps } = await import(`./${what}.mjs`);

const browser = await chromium.launch({
  executablePath,
  // Root has no sandbox; the rest keeps a machine without internet quiet, and lets memory be measured.
  chromiumSandbox: process.getuid() !== 0,
  args: ["--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--js-flags=--expose-gc"],
});
try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light" });
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error}`));
  page.on("dialog", (dialog) => {
    complaints.push(`${page.url()}: a dialog, ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("console", (message) => {
    // A search that is refused is no fault of the page, but the browser notes it.
    const isAnswer = /status of 400/.test(message.text());
    if (message.type() === "error" && !isAnswer) complaints.push(`${page.url()}: ${message.text()}`);
  });
  /** Pictures of both themes, to be looked at. */
  const shoot = async (name) => {
    for (const colorScheme of ["dark", "light"]) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: `${screenshots}/${name}-${colorScheme}.png` });
    }
  };
  for (const step of steps) {
    try {
      await Promise.race([
        step({ page, context, one, other, shoot, screenshots }),
        new Promise((_, reject) => setTimeout(reject, PATIENCE, new Error("it takes too long")).unref()),
      ]);
    } catch (error) {
      await page.screenshot({ path: `${screenshots}/failed-${what}.png` });
      throw new Error(`${what}: ${step.name}`, { cause: error });
    }
    // A policy that is broken, a dialog or an exception is a failure wherever it happens.
    assert.deepEqual(complaints, [], step.name);
  }
} finally {
  await browser.close();
}
