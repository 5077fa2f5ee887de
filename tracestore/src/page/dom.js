// Elements. What strangers sent only ever becomes text.

export const byId = (id) => document.getElementById(id);

/** An element with a class and text, or children. */
export function element(name, className, ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content.map((part) => (typeof part === "string" ? visible(part) : part)));
  return made;
}

/** Characters that reorder text, and those that show as nothing, as escapes: `\u{202e}`. */
function visible(text) {
  return text.replace(/[\0-\b\v\f\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, (char) => `\\u{${char.charCodeAt(0).toString(16)}}`);
}

export function button(text, className, onClick) {
  const made = element("button", className, text);
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

export function link(text, href, className = "") {
  const made = element("a", className, text);
  made.href = href;
  return made;
}

/** Changes the text only if it is another one, so that nothing flickers or is read out again. */
export function setText(node, text) {
  const shown = visible(text);
  if (node.textContent !== shown) node.textContent = shown;
}

/** Services with the numbers of their spans and errors, as a list. `tint` gives an element the colour of a service. */
export function chips(services, tint) {
  const list = element("ul", "chips");
  for (const { service, spans, errors } of services) {
    const chip = element("li", "chip", element("span", "service", service), element("span", "amount", spans.toLocaleString("en")));
    chip.title = `${spans.toLocaleString("en")} ${spans === 1 ? "span" : "spans"}`;
    if (errors > 0) {
      chip.append(element("span", "error", errors.toLocaleString("en")));
      chip.title += `, ${errors.toLocaleString("en")} ${errors === 1 ? "error" : "errors"}`;
    }
    tint(chip, service);
    list.append(chip);
  }
  return list;
}

/** A button that copies, and says that it did. `text` may be a function, asked when it is needed. */
export function copyButton(text, label = "Copy") {
  const made = button("Copy", "copy", async () => {
    const copied = await copy(typeof text === "function" ? text() : text);
    made.textContent = copied ? "Copied" : "Not copied";
    setTimeout(() => (made.textContent = "Copy"), 1500);
  });
  made.ariaLabel = label;
  return made;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain HTTP from another machine, browsers have no clipboard but the old way.
    const field = element("textarea", "offscreen");
    field.value = text;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    return copied;
  }
}
