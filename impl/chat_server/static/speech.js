/** An answer for those who hear it: whole sentences into a live region, never single tokens. */

/** Older lines are taken out again; a live region is not a second copy of the answer. */
const KEPT = 12;
/** Characters that are looked at in one go. */
const WINDOW = 4_000;

const FENCE = /^ {0,3}(?:```|~~~)[`~]*(.*)/;
const sentences = new Intl.Segmenter(undefined, { granularity: "sentence" });

/**
 * @param {string} text Markdown
 * @returns {string} the same as one would read it out
 */
function plain(text) {
  if (/^[\s|:=-]*$/.test(text)) return ""; // a rule
  return text
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/^[ \t]*(?:#{1,6}|>|[-*+]|\|)[ \t]+(?:\[[ x]\][ \t]+)?/, "")
    .replace(/[*`|]+/g, "")
    .trim();
}

export class Speech {
  /** @type {string | null} */
  #turn = null;
  #said = 0;
  #inCode = false;

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
   * @param {number} said how much of its answer is known already
   */
  begin(turn, said) {
    this.#turn = turn;
    this.#said = said;
    this.#inCode = false;
  }

  /**
   * @param {string} answer as far as it is known
   * @returns {boolean} whether there may be more to say of it
   */
  follow(answer) {
    this.#said = Math.min(this.#said, answer.length); // after a rewind
    const window = answer.slice(this.#said, this.#said + WINDOW);
    const words = [];
    let end = 0;
    for (let next = window.indexOf("\n"); next >= 0; next = window.indexOf("\n", end)) {
      words.push(this.#line(window.slice(end, next)));
      end = next + 1;
    }
    if (!this.#inCode && !FENCE.test(window.slice(end))) {
      let last = 0; // the last sentence may go on
      for (const { index } of sentences.segment(window.slice(end))) last = index;
      words.push(plain(window.slice(end, end + last)));
      end += last;
    }
    if (end === 0 && window.length === WINDOW) {
      words.push(this.#inCode ? "" : plain(window));
      end = WINDOW;
    }
    this.#said += end;
    this.#say(words.filter((each) => each !== "").join(" "));
    return window.length === WINDOW;
  }

  /**
   * @param {string} answer the whole
   * @param {string} outcome said after it
   */
  finish(answer, outcome) {
    while (this.follow(answer));
    if (!this.#inCode) this.#say(plain(answer.slice(this.#said)));
    this.#say(outcome);
    this.#turn = null;
  }

  /**
   * @param {string} line
   * @returns {string}
   */
  #line(line) {
    const fence = FENCE.exec(line);
    if (fence === null) return this.#inCode ? "" : plain(line);
    this.#inCode = !this.#inCode; // code is not for the ear
    return this.#inCode ? `Code ${fence[1]?.trim()}.`.replace(" .", ".") : "";
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
