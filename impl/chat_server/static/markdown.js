/**
 * Markdown that nobody vouches for, as elements that can do no harm, read as it was meant.
 *
 * HTML in it is shown as text, pictures become links, links open elsewhere. What marked makes of the rest goes
 * through DOMPurify, with a list of all that may come out. Where the letter of GFM takes marks that were not meant
 * (single tildes, formulas) or overlooks some that were (beside Chinese and Japanese punctuation), `grammar.js` differs.
 */

import { direction } from "./dom.js";
import { grammar } from "./grammar.js";
import { Lexer, Marked } from "./vendor/marked.js";
import DOMPurify from "./vendor/purify.js";

/** @typedef {import("./vendor/marked.js").Token} Token */
/** What `[label]: address` lines have said, by label. @typedef {import("./vendor/marked.js").Links} Links */

const ALLOWED = {
  ALLOWED_TAGS: [
    ..."h2 h3 h4 h5 h6 p br hr blockquote ul ol li a code pre strong em del sub sup kbd".split(" "),
    ..."table thead tbody tr th td".split(" "),
  ],
  ALLOWED_ATTR: ["href", "class", "start", "align"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i, // which other attributes would have to match, too
  ADD_URI_SAFE_ATTR: ["start", "align"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: /** @type {const} */ (true),
};

/** HTML that people write in Markdown for want of another way. */
const HARMLESS = /^<(?:br ?\/?|\/?(?:sub|sup|kbd))>$/i;

/** @type {Record<string, string>} */
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escape = /** @param {string} text */ (text) => text.replace(/[&<>"']/g, (char) => ENTITIES[char] ?? char);

const marked = new Marked(grammar(escape), {
  gfm: true,
  renderer: {
    html({ text, block }) {
      if (HARMLESS.test(text.trim())) return text;
      return block ? `<p>${escape(text.trimEnd()).replaceAll("\n", "<br>")}</p>\n` : escape(text);
    },
    image({ href, text }) {
      return `<a href="${escape(href)}">${escape(text || href)}</a>`;
    },
    checkbox({ checked }) {
      return checked ? "☑ " : "☐ ";
    },
    heading({ tokens, depth }) {
      const level = Math.min(depth + 1, 6); // the page has its own first heading
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>\n`;
    },
  },
});

/**
 * @param {string} source
 * @param {Links} links what is known of earlier text; what this text defines is added
 * @returns {Token[]} its blocks, in order; their `raw` joined is the source
 */
export function blocks(source, links) {
  const lexer = new Lexer(marked.defaults);
  Object.assign(lexer.tokens.links, links);
  const tokens = lexer.lex(source);
  for (const label of Object.keys(lexer.tokens.links)) links[label] ??= lexer.tokens.links[label];
  return tokens;
}

/**
 * @param {string} source
 * @returns {string[]} the labels of links that may be defined elsewhere in the text
 */
export function labels(source) {
  if (!source.includes("[")) return [];
  // As marked compares them.
  return Array.from(source.matchAll(/\[((?:\\.|[^[\]\\])+)\]/g), ([, label = ""]) =>
    label.trim().toLowerCase().replace(/\s+/g, " "),
  );
}

/**
 * @param {Token} token of `blocks`
 * @returns {DocumentFragment}
 */
export function elements(token) {
  const fragment = DOMPurify.sanitize(marked.parser([token]), ALLOWED);
  for (const link of fragment.querySelectorAll("a")) {
    if (!link.hasAttribute("href")) {
      link.replaceWith(...link.childNodes); // what leads nowhere does not look like a link
      continue;
    }
    link.setAttribute("rel", "noopener noreferrer");
    link.setAttribute("target", "_blank");
  }
  const languages = new Map();
  for (const each of fragment.querySelectorAll("[class]")) {
    languages.set(each, /^language-(.*)/.exec(each.className)?.[1] ?? "");
    each.removeAttribute("class"); // none of the page's
  }
  // Not the parts of a block: text below another `dir` has no say in which way the block runs.
  for (const each of [...fragment.children, ...fragment.querySelectorAll("td, th")]) each.setAttribute("dir", "auto");
  for (const table of fragment.querySelectorAll("table")) {
    const frame = scrollable("div", "Table");
    // Its cells each have their own direction; in which order they stand, the first row says.
    table.dir = frame.dir = direction(table.rows[0]?.textContent ?? "");
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const pre of fragment.querySelectorAll("pre")) {
    const code = new CodeBlock(languages.get(pre.firstElementChild) ?? "");
    code.show((pre.textContent ?? "").replace(/\n$/, ""));
    pre.replaceWith(code.element);
  }
  for (const item of fragment.querySelectorAll("li")) {
    if (/^[☐☑] /.test(item.textContent ?? "")) item.className = "task";
  }
  return fragment;
}

/**
 * @param {Element} element made here
 * @returns {string} the same as one would read it out
 */
export function spoken(element) {
  if (element.matches(".code")) return `${element.querySelector("pre")?.ariaLabel ?? "Code"}.`;
  const words = [];
  for (const node of element.childNodes) {
    if (node instanceof Element) words.push(BREAKS.test(node.localName) ? ` ${spoken(node)} ` : spoken(node));
    else words.push(node.textContent ?? "");
  }
  return words.join("");
}

const BREAKS = /^(?:p|br|h[2-6]|li|ul|ol|td|th|tr|div|table|blockquote)$/;

/** @type {Map<string, string>} */
const previews = new Map();
const MOST_PREVIEWS = 500;

/**
 * @param {string} source the beginning of an answer
 * @returns {string} the same without marks, in one line
 */
export function preview(source) {
  const known = previews.get(source);
  if (known !== undefined) return known;
  let found = source;
  try {
    const shown = blocks(source, Object.create(null)).filter(({ type }) => type !== "space" && type !== "def");
    const words = shown.map((token) => (token.type === "code" ? (token.text ?? "") : elements(token).textContent));
    found = words.join(" ").replace(/\s+/g, " ").trim();
  } catch (error) {
    reportError(error); // and the list shows it as it is
  }
  if (previews.size >= MOST_PREVIEWS) previews.clear();
  previews.set(source, found);
  return found;
}

/**
 * @param {string} tag
 * @param {string} label
 * @returns {HTMLElement} a part that scrolls by itself, by keyboard too
 */
function scrollable(tag, label) {
  const element = document.createElement(tag);
  element.className = "wide";
  element.tabIndex = 0;
  element.role = "region";
  element.ariaLabel = label;
  return element;
}

/** Code with its language and a button to copy it; it may grow. */
export class CodeBlock {
  #text = "";
  /** @type {Text | null} */
  #last = null;
  #code;

  /** @param {string} language as the answer names it, may be empty */
  constructor(language) {
    this.language = language;
    this.element = document.createElement("div");
    this.element.className = "code";
    const head = document.createElement("div");
    const name = document.createElement("span");
    name.textContent = language || "code";
    const copy = document.createElement("button");
    copy.type = "button";
    copy.className = "quiet";
    copy.dataset.part = "copy-code";
    copy.textContent = "Copy";
    copy.ariaLabel = language ? `Copy the code in ${language}` : "Copy the code";
    head.append(name, copy);
    const pre = scrollable("pre", language ? `Code in ${language}` : "Code");
    pre.dir = "ltr";
    this.#code = document.createElement("code");
    pre.append(this.#code);
    this.element.append(head, pre);
  }

  get text() {
    return this.#text;
  }

  /** @param {string} text all of it, usually what was there with more after it */
  show(text) {
    if (!text.startsWith(this.#text)) {
      this.#code.replaceChildren();
      this.#text = "";
      this.#last = null;
    }
    let more = text.slice(this.#text.length);
    this.#text = text;
    while (more !== "") {
      // In portions of whole lines, since the browser lays out a whole portion whenever it grows.
      const room = PORTION - (this.#last?.length ?? PORTION);
      if (this.#last === null || (room <= 0 && this.#last.data.endsWith("\n"))) this.#last = this.#portion();
      const left = Math.max(PORTION - this.#last.length, 0);
      const end = left >= more.length ? more.length : more.indexOf("\n", left) + 1 || more.length;
      this.#last.appendData(more.slice(0, end));
      more = more.slice(end);
    }
  }

  #portion() {
    const portion = document.createElement("span");
    const text = document.createTextNode("");
    portion.append(text);
    this.#code.append(portion);
    return text;
  }
}

const PORTION = 4000;
