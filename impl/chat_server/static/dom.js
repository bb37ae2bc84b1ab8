/** The little that is needed to find things on the page and to write on them. */

/**
 * @template {Element} T
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T}
 */
export function find(root, selector, type) {
  const element = root.querySelector(selector);
  if (!(element instanceof type)) throw new Error(`the page lacks ${selector}`);
  return element;
}

/**
 * Set a text unless it is there already: writing it again would make screen readers read it again.
 * @param {Element} element
 * @param {string} text
 */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Listen to keys; those that belong to an input method are none of the page's. In Safari only its code 229 marks the key
 * that ends a composition.
 * @param {EventTarget} target
 * @param {(event: KeyboardEvent) => void} pressed
 */
export function onKey(target, pressed) {
  target.addEventListener("keydown", (event) => {
    if (event instanceof KeyboardEvent && !event.isComposing && event.keyCode !== 229) pressed(event);
  });
}

/** Letters that are written from right to left, and any letter. */
const RIGHT_TO_LEFT = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;
const LETTER = /\p{L}/u;
/** A text whose beginning has no letter runs as the page does: `dir="auto"` would look at a megabyte with every key. */
const BEGINNING = 1_000;

/**
 * @param {string} text
 * @returns {"ltr" | "rtl"} which way its first letter runs
 */
export function direction(text) {
  const letter = LETTER.exec(text.slice(0, BEGINNING))?.[0] ?? "";
  return RIGHT_TO_LEFT.test(letter) ? "rtl" : "ltr";
}
