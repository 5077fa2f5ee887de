// Spans to send, as OTLP/JSON.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";

export const MS = 1_000_000n;
export const now = () => BigInt(Date.now()) * MS;
export const newTrace = () => randomBytes(16).toString("hex");
export const spanId = (number) => number.toString(16).padStart(16, "0");

const value = (plain) => {
  if (typeof plain === "number") return Number.isInteger(plain) ? { intValue: String(plain) } : { doubleValue: plain };
  return typeof plain === "boolean" ? { boolValue: plain } : { stringValue: plain };
};
export const attributes = (pairs) => Object.entries(pairs).map(([key, plain]) => ({ key, value: value(plain) }));

/** `at` and `lasts` in milliseconds; ids are small numbers, `parent` 0 is none. */
export function span(traceId, begun, { id, parent = 0, name, at = 0, lasts = 1, kind = 1, failed, ...more }) {
  return {
    traceId,
    spanId: spanId(id),
    ...(parent ? { parentSpanId: spanId(parent) } : {}),
    name,
    kind,
    startTimeUnixNano: String(begun + BigInt(Math.round(at * 1e6))),
    endTimeUnixNano: String(begun + BigInt(Math.round((at + lasts) * 1e6))),
    ...(failed === undefined ? {} : { status: { code: 2, message: failed } }),
    ...more,
  };
}

export async function send(store, service, spans, chunk = 5000) {
  for (let from = 0; from < spans.length; from += chunk) {
    const answer = await fetch(`${store.otlp}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        resourceSpans: [{ resource: { attributes: attributes({ "service.name": service }) }, scopeSpans: [{ scope: { name: "sender" }, spans: spans.slice(from, from + chunk) }] }],
      }),
    });
    assert.equal(await answer.text(), "{}");
  }
}

const NUMBERS = { trace: 1, debug: 5, info: 9, warn: 13, error: 17, fatal: 21 };

/** A log record: `at` in milliseconds, `body` anything that an attribute may be, `span` a small number. */
export function record(begun, { at = 0, severity, body, trace, span: spanNumber, pairs = {}, ...more }) {
  return {
    timeUnixNano: String(begun + BigInt(Math.round(at * 1e6))),
    ...(severity === undefined ? {} : { severityNumber: NUMBERS[severity], severityText: severity.toUpperCase() }),
    ...(body === undefined ? {} : { body: value(body) }),
    ...(trace === undefined ? {} : { traceId: trace }),
    ...(spanNumber === undefined ? {} : { spanId: spanId(spanNumber) }),
    attributes: attributes(pairs),
    ...more,
  };
}

export async function sendLogs(store, service, logRecords, chunk = 5000) {
  for (let from = 0; from < logRecords.length; from += chunk) {
    const answer = await fetch(`${store.otlp}/v1/logs`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        resourceLogs: [{ resource: { attributes: attributes({ "service.name": service, "host.name": "here" }) }, scopeLogs: [{ scope: { name: "logger", version: "1.2" }, logRecords: logRecords.slice(from, from + chunk) }] }],
      }),
    });
    assert.equal(await answer.text(), "{}");
  }
}

/** A small trace of three services: a shop whose payment fails. Returns its id. */
export async function sendShop(store, begun = now() - 500n * MS) {
  const trace = newTrace();
  const at = (fields) => span(trace, begun, fields);
  await send(store, "edge", [
    at({ id: 1, name: "GET", lasts: 400, kind: 2, attributes: attributes({ "url.path": "/checkout", "server.address": "shop.localhost" }) }),
  ]);
  await send(store, "cart", [
    at({ id: 2, parent: 1, name: "checkout", at: 5, lasts: 380, kind: 2, failed: "payment failed", attributes: attributes({ "user.id": "u-1337", items: 3, gift: true }) }),
    at({ id: 3, parent: 2, name: "read cart", at: 10, lasts: 40, attributes: attributes({ "db.system.name": "redis" }) }),
    at({ id: 4, parent: 2, name: "SELECT prices", at: 60, lasts: 30, attributes: attributes({ "db.system.name": "postgresql" }) }),
    at({ id: 5, parent: 2, name: "SELECT stock", at: 95, lasts: 30, attributes: attributes({ "db.system.name": "postgresql" }) }),
  ]);
  await send(store, "payment", [
    at({
      id: 6, parent: 2, name: "charge", at: 130, lasts: 240, kind: 2, failed: "card declined",
      events: [{ timeUnixNano: String(begun + 365n * MS), name: "exception", attributes: attributes({ "exception.type": "Declined" }) }],
      links: [{ traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331", attributes: attributes({ why: "refund" }) }],
    }),
    at({ id: 7, parent: 6, name: "POST bank", at: 150, lasts: 200, kind: 3 }),
  ]);
  return trace;
}

/** The names of the spans that show, from top to bottom. */
export async function rows(page) {
  return page.locator("#tree .row").evaluateAll((nodes) =>
    nodes.sort((a, b) => a.index - b.index).map((node) => node.querySelector(".name").textContent));
}

/** Waits until a question has this answer. */
export async function until(expected, ask, patience = 15_000) {
  const begun = Date.now();
  for (;;) {
    const answer = await ask();
    try {
      assert.deepEqual(answer, expected);
      return;
    } catch (error) {
      if (Date.now() - begun > patience) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
