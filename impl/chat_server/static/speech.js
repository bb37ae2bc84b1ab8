/** An answer for screen readers: whole sentences into a live region, never single tokens. */

import { spoken } from "./markdown.js";

/** Older lines are taken out again; a live region is not a second copy of the answer. */
const KEPT = 12;

const sentences = new Intl.Segmenter(undefined, { granularity: "sentence" });

export class Speech {
  /** @type {string | null} */
  #turn = null;
  /** @type {Element | null} the block that is being read */
  #block = null;
  /** How much of it has been said. */
  #said = 0;

  /** @param {HTMLElement} region an element with aria-live */
  constructor(region) {
    this.region = region;
  }

  /** @returns {string | null} the turn that is being read */
  get turn() {
    return this.#turn;
  }

  /**
   * Read a turn from here on.
   * @param {string} turn
   */
  begin(turn) {
    this.#turn = turn;
    this.#block = null;
    this.#said = 0;
  }

  /**
   * What the screen shows is what is read: code is named, not spelt.
   * @param {Element} answer as far as it is on the screen
   * @param {boolean} whole whether nothing more will come
   */
  follow(answer, whole) {
    const words = [];
    if (this.#block?.parentNode !== answer) this.#next(this.#block === null ? answer.firstElementChild : answer.lastElementChild);
    while (this.#block !== null) {
      const next = this.#block.nextElementSibling;
      words.push(this.#read(this.#block, whole || next !== null));
      if (next === null) break;
      this.#next(next);
    }
    this.#say(words.filter((each) => each !== "").join(" "));
  }

  /**
   * @param {Element} answer all of it
   * @param {string} outcome said after it
   */
  finish(answer, outcome) {
    this.follow(answer, true);
    this.#say(outcome);
    this.#turn = null;
  }

  /** @param {Element | null} block */
  #next(block) {
    this.#block = block;
    this.#said = 0;
  }

  /**
   * @param {Element} block
   * @param {boolean} whole
   * @returns {string} what of it has not been said
   */
  #read(block, whole) {
    if (!whole && block.matches(".code, .wide")) return "";
    const rest = spoken(block).replace(/\s+/g, " ").slice(this.#said);
    let end = rest.length;
    // The last sentence may go on.
    if (!whole) for (const { index } of sentences.segment(rest)) end = index;
    this.#said += end;
    return rest.slice(0, end).trim();
  }

  /** @param {string} words */
  #say(words) {
    if (words === "") return;
    const line = document.createElement("p");
    line.textContent = words;
    this.region.append(line);
    while (this.region.childElementCount > KEPT) this.region.firstElementChild?.remove();
  }
}
