/** How much of each limit is used: a small meter for each, and a word at the box when little is left. */

import { find, say } from "./dom.js";

/** @typedef {import("./api.js").Standing} Standing */

/** @type {Record<string, [string, string]>} what is counted, and in which time */
const WORDS = {
  requests_per_hour: ["Messages", "this hour"],
  requests_per_day: ["Messages", "today"],
  tokens_per_day: ["Tokens", "today"],
};
/** Little is left when it is no more than one part in this many. */
const LITTLE = 10;

const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

/** @param {number} count */
const shown = (count) => (count < 10_000 ? count.toLocaleString() : compact.format(count));

export class UsageView {
  /** Whether the warning is not to be given. */
  silent = false;

  /**
   * @param {HTMLElement} list where the meters stand
   * @param {HTMLElement} warning where it is said that little is left
   * @param {HTMLTemplateElement} template of a meter
   */
  constructor(list, warning, template) {
    this.list = list;
    this.warning = warning;
    this.template = template;
  }

  /** @param {Standing[]} standings */
  draw(standings) {
    const known = standings.filter(({ limit }) => limit in WORDS);
    this.list.hidden = known.length === 0;
    while (this.list.children.length > known.length) this.list.lastElementChild?.remove();
    known.forEach((standing, index) => {
      const item = this.list.children[index] ?? this.list.appendChild(this.#item());
      this.#draw(/** @type {HTMLElement} */ (item), standing);
    });
    const scarce = known.filter(({ used, of }) => (of - used) * LITTLE <= of);
    const [first] = scarce.sort((one, other) => one.of - one.used - (other.of - other.used));
    say(this.warning, first === undefined ? "" : left(first));
    this.warning.hidden = first === undefined || this.silent;
  }

  #item() {
    const content = /** @type {DocumentFragment} */ (this.template.content.cloneNode(true));
    return find(content, "li", HTMLLIElement);
  }

  /**
   * @param {HTMLElement} item
   * @param {Standing} standing
   */
  #draw(item, { limit, used, of, resets_in }) {
    const [what, when] = WORDS[limit] ?? [limit, ""];
    const meter = find(item, "meter", HTMLMeterElement);
    say(find(item, "[data-part=limit]", HTMLElement), `${what} ${when}`);
    say(find(item, "[data-part=used]", HTMLElement), `${shown(used)} of ${shown(of)}`);
    meter.ariaLabel = `${what} ${when}: ${shown(used)} of ${shown(of)} used`;
    meter.max = of;
    meter.high = of * (1 - 1 / LITTLE);
    meter.value = Math.min(used, of);
    item.title = resets_in === null ? "" : `Some of it comes back in ${duration(resets_in)}.`;
  }
}

/** @param {Standing} standing */
function left({ limit, used, of }) {
  const [what, when] = WORDS[limit] ?? [limit, ""];
  const count = Math.max(of - used, 0);
  const noun = what.toLocaleLowerCase();
  return `${count === 0 ? "No" : shown(count)} ${count === 1 ? noun.replace(/s$/, "") : noun} left ${when}. `;
}

/** @param {number} seconds */
function duration(seconds) {
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 2) return "a minute";
  return minutes < 90 ? `${minutes} minutes` : `${Math.round(minutes / 60)} hours`;
}
