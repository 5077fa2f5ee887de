// From what the server says may stand at a place of a query to what is offered there. Nothing here touches the page.

import { quote, writeKey } from "/assets/query.js";

/** For those who have not typed anything yet. */
const EXAMPLES = [
  "{ status = error }",
  "{ duration > 1s }",
  "{ } | rate() by (resource.service.name)",
  "{ } | quantile_over_time(duration, 0.5, 0.99)",
];

/** Longer values nobody compares with. */
const LONGEST = 200;

/**
 * What is offered: `{ text, kind, about }` with the text to insert, best first.
 *
 * @param found the server's `completion`
 * @param typed what of the word is there already
 * @param names names of attributes with their scope, `span.http.route`
 * @param values `{ type, value }` of the attribute that is compared
 */
export function offers({ words, attributes, values: of }, typed, names, values) {
  const offered = [];
  if (of) for (const value of values) offered.push(...valueOffer(value, of.operator));
  for (const { text, kind, about } of words) offered.push({ text, kind, about });
  if (attributes !== null) offered.push(...attributeOffers(attributes, names));
  return narrow(offered, typed);
}

/** What is offered where nothing was typed: queries of before, and examples. */
export function beginnings(recent) {
  const queries = recent.slice(0, 5).map((text) => ({ text, kind: "recent", about: "" }));
  const examples = EXAMPLES.filter((text) => !recent.includes(text)).map((text) => ({ text, kind: "example", about: "" }));
  return [...queries, ...examples];
}

function valueOffer({ type, value }, operator) {
  if (value.length > LONGEST) return [];
  const isPattern = operator === "=~" || operator === "!~";
  if (type !== "string") return isPattern ? [] : [{ text: value, kind: type, about: "" }];
  return [{ text: quote(isPattern ? value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&") : value), kind: "value", about: "" }];
}

function attributeOffers(scope, names) {
  if (scope === "") {
    const bare = new Set(names.map((name) => name.slice(name.indexOf(".") + 1)));
    return [...bare].map((name) => ({ text: writeKey(`.${name}`), kind: "attribute", about: "" }));
  }
  const wanted = scope === "every" ? names : names.filter((name) => name.startsWith(`${scope}.`));
  return wanted.map((name) => ({ text: writeKey(name), kind: "attribute", about: "" }));
}

/** Those that begin with what was typed come before those of which a part begins with it, or that have it somewhere. */
export function narrow(offered, typed) {
  const wanted = plain(typed);
  const isString = /^["`]/.test(typed);
  const ranks = [[], [], []];
  const seen = new Set();
  for (const offer of offered) {
    // The beginning of a name that is there already leads nowhere.
    if (seen.has(offer.text) || (offer.kind === "scope" && offer.text === typed)) continue;
    seen.add(offer.text);
    if (isString && !offer.text.startsWith('"')) continue;
    const text = plain(offer.text);
    if (text.startsWith(wanted)) ranks[0].push(offer);
    else if (text.includes(wanted) && /[\p{L}\p{N}]/u.test(wanted)) {
      const isPart = [".", ":", " ", "_", "-", "/"].some((mark) => text.includes(mark + wanted));
      ranks[isPart ? 1 : 2].push(offer);
    }
  }
  return ranks.flat();
}

/** Nobody needs to know beforehand what has to be quoted. */
function plain(text) {
  return text.toLowerCase().replace(/["`\\]/g, "");
}

/**
 * A query with a text put into it, and where the caret is then: `{ from, to, text, caret }`. Words stand apart from each
 * other; brackets that a text opens do not.
 */
export function insertion(query, from, to, text) {
  const before = query.slice(0, from);
  const joins = before === "" || /[\s(]$/.test(before) || text === "," || text === ")";
  const goesOn = /[(.]$/.test(text);
  const isFollowed = /^\s/.test(query.slice(to));
  const inserted = `${joins ? "" : " "}${text}${goesOn || isFollowed ? "" : " "}`;
  return { from, to, text: inserted, caret: from + inserted.length + (isFollowed && !goesOn ? 1 : 0) };
}

const encoder = new TextEncoder();

/** The byte of a text at which a UTF-16 unit stands. */
export function byteAt(text, unit) {
  return encoder.encode(text.slice(0, unit)).length;
}

/** The UTF-16 unit of a text at which a byte stands. */
export function unitAt(text, byte) {
  let bytes = 0;
  let unit = 0;
  for (const char of text) {
    if (bytes >= byte) break;
    bytes += encoder.encode(char).length;
    unit += char.length;
  }
  return unit;
}
