/**
 * Markdown that nobody vouches for, as elements that can do no harm.
 *
 * HTML in it is shown as text, pictures become links, links open elsewhere. What marked makes of the rest goes
 * through DOMPurify, with a list of all that may come out.
 */

import { Marked } from "./vendor/marked.js";
import DOMPurify from "./vendor/purify.js";

/** @typedef {import("./vendor/marked.js").Token} Token */

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

const marked = new Marked({
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
 * @returns {Token[]} its blocks, in order; their `raw` joined is the source
 */
export const blocks = (source) => marked.lexer(source);

/**
 * @param {Token} token of `blocks`
 * @returns {DocumentFragment}
 */
export function elements(token) {
  const fragment = DOMPurify.sanitize(marked.parser([token]), ALLOWED);
  for (const link of fragment.querySelectorAll("a[href]")) {
    link.setAttribute("rel", "noopener noreferrer");
    link.setAttribute("target", "_blank");
  }
  // Not the parts of a block: text below another `dir` has no say in which way the block runs.
  for (const each of [...fragment.children, ...fragment.querySelectorAll("td, th")]) each.setAttribute("dir", "auto");
  for (const table of fragment.querySelectorAll("table")) {
    const frame = scrollable("div", "Table");
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const pre of fragment.querySelectorAll("pre")) {
    const language = /^language-(.*)/.exec(pre.firstElementChild?.className ?? "")?.[1] ?? "";
    const code = new CodeBlock(language);
    code.show((pre.textContent ?? "").replace(/\n$/, ""));
    pre.replaceWith(code.element);
  }
  for (const each of fragment.querySelectorAll("[class]:not(.wide, .code, .quiet)")) each.removeAttribute("class");
  for (const item of fragment.querySelectorAll("li")) {
    if (/^[☐☑] /.test(item.textContent ?? "")) item.className = "task";
  }
  return fragment;
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
