/**
 * An answer on the screen that grows without a flicker.
 *
 * Its blocks (paragraphs, lists, tables, code, …) each have their nodes. New text is read together with the last two
 * blocks only; those before them are finished, and their nodes are not touched again, unless an address for one of
 * their links comes later. A block that gets long is finished in parts: what is read again stays short, whatever the
 * text is made of. Where a part ends depends on the text alone and not on how it arrived, so that an answer from
 * history looks as it did live.
 *
 * However often text arrives, this happens once in a frame, a portion at a time. What is known whole from the start
 * is built out of sight, and shown at once.
 */

import { inFrames } from "./frames.js";
import { CodeBlock, blocks, elements, labels } from "./markdown.js";
import { patch } from "./patch.js";
import { LONG, partOf } from "./parts.js";

/** @typedef {import("./markdown.js").Token} Token */
/** @typedef {import("./markdown.js").Links} Links */
/** @typedef {{token: Token, begins: number}} Read a block and where it begins in the source */
/**
 * A block on the screen.
 * @typedef {object} Block
 * @property {string} source
 * @property {Element[]} nodes
 * @property {CodeBlock | null} code
 * @property {Block | null} before the part of the same block that it goes on with
 * @property {boolean} stale an address that it lacked has come
 */

const PORTION = 2_000;
/** Of the time, no more than one part in this many goes into reading the end again. */
const PACE = 4;

/** The last line, or the last word, as long as it may still turn out to be a mark rather than a text. */
const UNDECIDED =
  /(?:^|\n)[ \t]*(?:[-=+*_#>`~]+|\d{1,9}[.)]?|[-*+][ \t]+\[[ xX]?\]?|\[(?!\^)[^\]\n]*\]:[^\n]*|\|[^\n]*(?:\n[ \t|:-]*)?)[ \t]*$/;

export class AnswerText {
  #text = "";
  #wanted = "";
  /** How much of the text has been taken into blocks. */
  #taken = 0;
  /** Where the text begins that is still read again. */
  #tail = 0;
  /** What stands before the tail when it is read, since a part of its first block is finished. */
  #prefix = "";
  /** @type {Block | null} that part */
  #before = null;
  /** @type {Block[]} of the tail */
  #blocks = [];
  /** @type {Links} */
  #links = Object.create(null);
  /** Blocks by the labels that nobody has defined yet. @type {Map<string, Set<Block>>} */
  #lacking = new Map();
  /** Where blocks are put: the element, or what is not seen until it is whole. @type {Element} */
  #place;
  #growing = false;
  #drawn = true;
  #notBefore = 0;
  #job = () => this.#step();

  /**
   * @param {HTMLElement} element where the answer stands; it is all ours
   * @param {() => void} changed is called when there is more to see
   */
  constructor(element, changed) {
    this.element = element;
    this.changed = changed;
    this.#place = element;
  }

  /** Whether all that is known can be seen. */
  get drawn() {
    return this.#drawn;
  }

  /**
   * @param {string} text the whole answer, as far as it is known
   * @param {boolean} growing whether more may come
   */
  show(text, growing) {
    if (this.#drawn && !growing && !this.#growing && text === this.#wanted) return;
    this.#wanted = text;
    if (this.#growing && !growing) this.#notBefore = 0;
    this.#growing = growing;
    this.#drawn = false;
    inFrames(this.#job);
  }

  #clear() {
    this.element.replaceChildren();
    this.#place = this.#growing ? this.element : document.createElement("div");
    this.#blocks = [];
    this.#taken = 0;
    this.#tail = 0;
    this.#prefix = "";
    this.#before = null;
    this.#links = Object.create(null);
    this.#lacking.clear();
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
    if (this.#taken === 0 || !text.startsWith(this.#text)) this.#clear();
    this.#text = text;
    this.#taken = Math.min(this.#taken + PORTION, this.#text.length);
    try {
      while (this.#read());
    } catch (error) {
      reportError(error);
      this.#showPlain();
    }
    this.element.classList.toggle("long", this.#tail > LONG);
    this.#notBefore = now + PACE * (performance.now() - now);
    this.#drawn = this.#taken === this.#text.length;
    if (this.#place !== this.element && (this.#drawn || this.#growing)) {
      this.element.append(...this.#place.childNodes);
      this.#place = this.element;
    }
    if (this.#place === this.element) this.changed();
    return !this.#drawn;
  }

  /** What cannot be read as Markdown is shown as it is. */
  #showPlain() {
    this.#clear();
    this.#taken = this.#text.length;
    const plain = document.createElement("pre");
    plain.className = "plain";
    plain.textContent = this.#text;
    this.#place.append(plain);
    this.#blocks = [{ source: "", nodes: [plain], code: null, before: null, stale: false }];
  }

  /** @returns {boolean} whether a part was finished, so that what follows it is to be read */
  #read() {
    const source = this.#prefix + this.#text.slice(this.#tail, this.#taken);
    const open = this.#growing || this.#taken < this.#text.length;
    const shown = this.#blocksOf(open ? closed(source.replace(UNDECIDED, "")) : source);
    for (const [index, { token, begins }] of shown.slice(0, 2).entries()) {
      const part = partOf(token);
      if (part === null || (index === 0 && part.end <= this.#prefix.length)) continue;
      this.#draw(this.#blocksOf(source.slice(0, begins + part.end).replace(/[ \t]+$/, "")));
      const before = this.#blocks.at(-1) ?? null;
      this.#finish(this.#blocks.length, begins + part.end);
      this.#prefix = part.prefix;
      this.#before = before;
      return true;
    }
    this.#draw(shown);
    const first = shown.at(-2);
    if (shown.length > 2 && first !== undefined) this.#finish(shown.length - 2, first.begins);
    return false;
  }

  /**
   * @param {string} source
   * @returns {Read[]} the blocks in it that are to be seen
   */
  #blocksOf(source) {
    const links = Object.assign(Object.create(null), this.#links);
    let begins = 0;
    const found = [];
    /** Finished blocks for whose links an address has come. @type {Set<Block>} */
    const complete = new Set();
    for (const token of blocks(source, links)) {
      if (token.type !== "space" && token.type !== "def") found.push({ token, begins });
      begins += token.raw.length;
    }
    for (const label of Object.keys(links)) {
      if (label in this.#links) continue;
      this.#links[label] = links[label];
      for (const block of this.#blocks) block.stale ||= labels(block.source).includes(label);
      for (const block of this.#lacking.get(label) ?? []) complete.add(block);
      this.#lacking.delete(label);
    }
    for (const block of complete) {
      const [token] = blocks(block.source, { ...this.#links });
      if (token !== undefined) renew(block, nodesOf(token, block.before), this.#place);
    }
    return found;
  }

  /**
   * Some blocks at the beginning of the tail have taken their last form.
   * @param {number} count how many
   * @param {number} end where they end in the tail, with its prefix
   */
  #finish(count, end) {
    for (const block of this.#blocks.splice(0, count)) {
      for (const label of block.code === null ? labels(block.source) : []) {
        if (label in this.#links) continue;
        const lacking = this.#lacking.get(label) ?? new Set();
        this.#lacking.set(label, lacking.add(block));
      }
    }
    this.#tail += end - this.#prefix.length;
    this.#prefix = "";
    this.#before = null;
  }

  /** @param {Read[]} shown what the tail now consists of */
  #draw(shown) {
    shown.forEach(({ token }, index) => {
      const block = this.#blocks[index];
      const source = token.raw.trimEnd();
      if (block === undefined) this.#add(token, index === 0 ? this.#before : null);
      else if (block.source !== source || block.stale) this.#change(block, token);
    });
    for (const block of this.#blocks.splice(shown.length)) for (const node of block.nodes) node.remove();
  }

  /**
   * @param {Token} token
   * @param {Block | null} before
   */
  #add(token, before) {
    const { code, nodes } = made(token, before);
    // The rows of a table that goes on stand in its frame already.
    for (const node of nodes) if (isLoose(node)) this.#place.append(node);
    this.#blocks.push({ source: token.raw.trimEnd(), nodes, code, before, stale: false });
  }

  /**
   * @param {Block} block
   * @param {Token} token
   */
  #change(block, token) {
    block.source = token.raw.trimEnd();
    block.stale = false;
    if (block.code !== null && token.type === "code" && block.code.language === language(token)) {
      block.code.show(textOf(token, block.before));
      return;
    }
    const after = block.nodes.at(-1)?.nextSibling ?? null;
    const place = block.nodes.at(-1)?.parentNode ?? this.#place;
    const { code, nodes } = made(token, block.before);
    if (code === null && block.code === null) {
      renew(block, nodes, this.#place);
      return;
    }
    for (const node of block.nodes) node.remove();
    for (const node of nodes) if (isLoose(node)) place.insertBefore(node, after);
    Object.assign(block, { code, nodes });
  }
}

/** Whether it stands nowhere yet. @param {Node} node */
const isLoose = (node) => !(node.parentNode instanceof Element);

/** @param {Token} token */
const language = (token) => (token.lang ?? "").split(/\s/)[0] ?? "";

/**
 * @param {Token} token
 * @param {Block | null} before
 * @returns {{code: CodeBlock | null, nodes: Element[]}}
 */
function made(token, before) {
  if (token.type !== "code") return { code: null, nodes: nodesOf(token, before) };
  if (before?.code != null) {
    before.code.show(textOf(token, before));
    return { code: before.code, nodes: [] };
  }
  const code = new CodeBlock(language(token));
  code.show(textOf(token, null));
  return { code, nodes: [code.element] };
}

/** @type {WeakMap<Block, string>} the code of a part that is finished */
const finished = new WeakMap();

/**
 * @param {Token} token of code
 * @param {Block | null} before
 * @returns {string} its text, with that of the parts before
 */
function textOf(token, before) {
  // The last line of indented code never ends for certain.
  const text = token.codeBlockStyle === "indented" ? (token.text ?? "").trimEnd() : (token.text ?? "");
  if (before?.code == null) return text;
  const base = finished.get(before) ?? before.code.text;
  finished.set(before, base);
  return text ? `${base}\n${text}` : base;
}

/**
 * @param {Token} token
 * @param {Block | null} before
 * @returns {Element[]} its elements; of a table that goes on, what its frame gets
 */
function nodesOf(token, before) {
  const fragment = elements(token);
  const last = before?.nodes.at(-1);
  if (before === null || last === undefined) return Array.from(fragment.children);
  const frame = last.closest(".wide");
  const table = fragment.querySelector("table");
  if (token.type === "table" && table !== null && frame !== null) {
    // All the rows in one table would be laid out again with each new one.
    const rows = document.createElement("div");
    rows.className = "rows";
    table.tHead?.classList.add("unseen");
    rows.append(table);
    frame.append(rows);
    frame.classList.add("long");
    return [rows];
  }
  const first = fragment.firstElementChild;
  if (first?.localName !== last.localName) return Array.from(fragment.children);
  first.classList.add("more");
  // An item that was cut has no mark of its own again.
  const isCut = token.type === "list" && /^ *\S+\n/.test(token.raw);
  if (isCut) first.firstElementChild?.classList.add("more");
  if (first instanceof HTMLOListElement && last instanceof HTMLOListElement) {
    first.start = last.start + last.childElementCount - (isCut ? 1 : 0);
  }
  return Array.from(fragment.children);
}

/**
 * Give a block other elements, and keep of the old ones what is the same: a selection in them lives on.
 * @param {Block} block
 * @param {Element[]} fresh
 * @param {Element} place where they go if there were none
 */
function renew(block, fresh, place) {
  const old = block.nodes;
  const last = old.at(-1);
  const parent = last?.parentNode ?? place;
  const after = last?.nextSibling ?? null;
  const grows = old.length <= fresh.length && old.every((node, index) => node.localName === fresh[index]?.localName);
  const kept = grows ? old : [];
  if (!grows) for (const node of old) node.remove();
  block.nodes = fresh.map((node, index) => {
    const there = kept[index];
    if (there !== undefined) {
      node.remove();
      patch(there, node);
      return there;
    }
    if (isLoose(node)) parent.insertBefore(node, after); // rows stand in their table already
    return node;
  });
}

/**
 * @param {string} source of a tail that is still being written
 * @returns {string} the same with its last marks closed, so that what is to be bold is so from its first letter
 */
export function closed(source) {
  if (isInCode(source)) return source;
  const start = source.lastIndexOf("\n\n") + 1;
  let end = source.slice(start).replace(/!?\[([^\]\n]*)(?:\]\([^)\s]*|\]\[[^\]\n]*)?$/, "$1");
  const formula = openFormula(end);
  if (formula !== "") return source.slice(0, start) + end.replace(/\\$/, "") + formula;
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
 * @param {string} paragraph
 * @returns {string} what closes the formula that is being written
 */
function openFormula(paragraph) {
  let open = "";
  for (const [mark] of paragraph.matchAll(/\\\\|\\[()[\]]|\$\$|`+[^`]*`+/g)) {
    if (open === "") open = { "\\(": "\\)", "\\[": "\\]", $$: "$$" }[mark] ?? "";
    else if (mark === open) open = "";
  }
  return open;
}

/**
 * @param {string} source
 * @returns {boolean} whether it ends inside a fence
 */
function isInCode(source) {
  let fence = "";
  for (const [, mark = ""] of source.matchAll(/^[ \t]*(?:(?:>|[-*+]|\d+[.)])[ \t]+)*(`{3,}|~{3,})/gm)) {
    if (fence === "") fence = mark;
    else if (mark.startsWith(fence)) fence = "";
  }
  return fence !== "";
}
