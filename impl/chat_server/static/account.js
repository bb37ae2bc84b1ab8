/** Who uses the page, and the way out, where the server or its proxy has one. */

import { find, say } from "./dom.js";
import { forgetDrafts } from "./drafts.js";

/** @typedef {import("./api.js").Account} Account */

export class AccountView {
  /** @param {Document} page */
  constructor(page) {
    const part = /** @param {string} name */ (name) => find(page, `[data-part=${name}]`, HTMLElement);
    this.line = part("account");
    this.user = part("user");
    this.button = part("logout");
    this.caution = part("caution");
    this.link = find(page, "[data-part=logout-link]", HTMLAnchorElement);
    const dialog = find(page, "[data-part=leave]", HTMLDialogElement);
    this.button.addEventListener("click", () => dialog.showModal());
    part("stay").addEventListener("click", () => dialog.close());
    find(dialog, "form", HTMLFormElement).addEventListener("submit", forgetDrafts);
    this.link.addEventListener("click", forgetDrafts);
  }

  /** @param {Account} account */
  draw({ user, logout, logout_url, fake = false }) {
    if (fake) say(this.caution, "This is the built-in fake, not Claude: its answers mean nothing.");
    this.line.hidden = user === null;
    say(this.user, user ?? "");
    this.user.title = user ?? "";
    this.button.hidden = !logout;
    this.link.hidden = logout || logout_url === null;
    if (logout_url !== null) this.link.href = logout_url;
  }
}
