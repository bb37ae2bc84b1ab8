/** When something was, as short as it can be said. */

const DAY_MS = 86_400_000;

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const year = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });

/** @param {Date} time @returns {number} days since the beginning of all, as the reader counts them */
const dayOf = (time) => Math.round(new Date(time.getFullYear(), time.getMonth(), time.getDate()).getTime() / DAY_MS);

/**
 * @param {string} time in ISO 8601
 * @returns {{short: string, full: string}} today's as a time, others as a day
 */
export function dated(time) {
  const [then, now] = [new Date(time), new Date()];
  if (Number.isNaN(then.getTime())) return { short: "", full: "" };
  const ago = dayOf(now) - dayOf(then);
  const form = ago <= 0 ? clock : ago < 7 ? weekday : then.getFullYear() === now.getFullYear() ? day : year;
  return { short: form.format(then), full: full.format(then) };
}
