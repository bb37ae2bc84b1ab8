/**
 * An answer on the screen that grows without a flicker.
 *
 * Its blocks (paragraphs, lists, code) each have their nodes. New text is read together with the last two blocks only;
 * those before them are finished, and their nodes are never touched again. Of the two, one whose source has not
 * changed keeps its nodes too. However often text arrives, this happens once in a frame, a portion at a time: an
 * answer from history is told in the same way as one that is being written, and looks the same.
 */

import { inFrames } from "./frames.js";
import { CodeBlock, blocks, elements } from "./markdown.js";

/** @typedef {import("./markdown.js").Token} Token */
/** @typedef {{token: Token, begins: number}} Read a block and where it begins in the source */
/**
 * A block on the screen.
 * @typedef {object} Block
 * @property {string} source
 * @property {Element[]} nodes
 * @property {CodeBlock | null} code
 */

const PORTION = 2_000;
/** Beyond this a block is cut, so that reading it again stays cheap. */
const LONG = 4_000;
/** Of the time, no more than one part in this many goes into reading the end again. */
const PACE = 4;

/** The last line, or the last word, as long as it may still turn out to be a mark rather than a text. */
const UNDECIDED = /(?:^|\n)[ \t]*(?:[-=+*_#>`~]+|\d{1,9}[.)]?|\|[^\n]*(?:\n[ \t|:-]*)?)[ \t]*$/;

export class AnswerText {
  #text = "";
  #wanted = "";
  /** How much of the text has been taken into blocks. */
  #taken = 0;
  /** Where the text begins that is still read again. */
  #tail = 0;
  /** @type {Block[]} of the tail */
  #blocks = [];
  #growing = false;
  #drawn = true;
  #notBefore = 0;
  #job = () => this.#step();

  /** @param {HTMLElement} element where the answer stands; it is all ours */
  constructor(element) {
    this.element = element;
  }

  /**
   * @param {string} text the whole answer, as far as it is known
   * @param {boolean} growing whether more may come
   */
  show(text, growing) {
    this.#wanted = text;
    if (this.#growing && !growing) this.#notBefore = 0;
    this.#growing = growing;
    this.#drawn = false;
    inFrames(this.#job);
  }

  #clear() {
    this.element.replaceChildren();
    this.#blocks = [];
    this.#taken = 0;
    this.#tail = 0;
    this.#notBefore = 0;
  }

  /** @returns {boolean} whether there is more to do */
  #step() {
    if (this.#drawn || !this.element.isConnected) return false;
    const now = performance.now();
    if (this.#growing && now < this.#notBefore) {
      setTimeout(() => inFrames(this.#job), this.#notBefore - now);
      return false;
    }
    const text = this.#wanted.includes("\r") ? this.#wanted.replace(/\r\n?/g, "\n") : this.#wanted;
    if (!text.startsWith(this.#text)) this.#clear();
    this.#text = text;
    this.#taken = Math.min(this.#taken + PORTION, this.#text.length);
    try {
      this.#read();
    } catch (error) {
      reportError(error);
      this.#showPlain();
    }
    this.element.classList.toggle("long", this.#tail > LONG);
    this.#notBefore = now + PACE * (performance.now() - now);
    this.#drawn = this.#taken === this.#text.length;
    return !this.#drawn;
  }

  /** What cannot be read as Markdown is shown as it is. */
  #showPlain() {
    this.#clear();
    this.#taken = this.#text.length;
    const plain = document.createElement("pre");
    plain.className = "plain";
    plain.textContent = this.#text;
    this.element.append(plain);
    this.#blocks = [{ source: "", nodes: [plain], code: null }];
  }

  #read() {
    const source = this.#text.slice(this.#tail, this.#taken);
    const open = this.#growing || this.#taken < this.#text.length;
    const shown = read(open ? closed(source.replace(UNDECIDED, "")) : source);
    this.#draw(shown);
    const [first, last] = shown.slice(-2);
    if (first === undefined) return;
    if (shown.length > 2) this.#finish(shown.length - 2, first.begins);
    else if (open) this.#cut(source, last ?? first);
  }

  /**
   * Some blocks at the beginning of the tail have taken their last form.
   * @param {number} count how many
   * @param {number} end where they end in the tail
   */
  #finish(count, end) {
    this.#blocks.splice(0, count);
    this.#tail += end;
  }

  /**
   * @param {string} source of the tail
   * @param {Read} long a block that may be too long to be read again and again
   */
  #cut(source, { token, begins }) {
    const end = begins + cutAt(token);
    if (end === begins) return;
    this.#draw(read(source.slice(0, end)));
    this.#finish(this.#blocks.length, end);
    this.#draw(read(closed(source.slice(end))));
  }

  /** @param {Read[]} shown what the tail now consists of */
  #draw(shown) {
    let same = 0;
    while (same < shown.length && this.#blocks[same]?.source === shown[same]?.token.raw.trimEnd()) same += 1;
    const [old, fresh] = [this.#blocks.splice(same), shown.slice(same).map((each) => each.token)];
    const [first] = fresh;
    if (first !== undefined && grows(old[0], first)) {
      const block = /** @type {Block} */ (old.shift());
      block.source = first.raw.trimEnd();
      block.code?.show(first.text ?? "");
      this.#blocks.push(block);
      fresh.shift();
    }
    for (const block of old) for (const node of block.nodes) node.remove();
    for (const token of fresh) this.#add(token);
  }

  /** @param {Token} token */
  #add(token) {
    const code = token.type === "code" ? new CodeBlock(language(token)) : null;
    code?.show(token.text ?? "");
    const nodes = code === null ? Array.from(elements(token).children) : [code.element];
    this.element.append(...nodes);
    this.#blocks.push({ source: token.raw.trimEnd(), nodes, code });
  }
}

/**
 * @param {string} source
 * @returns {Read[]} the blocks in it that are to be seen
 */
function read(source) {
  let begins = 0;
  const found = [];
  for (const token of blocks(source)) {
    if (token.type !== "space" && token.type !== "def") found.push({ token, begins });
    begins += token.raw.length;
  }
  return found;
}

/** @param {Token} token */
const language = (token) => (token.lang ?? "").split(/\s/)[0] ?? "";

/**
 * @param {Block | undefined} block
 * @param {Token} token
 * @returns {boolean} whether the block can show the token by growing
 */
function grows(block, token) {
  return block !== undefined && block.code !== null && token.type === "code" && block.code.language === language(token);
}

/**
 * @param {Token} token
 * @returns {number} where to cut it, 0 for not at all
 */
function cutAt({ type, raw, items }) {
  if (raw.length < LONG) return 0;
  const lastItem = items?.at(-1);
  if (type === "list" && items !== undefined && items.length > 1 && lastItem !== undefined) {
    return raw.length - lastItem.raw.length;
  }
  if (type !== "paragraph") return 0;
  const end = raw.length - 1_000; // the last words may still be changing
  return Math.max(raw.lastIndexOf("\n", end), raw.lastIndexOf(" ", end)) + 1;
}

/**
 * @param {string} source of a tail that is still being written
 * @returns {string} the same with its last marks closed, so that what is to be bold is so from its first letter
 */
function closed(source) {
  if (isInCode(source)) return source;
  const start = source.lastIndexOf("\n\n") + 1;
  let end = source.slice(start).replace(/!?\[([^\]\n]*)\]\([^)\s]*$/, "$1");
  const outside = end.replace(/(`+)[^`]+\1(?!`)/g, "");
  const tick = /`+/.exec(outside);
  if (tick !== null) {
    end = tick.index + tick[0].length === outside.length ? end.replace(/`+$/, "") : end + tick[0];
  } else if ((outside.match(/\*\*/g) ?? []).length % 2 === 1) {
    end = end.replace(/[\s*]+$/, "");
    if ((end.match(/\*\*/g) ?? []).length % 2 === 1) end += "**";
  } else {
    end = end.replace(/(?<=\s)\*+$/, "");
  }
  return source.slice(0, start) + end;
}

/**
 * @param {string} source
 * @returns {boolean} whether it ends inside a fence
 */
function isInCode(source) {
  let fence = "";
  for (const [, mark = ""] of source.matchAll(/^[ \t]*(?:(?:[-*+]|\d+[.)])[ \t]+)?(`{3,}|~{3,})/gm)) {
    if (fence === "") fence = mark;
    else if (mark.startsWith(fence)) fence = "";
  }
  return fence !== "";
}
