/** A button that copies says that it has, or that it could not, until the pointer or the focus leaves it. */

const LEAVING = ["pointerleave", "blur"];

/**
 * @param {HTMLButtonElement} button keeps its width while it says "Copied": one that shrinks away from below the
 *   pointer has been left by it
 * @param {string} text
 */
export async function copy(button, text) {
  const word = (await written(text)) ? "Copied" : "Not copied";
  if (button.dataset.done) return;
  const { ariaLabel, textContent } = button;
  const isText = textContent?.trim() !== "";
  button.style.minWidth = `${button.offsetWidth}px`;
  button.dataset.done = "true";
  if (isText) button.textContent = word;
  if (ariaLabel !== null) button.ariaLabel = word;
  const forget = () => {
    delete button.dataset.done;
    button.style.minWidth = "";
    if (isText) button.textContent = textContent;
    if (ariaLabel !== null) button.ariaLabel = ariaLabel;
    for (const leaving of LEAVING) button.removeEventListener(leaving, forget);
  };
  for (const leaving of LEAVING) button.addEventListener(leaving, forget);
}

/**
 * @param {string} text
 * @returns {Promise<boolean>} whether it is in the clipboard
 */
async function written(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return selected(text);
  }
}

/** Plain http beyond loopback has no clipboard but this. @param {string} text */
function selected(text) {
  const before = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (before instanceof HTMLElement) before.focus({ preventScroll: true });
  return done;
}
