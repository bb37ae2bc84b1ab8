/** Where Markdown as models write it differs from the letter of GFM. */

import { Tokenizer } from "./vendor/marked.js";

/** @typedef {import("./vendor/marked.js").Options} Options */
/** @typedef {import("./vendor/marked.js").Token} Token */

/** Letters and punctuation of languages that are written without blanks. */
const WITHOUT_BLANKS =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Bopomofo}\u3000-\u303f\uff00-\uffef]/u;
/** Where a bare address ends although no blank follows. */
const FULL_WIDTH = /[\u2018-\u201f\u2026\u3000-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]/;
const ADDRESS = /^(?:(?:https?|ftp):\/\/|www\.)/i;
/** No emphasis, address or formula is longer. */
const LONGEST = 2_000;
/** A paragraph with more marks than anybody writes gets no emphasis: to pair them takes the square of their number. */
const MOST_MARKS = 200;
/** Taken as text in one go: the rule for text looks ahead from each mark as far as there is no blank. */
const PLAIN = /^[*_]+[a-gi-vx-z\d ]*/i;
const FOOTNOTE = /^ {0,3}\[\^([^\]\s[]{1,40})\]:[ \t]*([^\n]*(?:\n(?! {0,3}\[\^[^\]\s[]{1,40}\]:|[ \t]*(?:\n|$))[^\n]*)*)(?:\n|$)/;
const REFERENCE = /^\[\^([^\]\s[]{1,40})\]/;
const FORMULAS = /^ {0,3}(?:\\\[|\$\$|\\begin\{([a-zA-Z]{1,20}\*?)\})/;
const BEGINS_FORMULA = /\n {0,3}(?:\\\[|\$\$|\\begin\{)/;
const BEGINS_FOOTNOTE = /\n {0,3}\[\^[^\]\s[]{1,40}\]:/;
/** In dollars is a formula only what can be nothing else: prices are more common. */
const IN_DOLLARS = /^\$(?![\s$])([^$\n]{0,500}?[\\^_{}][^$\n]{0,500}?)(?<![\s\\])\$(?![\d$])/;

let heavy = { source: "", is: false };

/** @param {string} source */
function hasTooManyMarks(source) {
  if (heavy.source !== source) heavy = { source, is: (source.match(/[*_]+/g) ?? []).length > MOST_MARKS };
  return heavy.is;
}

/**
 * @param {string} source
 * @param {string} closing
 * @param {number} begins
 * @returns {number} the end of a formula, 0 if it has none
 */
function formulaEnd(source, closing, begins) {
  const window = source.slice(0, LONGEST);
  const end = window.indexOf(closing, begins);
  if (end < 0 || /\n[ \t]*\n/.test(window.slice(0, end)) || window.slice(begins, end).trim() === "") return 0;
  return end + closing.length;
}

/**
 * @param {string} source that begins with the mark of an emphasis
 * @param {string} masked the same with code and links made unreadable
 * @param {string} before the character before it
 * @returns {{mark: number, end: number} | null} an emphasis that touches text without blanks
 */
function cjkEmphasis(source, masked, before) {
  const mark = /^\*{1,2}(?![*\s])/.exec(source)?.[0].length;
  if (mark === undefined) return null;
  const window = masked.slice(0, LONGEST);
  for (const { 0: run, index } of window.slice(mark).matchAll(/\*+/g)) {
    if (run.length > 2) return null;
    if (run.length !== mark) continue;
    const end = index + mark;
    const inner = source.charAt(end - 1);
    if (/\s/.test(inner)) return null;
    const around = before + source.charAt(mark) + inner + source.charAt(end + mark);
    return WITHOUT_BLANKS.test(around) ? { mark, end } : null;
  }
  return null;
}

/**
 * @param {(text: string) => string} escape
 * @returns {Options}
 */
export function grammar(escape) {
  return {
    tokenizer: {
      // `~3~5 minutes`: only two strike out
      del: (source) => (source.startsWith("~~") ? false : undefined),
      // `[^1]: text` is a footnote, not the address of a link
      def: (source) => (/^ {0,3}\[\^/.test(source) ? undefined : false),
      url(source) {
        if (!ADDRESS.test(source)) return false;
        const end = source.slice(0, LONGEST).search(FULL_WIDTH);
        return Tokenizer.prototype.url.call(this, end < 0 ? source : source.slice(0, end));
      },
      // The state that `<kbd>` or `<a>` leaves would say how the text after it is escaped.
      tag(source) {
        const before = { ...this.lexer.state };
        const token = Tokenizer.prototype.tag.call(this, source);
        Object.assign(this.lexer.state, before);
        return token;
      },
      emStrong(source, masked, before = "") {
        if (hasTooManyMarks(masked)) {
          const raw = PLAIN.exec(source)?.[0];
          return raw === undefined ? undefined : { type: "text", raw, text: raw };
        }
        if (!source.startsWith("*")) return false;
        const found = cjkEmphasis(source, masked.slice(-source.length), before);
        if (found === null) return false;
        const { mark, end } = found;
        const text = source.slice(mark, end);
        const type = mark === 2 ? "strong" : "em";
        return { type, raw: source.slice(0, end + mark), text, tokens: this.lexer.inlineTokens(text) };
      },
    },
    extensions: [
      {
        name: "formula",
        level: "inline",
        start: (source) => source.indexOf("$"),
        tokenizer(source) {
          let end = 0;
          if (source.startsWith("\\(")) end = formulaEnd(source, "\\)", 2);
          else if (source.startsWith("\\[")) end = formulaEnd(source, "\\]", 2);
          else if (source.startsWith("$$")) end = formulaEnd(source, "$$", 2);
          else if (source.startsWith("$")) end = IN_DOLLARS.exec(source)?.[0].length ?? 0;
          return end === 0 ? undefined : { type: "formula", raw: source.slice(0, end) };
        },
        renderer: ({ raw }) => (/^\$[^$]/.test(raw) ? escape(raw) : `<code>${escape(raw).replaceAll("\n", "<br>")}</code>`),
      },
      {
        name: "formulas",
        level: "block",
        start: (source) => BEGINS_FORMULA.exec(source)?.index,
        tokenizer(source) {
          const [opening, environment] = FORMULAS.exec(source) ?? [];
          if (opening === undefined) return undefined;
          const closing = environment ? `\\end{${environment}}` : opening.endsWith("[") ? "\\]" : "$$";
          const end = formulaEnd(source, closing, opening.length);
          const rest = end === 0 ? null : /^[ \t]*(?:\n|$)/.exec(source.slice(end));
          return rest ? { type: "formulas", raw: source.slice(0, end + rest[0].length) } : undefined;
        },
        renderer: ({ raw }) => `<p><code>${escape(raw.trim()).replaceAll("\n", "<br>")}</code></p>\n`,
      },
      {
        name: "footnote",
        level: "block",
        start: (source) => BEGINS_FOOTNOTE.exec(source)?.index,
        tokenizer(source) {
          const [raw, label = "", text = ""] = FOOTNOTE.exec(source) ?? [];
          if (raw === undefined) return undefined;
          /** @type {Token} */
          const token = { type: "footnote", raw, label, tokens: [] };
          this.lexer.inline(text, token.tokens);
          return token;
        },
        renderer({ label = "", tokens = [] }) {
          return `<p><sup>${escape(label)}</sup> ${this.parser.parseInline(tokens)}</p>\n`;
        },
      },
      {
        name: "footnoteReference",
        level: "inline",
        tokenizer(source) {
          const [raw, label] = REFERENCE.exec(source) ?? [];
          return raw === undefined ? undefined : { type: "footnoteReference", raw, label };
        },
        renderer: ({ label = "" }) => `<sup>${escape(label)}</sup>`,
      },
    ],
  };
}
