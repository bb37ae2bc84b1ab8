/** A button that copies says that it has, until the pointer or the focus leaves it. */

const LEAVING = ["pointerleave", "blur"];

/**
 * @param {HTMLButtonElement} button keeps its width while it says "Copied": one that shrinks away from below the
 *   pointer has been left by it
 * @param {string} text
 */
export async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    return; // plain http beyond loopback has no clipboard
  }
  if (button.dataset.done) return;
  const { ariaLabel, textContent } = button;
  button.style.minWidth = `${button.offsetWidth}px`;
  button.dataset.done = "true";
  if (ariaLabel === null) button.textContent = "Copied";
  else button.ariaLabel = "Copied";
  const forget = () => {
    delete button.dataset.done;
    button.style.minWidth = "";
    if (ariaLabel === null) button.textContent = textContent;
    else button.ariaLabel = ariaLabel;
    for (const leaving of LEAVING) button.removeEventListener(leaving, forget);
  };
  for (const leaving of LEAVING) button.addEventListener(leaving, forget);
}
