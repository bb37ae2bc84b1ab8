/** The page, drawn from the store; what the user does goes back to it. */

import { copy } from "./clipboard.js";
import { dated } from "./dates.js";
import { direction, find, onKey, say } from "./dom.js";
import { ExportView } from "./export.js";
import { inFrames } from "./frames.js";
import { preview as previewOf } from "./markdown.js";
import { Speech } from "./speech.js";
import { isLive } from "./store.js";
import { TurnView, outcome } from "./turn.js";
import { UsageView } from "./usage.js";

/** @typedef {import("./store.js").ChatStore} ChatStore */
/** @typedef {import("./store.js").Conversation} Conversation */
/** @typedef {import("./store.js").Turn} Turn */

/** How far from the end, in pixels, a reader still counts as following it. */
const NEAR_END = 80;
/** What the marks in the list mean. */
const SIGNS = { "": "", busy: "Claude is answering", news: "New answer" };
/** Turns of a long conversation that are built at once, and in each further portion. */
const AT_ONCE = 12;
const PORTION = 3;
/** A text of more characters is not laid out whole to find how high its box is to be. */
const MUCH = 20_000;
/** Where a finger types, Enter is the only way to a new line, and the button sends. */
const fingers = matchMedia("(hover: none) and (pointer: coarse)");
/** Where the list of conversations lies over the page. */
const narrow = matchMedia("(max-width: 48rem)");

export class ChatView {
  /** @type {Map<string, TurnView>} */
  #turns = new Map();
  /** @type {Conversation | null} */
  #shown = null;
  #atEnd = true;
  #scrolling = false;
  #top = 0;
  #height = 0;
  /** An answer has come to its end while nobody looked. */
  #unseen = false;
  /** What is being shown is not whole enough to be looked at. */
  #arriving = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #waiting;
  #building = () => this.#build(PORTION);

  /**
   * @param {ChatStore} store
   * @param {Document} page
   * @param {() => void} logIn leads to the login and back
   */
  constructor(store, page, logIn) {
    this.store = store;
    this.logIn = logIn;
    this.page = page;
    const part = /** @param {string} name */ (name) => find(page, `[data-part=${name}]`, HTMLElement);
    this.app = find(page, ".app", HTMLElement);
    this.main = find(page, "main", HTMLElement);
    this.sidebar = find(page, ".sidebar", HTMLElement);
    this.turnTemplate = find(page, "#turn-template", HTMLTemplateElement);
    this.toolTemplate = find(page, "#tool-template", HTMLTemplateElement);
    this.conversationTemplate = find(page, "#conversation-template", HTMLTemplateElement);
    this.list = part("conversations");
    this.older = part("older");
    this.menu = part("menu");
    this.title = part("title");
    this.scroller = part("scroller");
    this.welcome = part("welcome");
    this.log = part("log");
    this.latest = part("latest");
    this.connection = part("connection");
    this.notice = part("notice");
    this.noticeText = part("notice-text");
    this.noticeAction = part("notice-action");
    this.composer = find(page, "[data-part=composer]", HTMLFormElement);
    this.message = find(page, "[data-part=message]", HTMLTextAreaElement);
    this.sendButton = find(page, "[data-part=send]", HTMLButtonElement);
    this.stopButton = find(page, "[data-part=stop]", HTMLButtonElement);
    this.help = find(page, "[data-part=help]", HTMLDialogElement);
    this.search = find(page, "[data-part=search]", HTMLInputElement);
    this.nothing = part("nothing");
    this.wait = part("wait");
    this.undo = part("undo");
    this.undoText = part("undo-text");
    this.usage = new UsageView(part("usage"), part("left"), find(page, "#usage-template", HTMLTemplateElement));
    const failed = () => store.refuse("The conversation could not be read. Try again.");
    this.export = new ExportView(page, () => store.current.id, failed);
    this.speech = new Speech(part("speech"));
    this.#listenToStore();
    this.#listenToUser(part);
    this.#drawConversation();
    this.#drawDraft();
  }

  #listenToStore() {
    const { store } = this;
    store.addEventListener("list", () => this.#drawList());
    store.addEventListener("conversation", () => this.#drawConversation());
    store.addEventListener("connection", () => this.#drawConnection());
    store.addEventListener("notice", () => this.#drawNotice());
    store.addEventListener("draft", () => this.#drawDraft());
    store.addEventListener("wait", () => this.#drawWait());
    store.addEventListener("leaving", () => this.#drawLeaving());
    store.addEventListener("usage", () => this.usage.draw(store.usage));
    store.addEventListener("turn", (event) => {
      const { turn, added } = /** @type {CustomEvent<{turn: Turn, added: string | null}>} */ (event).detail;
      this.#drawTurn(turn, added);
    });
  }

  /** @param {(name: string) => HTMLElement} part */
  #listenToUser(part) {
    const { store, page } = this;
    this.composer.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(this.message.value);
    });
    this.message.addEventListener("input", () => {
      store.type(this.message.value);
      this.#drawComposer();
    });
    onKey(this.message, (event) => {
      if (event.key !== "Enter" || event.shiftKey || fingers.matches) return;
      event.preventDefault();
      this.#send(this.message.value);
    });
    this.message.enterKeyHint = fingers.matches ? "enter" : "send";
    for (const kind of /** @type {const} */ (["paste", "drop"])) {
      this.composer.addEventListener(kind, (event) => this.#brought(event));
    }
    this.stopButton.addEventListener("click", () => store.stop());
    onKey(page, (event) => this.#pressed(event));
    part("skip").addEventListener("click", () => this.scroller.focus());
    narrow.addEventListener("change", () => this.#openDrawer(false));
    page.addEventListener("visibilitychange", () => {
      if (page.visibilityState === "visible") this.#unseen = false;
      this.#drawTitle();
    });
    this.search.addEventListener("input", () => void store.search(this.search.value));
    part("keys").addEventListener("click", () => this.help.showModal());
    part("undo-action").addEventListener("click", () => this.#undo());
    part("undo-close").addEventListener("click", () => void store.confirmRemoval());
    this.scroller.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.scroller;
      // The answer may have grown since we scrolled to its end; only going up is the reader's own doing, and not
      // even that where the answer has another height than before: the browser moves up what gets shorter.
      if (scrollHeight - scrollTop - clientHeight < NEAR_END) this.#setAtEnd(true);
      else if (scrollTop < this.#top && scrollHeight === this.#height) this.#setAtEnd(false);
      this.#top = scrollTop;
      this.#height = scrollHeight;
      this.latest.hidden = this.#atEnd;
    });
    // Who turns upwards while the page grows may be carried downwards at the same time.
    this.scroller.addEventListener("wheel", ({ deltaY }) => this.#turned(deltaY < 0), { passive: true });
    this.scroller.addEventListener("touchmove", () => this.#turned(true), { passive: true });
    // A phone's keyboard takes half of the screen,
    // and answers grow: in the same frame, so that nothing is seen to jump.
    const sizes = new ResizeObserver(() => this.#stayAtEnd());
    sizes.observe(this.scroller);
    sizes.observe(this.log);
    this.latest.addEventListener("click", () => {
      this.scroller.focus({ preventScroll: true }); // the button vanishes, and would take the focus along
      this.#scrollToEnd(true);
    });
    this.log.addEventListener("click", (event) => this.#clickedTurn(/** @type {Element} */ (event.target)));
    this.welcome.addEventListener("click", (event) => {
      const idea = /** @type {Element} */ (event.target).closest("[data-idea]");
      if (idea instanceof HTMLElement) this.#fill(idea.dataset.idea ?? "");
    });
    for (const link of [part("new"), part("new-here")]) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        this.#startNew();
      });
    }
    this.list.addEventListener("click", (event) => this.#clickedList(/** @type {Element} */ (event.target)));
    this.older.addEventListener("click", () => void store.showOlder());
    this.menu.addEventListener("click", () => this.#openDrawer(this.app.dataset.drawer !== "open"));
    part("scrim").addEventListener("click", () => this.#openDrawer(false));
    part("notice-close").addEventListener("click", () => store.dismiss());
    this.noticeAction.addEventListener("click", () => {
      const again = store.notice?.again;
      store.dismiss();
      again?.();
    });
  }

  /** @param {boolean} up */
  #turned(up) {
    if (up && this.scroller.scrollTop > 0) this.#setAtEnd(false);
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const writing = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
    const command = event.ctrlKey || event.metaKey;
    if (this.help.open) return;
    if (!writing) this.#turned(["Home", "PageUp", "ArrowUp"].includes(event.key));
    if (event.target === this.message && (event.key === "PageUp" || event.key === "PageDown")) {
      this.#turnPage(event);
    } else if (event.key === "Escape") {
      if (this.page.activeElement === this.search) this.#endSearch();
      else if (this.app.dataset.drawer === "open") this.#openDrawer(false);
      else this.store.stop();
    } else if (command && event.key.toLowerCase() === "k") {
      event.preventDefault();
      this.#openDrawer(true);
      this.search.focus();
      this.search.select();
    } else if (event.altKey && event.code === "KeyN") {
      event.preventDefault();
      this.#startNew();
    } else if (!writing && !command && !event.altKey && (event.key === "?" || event.key === "/")) {
      event.preventDefault();
      if (event.key === "?") this.help.showModal();
      else this.message.focus();
    }
  }

  /** In a box whose text is seen whole, these keys would do nothing. @param {KeyboardEvent} event */
  #turnPage(event) {
    if (event.shiftKey || this.message.scrollHeight > this.message.clientHeight) return;
    event.preventDefault();
    const up = event.key === "PageUp";
    this.#turned(up);
    this.scroller.scrollBy({ top: (up ? -0.9 : 0.9) * this.scroller.clientHeight });
  }

  /** Files are not taken, which is said. @param {ClipboardEvent | DragEvent} event */
  #brought(event) {
    const brought = event instanceof DragEvent ? event.dataTransfer : event.clipboardData;
    if (brought === null || brought.files.length === 0 || brought.types.includes("text/plain")) return;
    event.preventDefault();
    this.store.refuse("Pictures and files cannot be sent here. Paste their text instead.");
  }

  #endSearch() {
    this.search.value = "";
    void this.store.search("");
    this.#openDrawer(false);
    this.message.focus();
  }

  #startNew() {
    this.#openDrawer(false);
    this.message.focus();
    if (location.hash !== "") location.hash = "";
    else void this.store.select(null);
  }

  #undo() {
    const id = this.store.undoRemoval();
    if (id !== null) location.hash = id;
    this.message.focus();
  }

  /** @param {string} text */
  #send(text) {
    if (text.trim() !== "" && this.store.running !== undefined) {
      this.store.refuse("Claude is still answering. Send this when the answer is complete, or stop it first.");
    }
    if (!this.store.send(text)) return;
    this.#drawDraft();
    this.message.focus();
    this.#scrollToEnd(true);
  }

  /** @param {string} text */
  #fill(text) {
    this.store.type(text);
    this.#drawDraft();
    this.message.focus();
    this.message.setSelectionRange(text.length, text.length);
  }

  /** @param {Element} target */
  #clickedTurn(target) {
    const button = target.closest("button");
    const id = target.closest(".turn")?.getAttribute("data-id");
    const turn = this.store.current.turns.get(id ?? "");
    if (button === null || turn === undefined) return;
    if (button.dataset.part === "again") this.#send(turn.prompt);
    if (button.dataset.part === "copy") void copy(button, turn.answer);
    if (button.dataset.part === "copy-code") {
      void copy(button, button.closest(".code")?.querySelector("code")?.textContent ?? "");
    }
  }

  /** @param {Element} target */
  #clickedList(target) {
    const id = target.closest("li")?.dataset.id;
    if (id === undefined) return;
    if (target.closest("button") === null) {
      this.#openDrawer(false);
      return; // the link does the rest
    }
    this.store.remove(id);
    find(this.undo, "[data-part=undo-action]", HTMLButtonElement).focus();
  }

  /** @param {boolean} open */
  #openDrawer(open) {
    const before = this.app.dataset.drawer === "open";
    this.app.dataset.drawer = open ? "open" : "closed";
    this.menu.ariaExpanded = String(open);
    this.main.inert = open && narrow.matches;
    if (open && !before && narrow.matches) this.sidebar.focus();
    if (!open && before && narrow.matches && !this.main.contains(this.page.activeElement)) this.menu.focus();
  }

  #drawList() {
    const { listed, current, older, query } = this.store;
    const kept = new Map(Array.from(this.list.children, (item) => [/** @type {HTMLElement} */ (item).dataset.id, item]));
    const { busy, news } = this.store;
    const items = listed.map(({ id, title, preview, updated_at }) => {
      const item = kept.get(id) ?? this.#newItem(id);
      const link = find(item, "a", HTMLAnchorElement);
      const name = title || "New chat";
      say(find(link, "[data-part=name]", HTMLElement), name);
      const words = previewOf(preview ?? "");
      say(find(link, "[data-part=preview]", HTMLElement), words);
      const when = dated(updated_at);
      const date = find(link, "[data-part=date]", HTMLTimeElement);
      say(date, when.short);
      date.dateTime = updated_at;
      date.title = when.full;
      const sign = busy.has(id) ? "busy" : news.has(id) ? "news" : "";
      /** @type {HTMLElement} */ (item).dataset.sign = sign;
      // The link is named by its title alone.
      link.ariaDescription = [SIGNS[sign], words, when.full].filter((each) => each !== "").join(" · ");
      link.ariaCurrent = id === current.id ? "page" : null;
      find(item, "button", HTMLButtonElement).ariaLabel = `Delete ${name}`;
      return item;
    });
    // Moving an element drops its focus, so only what has changed its place is moved.
    for (const item of kept.values()) if (!items.includes(item)) item.remove();
    items.forEach((item, index) => {
      const there = this.list.children[index];
      if (there !== item) this.list.insertBefore(item, there ?? null);
    });
    this.older.hidden = older === null || query.trim() !== "";
    this.nothing.hidden = listed.length > 0 || query.trim() === "";
    this.#drawTitle();
  }

  /**
   * @param {string} id
   * @returns {Element}
   */
  #newItem(id) {
    const content = /** @type {DocumentFragment} */ (this.conversationTemplate.content.cloneNode(true));
    const item = find(content, "li", HTMLLIElement);
    item.dataset.id = id;
    find(item, "a", HTMLAnchorElement).href = `#${id}`;
    return item;
  }

  #drawTitle() {
    const { current } = this.store;
    const first = current.turns.values().next().value;
    const name = current.title || first?.prompt.slice(0, 80) || "New chat";
    say(this.title, name);
    const sign = this.store.answering ? "… " : this.#unseen ? "✓ " : "";
    const title = sign + (name === "New chat" ? "Chatgate" : `${name} · Chatgate`);
    if (this.page.title !== title) this.page.title = title;
  }

  #drawConversation() {
    const { current } = this.store;
    const switched = this.#shown !== current;
    if (switched) {
      this.#shown = current;
      this.#turns.clear();
      this.log.replaceChildren();
      this.#arriving = current.id !== null;
      this.log.classList.toggle("arriving", this.#arriving);
      this.#drawDraft();
    }
    for (const [id, view] of this.#turns) {
      if (current.turns.has(id)) continue;
      view.element.remove();
      this.#turns.delete(id);
    }
    if (this.#build(switched ? AT_ONCE : PORTION)) inFrames(this.#building);
    this.welcome.hidden = current.turns.size > 0 || !current.loaded;
    this.export.draw(current.id !== null && current.turns.size > 0);
    this.#drawList();
    this.#drawComposer();
    this.#scrollToEnd(switched);
    if (this.#arriving && current.loaded) this.#arrive();
  }

  /**
   * Bring the turns onto the screen, the last ones first.
   * @param {number} most how many new ones to build
   * @returns {boolean} whether some are still missing
   */
  #build(most) {
    const turns = Array.from(this.store.current.turns.values()).reverse();
    /** @type {Element | null} */
    let next = null;
    let built = 0;
    for (const turn of turns) {
      let view = this.#turns.get(turn.id);
      if (view === undefined) {
        if (built === most) return true;
        built += 1;
        view = new TurnView(this.turnTemplate, this.toolTemplate, () => this.#drew(turn.id));
        this.#turns.set(turn.id, view);
      }
      view.draw(turn, turn === turns[0]);
      if (view.element.nextElementSibling !== next || view.element.parentNode !== this.log) {
        this.log.insertBefore(view.element, next);
      }
      next = view.element;
    }
    return false;
  }

  /**
   * @param {Turn} turn
   * @param {string | null} added
   */
  #drawTurn(turn, added) {
    if (!isLive(turn) && this.page.visibilityState === "hidden") this.#unseen = true;
    const view = this.#turns.get(turn.id);
    if (view === undefined || turn.conversation !== this.#shown) {
      if (added === null) this.#drawTitle();
      return;
    }
    if (added !== null && view.isGrowing(turn)) {
      view.grow(turn);
    } else {
      view.draw(turn, this.log.lastElementChild === view.element);
      this.#drawComposer();
      this.#drawTitle();
    }
    this.#listen(turn, view);
  }

  /** More of an answer is on the screen. @param {string} id of its turn */
  #drew(id) {
    const turn = this.#shown?.turns.get(id);
    const view = this.#turns.get(id);
    if (turn === undefined || view === undefined) return;
    if (isLive(turn) || this.speech.turn === id) this.#listen(turn, view);
    if (this.#arriving) this.#arrive();
  }

  /**
   * Read out what is being answered on the screen.
   * @param {Turn} turn
   * @param {TurnView} view
   */
  #listen(turn, view) {
    if (isLive(turn)) {
      if (this.speech.turn !== turn.id) this.speech.begin(turn.id);
      this.speech.follow(view.text.element, false);
    } else if (this.speech.turn === turn.id && view.text.drawn) {
      this.speech.finish(view.text.element, outcome(turn) || "End of the answer.");
    }
  }

  /** An old conversation is shown when a screen of its end is there, and not line by line. */
  #arrive() {
    let height = 0;
    for (const turn of Array.from(this.store.current.turns.values()).reverse()) {
      const view = this.#turns.get(turn.id);
      if (view === undefined || (!view.text.drawn && !isLive(turn))) return;
      height += view.element.offsetHeight;
      if (height > this.scroller.clientHeight) break;
    }
    this.#arriving = false;
    this.log.classList.remove("arriving");
    this.#stayAtEnd();
  }

  #drawDraft() {
    this.message.value = this.store.current.draft;
    this.#drawComposer();
  }

  #drawComposer() {
    const { running, connection, waitUntil } = this.store;
    const empty = this.message.value.trim() === "";
    this.sendButton.hidden = running !== undefined;
    this.sendButton.disabled = empty || connection === "expired" || Date.now() < waitUntil;
    this.stopButton.hidden = running === undefined;
    this.stopButton.disabled = (running?.stopping ?? false) || connection === "posting";
    const runs = direction(this.message.value);
    if (this.message.dir !== runs) this.message.dir = runs;
    this.message.classList.toggle("much", this.message.value.length > MUCH);
    this.#grow();
  }

  /** Where the style sheet's `field-sizing` is not known, the box is made to fit its text by hand. */
  #grow() {
    if (CSS.supports("field-sizing", "content")) return;
    if (this.message.value.length > MUCH) {
      this.message.style.height = "";
      return;
    }
    this.message.style.height = "auto";
    this.message.style.height = `${this.message.scrollHeight}px`;
  }

  #drawConnection() {
    const { connection } = this.store;
    const { connection: banner } = this;
    banner.hidden = connection === "open" || connection === "connecting";
    if (connection === "lost") {
      const promise = this.store.running ? "" : " What you send now goes out as soon as it is back.";
      say(banner, `Connection lost. Reconnecting…${promise}`);
    } else if (connection === "posting") {
      say(banner, "This network blocks live streaming: answers appear when they are complete.");
    } else if (connection === "expired") {
      const link = this.page.createElement("a");
      link.href = location.pathname + location.search + location.hash;
      link.textContent = "Log in again";
      link.addEventListener("click", (event) => {
        event.preventDefault();
        this.logIn();
      });
      banner.replaceChildren("You are logged out. What you typed is kept. ", link);
    } else {
      say(banner, "");
    }
    this.#drawComposer();
  }

  #drawWait() {
    const left = Math.ceil((this.store.waitUntil - Date.now()) / 1000);
    this.wait.hidden = left <= 0;
    this.usage.silent = left > 0; // the refusal has said it
    this.usage.draw(this.store.usage);
    this.#drawComposer();
    if (left <= 0) {
      this.store.dismiss();
      return;
    }
    const clock = [Math.floor(left / 60) % 60, left % 60];
    if (left >= 3600) clock.unshift(Math.floor(left / 3600));
    const shown = clock.map((part, index) => String(part).padStart(index === 0 ? 1 : 2, "0")).join(":");
    say(this.wait, `You can send again in ${shown}`);
    clearTimeout(this.#waiting);
    this.#waiting = setTimeout(() => this.#drawWait(), 1000);
  }

  #drawLeaving() {
    const { leaving } = this.store;
    this.undo.hidden = leaving === null;
    say(this.undoText, leaving === null ? "" : `Deleted: ${leaving.title}`);
  }

  #drawNotice() {
    const { notice } = this.store;
    this.notice.hidden = notice === null;
    say(this.noticeText, notice?.text ?? "");
    this.noticeAction.hidden = notice === null || notice.again === null;
    say(this.noticeAction, "Try again");
  }

  /**
   * Keep the end in view if it was in view before.
   * @param {boolean} anyway even if the user has scrolled away
   */
  #scrollToEnd(anyway) {
    if (anyway) this.#setAtEnd(true);
    if (!this.#atEnd || this.#scrolling) return;
    this.#scrolling = true;
    requestAnimationFrame(() => {
      this.#scrolling = false;
      this.#stayAtEnd();
    });
  }

  #stayAtEnd() {
    if (this.#atEnd) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  /** @param {boolean} atEnd whether the reader follows the end */
  #setAtEnd(atEnd) {
    this.#atEnd = atEnd;
    // Otherwise the browser holds what is read where it is, and a change above looks like a turn upwards.
    this.scroller.classList.toggle("following", atEnd);
  }
}
