// What must hold of every view for people who use a keyboard, a screen reader, or see little contrast.

import assert from "node:assert/strict";

/** Checks the view that shows, in the light and in the dark theme. */
export async function assertAccessible(page) {
  for (const colorScheme of ["dark", "light"]) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await page.evaluate(findMistakes), [], `${page.url()} in the ${colorScheme} theme`);
  }
}

/** Runs in the page. */
function findMistakes() {
  const mistakes = [];
  const isShown = (node) => node.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && node.getClientRects().length > 0;

  if (!document.documentElement.lang) mistakes.push("no language");
  if (document.querySelectorAll("h1").length !== 1) mistakes.push("not one h1");
  if (document.querySelector("main") === null) mistakes.push("no main");
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of new Set(ids.filter((id, index) => ids.indexOf(id) !== index))) mistakes.push(`two elements with the id ${id}`);
  for (const node of document.querySelectorAll("script:not([src]), style, [onclick]")) mistakes.push(`inline: ${node.outerHTML.slice(0, 80)}`);

  for (const node of document.querySelectorAll("button, a[href], input, select, [role=slider], [role=separator], [role=tree], [role=tab], [role=meter]")) {
    if (!isShown(node) || node.type === "file") continue;
    const name = node.getAttribute("aria-label") || node.labels?.[0]?.textContent || node.textContent;
    if (!name.trim()) mistakes.push(`no name: ${node.outerHTML.slice(0, 100)}`);
    if (node.tabIndex < 0 && !node.matches("[role=tab], [role=meter]")) mistakes.push(`not reachable with the keyboard: ${node.outerHTML.slice(0, 100)}`);
  }

  // The contrast of text, by WCAG 2: 4.5 to 1.
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgb = (layers) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const layer of layers) {
      canvas.fillStyle = layer;
      canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || seen.has(node) || !isShown(node) || node.closest(":disabled, .offscreen, noscript, option")) continue;
    seen.add(node);
    const layers = [];
    for (let up = node; up !== null; up = up.parentElement) layers.unshift(getComputedStyle(up).backgroundColor);
    const colour = getComputedStyle(node).color;
    if (colour.endsWith(", 0)")) continue;
    const back = luminance(rgb(layers));
    const front = luminance(rgb([...layers, colour]));
    const contrast = (Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05);
    if (contrast < 4.5) mistakes.push(`contrast ${contrast.toFixed(2)}: ${node.className} ${node.textContent.slice(0, 40)}`);
  }
  return [...new Set(mistakes)];
}
