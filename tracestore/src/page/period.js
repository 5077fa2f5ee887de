// Which time charts show, and how far their points are apart. Nothing here touches the page.

import { stepOf } from "/assets/series.js";

const DAY = 86_400_000;
/** Where nothing says when spans began. */
const FAR_BACK = 7 * DAY;
/** A chart of a moment shows nothing. */
const LEAST = 30_000;

/** A time to look at that remembers where spans begin, once all of the time was cut down to that. */
export function newPeriod() {
  /** In milliseconds; 0 if nothing was cut. */
  let begins = 0;

  /** Milliseconds since the Unix epoch. */
  const timeOf = ({ from, to, seconds: back }, { usage = {} } = {}) => {
    if (to > 0) return { from, to: Math.max(to, from + 1) };
    const now = Date.now();
    if (back !== undefined) return { from: now - back * 1000, to: now };
    if (begins > 0) return { from: begins, to: now };
    return { from: now - (usage.maxAgeSeconds > 0 ? usage.maxAgeSeconds * 1000 : FAR_BACK), to: now };
  };

  return {
    /** Before something else is asked for. */
    reset() {
      begins = 0;
    },

    /**
     * Asks, and asks again where most of all time turns out to be empty.
     *
     * @param search `{ from, to, seconds }`: a time to look at or zeros, and how many seconds back from now otherwise, or
     *        `undefined` for all
     * @param status the last `/status.json`
     * @param room for how many points
     * @param query gets `{ from, to, step }` in milliseconds, and promises an answer with series
     * @return `{ answer, window }`, the window as `query` got it
     */
    async ask(search, status, room, query) {
      const isAll = search.to === 0 && search.seconds === undefined;
      const stepIn = ({ from, to }) => stepOf(to - from, room);
      const time = timeOf(search, status);
      let window = { ...time, step: stepIn(time) };
      let answer = await query(window);
      // Most of all time is empty where a store is young, or where one span is old.
      for (let look = 0; isAll && look < 3; look++) {
        const first = firstTime(answer);
        if (first === null) break;
        const from = Math.min(first - 2 * window.step, window.to - LEAST);
        if (from - window.from < (window.to - window.from) / 3) break;
        begins = from;
        window = { from, to: window.to, step: stepIn({ from, to: window.to }) };
        answer = await query(window);
      }
      return { answer, window };
    },
  };
}

/** The parameters of a query over such a time. */
export function rangeOf(query, { from, to, step }) {
  return new URLSearchParams({ q: query, start: seconds(from), end: seconds(to), ...(step === undefined ? {} : { step: `${step}ms` }) });
}

/** The end of the first interval that has anything in it. */
function firstTime({ series = [] }) {
  let first = Infinity;
  for (const { samples = [] } of series) {
    const sample = samples.find(({ value = 0 }) => Number(value) !== 0);
    if (sample !== undefined) first = Math.min(first, Number(sample.timestampMs));
  }
  return first === Infinity ? null : first;
}

function seconds(millis) {
  return (millis / 1000).toFixed(3);
}
