/** Make one element equal to another, and leave alone what is equal already: a selection in it lives on. */

/**
 * @param {Element} old
 * @param {Element} fresh of the same name; what is taken from it, it loses
 */
export function patch(old, fresh) {
  for (const { name } of Array.from(old.attributes)) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const children = Array.from(fresh.childNodes);
  children.forEach((child, index) => {
    const there = old.childNodes[index];
    if (there === undefined) old.append(child);
    else if (there instanceof Text && child instanceof Text) write(there, child.data);
    else if (there instanceof Element && child instanceof Element && there.localName === child.localName) patch(there, child);
    else there.replaceWith(child);
  });
  while (old.childNodes.length > children.length) old.lastChild?.remove();
}

/**
 * @param {Text} text
 * @param {string} data
 */
function write(text, data) {
  if (data.startsWith(text.data)) {
    if (data.length > text.length) text.appendData(data.slice(text.length));
  } else text.data = data;
}
