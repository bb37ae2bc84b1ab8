/** Where a long block is cut, so that its beginning need not be read again. */

/** @typedef {import("./markdown.js").Token} Token */
/**
 * @typedef {object} Part
 * @property {number} end of the part that is finished
 * @property {string} prefix what is to stand before the rest for it to be read as it was: it begins no new block
 */

/** A longer block is cut; in characters. */
export const LONG = 4_000;
/** Where it is cut at the latest: the text after it may still be changing. */
const CUT = 3_000;
/** What has to be read again with each part must not be long itself. */
const MOST_PREFIX = 1_000;

/**
 * Only the beginning of the block decides, so that the cut is the same however much of it is known.
 * @param {Token} token
 * @returns {Part | null} null if it stays whole
 */
export function partOf(token) {
  return token.raw.length < LONG ? null : cut(token, CUT);
}

/**
 * @param {Token} token
 * @param {number} most where the part ends at the latest
 * @returns {Part | null}
 */
function cut(token, most) {
  const { type, raw } = token;
  switch (type) {
    case "list":
      return cutList(token, most);
    case "blockquote":
      return cutQuote(token, most);
    case "table":
      return cutLines(raw, most, /^[^\n]*\n[^\n]*\n/.exec(raw)?.[0] ?? "");
    case "code": {
      const [fence] = /^ {0,3}(?:`{3,}|~{3,})[^\n]*\n/.exec(raw) ?? [""];
      return cutLines(raw, most, fence, /\n(?=[^\n])/g);
    }
    case "paragraph":
    case "text":
    case "footnote":
      return cutWords(raw, most);
    case "heading": // a line of === below what was a paragraph until then
      return /^ {0,3}#/.test(raw) ? null : cutWords(raw, most);
    case "html":
      return cutLines(raw, most, "");
    default:
      return null;
  }
}

/**
 * @param {string} raw
 * @param {number} most
 * @param {string} prefix
 * @param {RegExp} breaks
 * @returns {Part | null}
 */
function cutLines(raw, most, prefix, breaks = /\n/g) {
  if (prefix.length > MOST_PREFIX) return null;
  let end = 0;
  for (const { index } of raw.slice(0, most).matchAll(breaks)) end = index + 1;
  return end > prefix.length ? { end, prefix } : null;
}

/**
 * @param {string} raw
 * @param {number} most
 * @returns {Part}
 */
function cutWords(raw, most) {
  let end = 0; // the rest begins with a letter: with a mark it would be another block
  for (const { index } of raw.slice(0, most).matchAll(/[ \n](?=\p{L})/gu)) end = index + 1;
  if (end > most / 2) return { end, prefix: "" };
  // A text without blanks is cut anywhere, but not inside a character.
  const high = raw.charCodeAt(most - 1);
  return { end: high >= 0xd800 && high < 0xdc00 ? most - 1 : most, prefix: "" };
}

/**
 * @param {Token} list
 * @param {number} most
 * @returns {Part | null}
 */
function cutList({ items = [] }, most) {
  let end = 0;
  for (const [index, item] of items.entries()) {
    if (end + item.raw.length > most) return end > 0 ? { end, prefix: "" } : cutItem(item, most);
    end += item.raw.length;
    if (index === items.length - 1) return null;
  }
  return null;
}

/**
 * One item that is too long: the rest of it begins with an empty line of an item.
 * @param {Token} item
 * @param {number} most
 * @returns {Part | null}
 */
function cutItem({ raw, tokens = [] }, most) {
  const mark = /^ {0,3}(?:[-*+]|\d{1,9}[.)])(?=[ \t\n])/.exec(raw)?.[0];
  if (mark === undefined) return null;
  const indent = /^[ \t]*/.exec(raw.slice(mark.length))?.[0] ?? "";
  const width = mark.length + (indent.length > 4 || indent.length === 0 ? 1 : indent.length);
  return cutInside(raw, tokens, most, `${mark}\n`, " ".repeat(width), false);
}

/**
 * @param {Token} quote
 * @param {number} most
 * @returns {Part | null}
 */
function cutQuote({ raw, tokens = [] }, most) {
  return cutInside(raw, tokens, most, "", "> ", true);
}

/**
 * Cut a block that has others in it. A line inside it is a line outside, with a mark before it.
 * @param {string} raw of the outer block
 * @param {Token[]} tokens in it
 * @param {number} most
 * @param {string} opening what the rest has to begin with
 * @param {string} mark before each line of a prefix
 * @param {boolean} all whether each line outside must have the mark for the lines to fit
 * @returns {Part | null}
 */
function cutInside(raw, tokens, most, opening, mark, all) {
  const lines = raw.split("\n");
  // How many lines of the block end before the bound; of those inside, at most `most` are looked at.
  let bound = 0;
  for (let length = 0; bound < lines.length; bound += 1) {
    length += (lines[bound]?.length ?? 0) + 1;
    if (length > most) break;
  }
  if (all && lines.slice(0, bound).some((line) => !/^ {0,3}>/.test(line))) return null;
  let begun = 0;
  for (const token of tokens) {
    const count = newlines(token.raw);
    if (begun + count < bound) {
      begun += count;
      continue;
    }
    if (begun > 0 && begun * 2 > bound) return upTo(lines, begun, opening);
    // The token that reaches beyond the bound is itself cut, at the line that lies nearest before it.
    const inner = Math.min(token.raw.split("\n").slice(0, Math.max(bound - begun, 1)).join("\n").length, most);
    const part = cut(token, inner);
    if (part === null) return begun > 0 ? upTo(lines, begun, opening) : null;
    const head = token.raw.slice(0, part.end).split("\n");
    const column = head.at(-1)?.length ?? 0;
    const within = head.length - 1;
    const prefix = part.prefix.replace(/^(?=[^\n])/gm, mark);
    if (column === 0) return begun + within === 0 ? null : upTo(lines, begun + within, opening + prefix);
    // In the middle of a line, which ends outside as it does inside.
    const outer = lines[begun + within] ?? "";
    const innerLine = token.raw.split("\n")[within] ?? "";
    const found = upTo(lines, begun + within, opening + prefix + mark);
    return found && { ...found, end: found.end + outer.length - innerLine.length + column };
  }
  return null;
}

/** @param {string} text */
const newlines = (text) => text.split("\n").length - 1;

/**
 * @param {string[]} lines
 * @param {number} count
 * @param {string} prefix
 * @returns {Part | null}
 */
function upTo(lines, count, prefix) {
  const end = count === 0 ? 0 : lines.slice(0, count).join("\n").length + 1;
  return prefix.length > MOST_PREFIX ? null : { end, prefix };
}
