/** A conversation as a file of one's own. */

import { getConversation } from "./api.js";
import { copy } from "./clipboard.js";
import { find } from "./dom.js";

/** @typedef {import("./api.js").History} History */

/**
 * @param {History} history
 * @returns {string}
 */
function markdown({ title, created_at, messages }) {
  const parts = messages.map(({ role, content, status, error }) => {
    const ending = role === "assistant" && status !== "complete" ? `\n\n*(${error?.message ?? status})*` : "";
    return `## ${role === "user" ? "You" : "Claude"}\n\n${content.trim()}${ending}\n`;
  });
  return [`# ${title || "New chat"}\n\n${created_at.slice(0, 10)}\n`, ...parts].join("\n");
}

/**
 * @param {string} name
 * @param {string} type
 * @param {string} text
 */
function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

/** @param {History} history @returns {string} a name that every file system takes */
const nameOf = ({ title, id }) =>
  title.replace(/[^\p{L}\p{N}]+/gu, " ").trim().slice(0, 60).trim().replaceAll(" ", "-") || id;

/** The button in the header, and what it offers. */
export class ExportView {
  /**
   * @param {Document} page
   * @param {() => string | null} current the conversation on the screen
   * @param {(reason: unknown) => void} failed says that it could not be read
   */
  constructor(page, current, failed) {
    const button = /** @param {string} name */ (name) => find(page, `[data-part=${name}]`, HTMLButtonElement);
    const dialog = find(page, "[data-part=export-dialog]", HTMLDialogElement);
    this.button = button("export");
    this.button.addEventListener("click", () => dialog.showModal());
    /** @param {(history: History) => unknown} act */
    const withHistory = (act) => async () => {
      const id = current();
      if (id === null) return;
      try {
        await act(await getConversation(id));
      } catch (error) {
        dialog.close();
        failed(error);
      }
    };
    const copying = button("export-copy");
    copying.addEventListener("click", withHistory((history) => copy(copying, markdown(history))));
    button("export-markdown").addEventListener(
      "click",
      withHistory((history) => {
        save(`${nameOf(history)}.md`, "text/markdown", markdown(history));
        dialog.close();
      }),
    );
    button("export-json").addEventListener(
      "click",
      withHistory((history) => {
        save(`${nameOf(history)}.json`, "application/json", `${JSON.stringify(history, null, 2)}\n`);
        dialog.close();
      }),
    );
  }

  /** @param {boolean} possible whether there is something to export */
  draw(possible) {
    this.button.hidden = !possible;
  }
}
