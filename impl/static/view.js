/** The page, drawn from the store; what the user does goes back to it. */

import { isLive } from "./store.js";

/** @typedef {import("./store.js").ChatStore} ChatStore */
/** @typedef {import("./store.js").Conversation} Conversation */
/** @typedef {import("./store.js").Turn} Turn */

/** How far from the end, in pixels, a reader still counts as following it. */
const NEAR_END = 80;

/** What is said under an answer that did not come to its end, unless the server said more. */
const OUTCOMES = {
  sending: "",
  streaming: "",
  complete: "",
  cancelled: "Stopped.",
  failed: "This answer failed.",
  interrupted: "The server was stopped during this answer.",
};

/** @type {Record<string, string>} */
const TOOL_STATES = { started: "running", finished: "done", failed: "failed" };

/**
 * @template {Element} T
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T}
 */
function find(root, selector, type) {
  const element = root.querySelector(selector);
  if (!(element instanceof type)) throw new Error(`the page lacks ${selector}`);
  return element;
}

/**
 * Set a text unless it is there already: writing it again would make screen readers read it again.
 * @param {Element} element
 * @param {string} text
 */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** One turn on the screen: its prompt with the answer below, found by its id and never by being the last. */
class TurnView {
  /** @param {HTMLTemplateElement} template */
  constructor(template) {
    const content = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.element = find(content, ".turn", HTMLElement);
    this.prompt = find(content, ".prompt", HTMLElement);
    this.answer = find(content, ".answer", HTMLElement);
    this.text = find(content, "[data-part=text]", HTMLElement);
    this.thinking = find(content, ".thinking", HTMLDetailsElement);
    this.thought = find(content, "[data-part=thinking]", HTMLElement);
    this.tools = find(content, ".tools", HTMLUListElement);
    this.progress = find(content, "[data-part=progress]", HTMLElement);
    this.outcome = find(content, "[data-part=outcome]", HTMLElement);
    this.actions = find(content, "[data-part=actions]", HTMLElement);
    this.copy = find(content, "[data-part=copy]", HTMLButtonElement);
    this.again = find(content, "[data-part=again]", HTMLButtonElement);
  }

  /** @param {string} text */
  append(text) {
    const last = this.text.lastChild;
    if (last instanceof Text) last.appendData(text);
    else if (text !== "") this.text.append(text);
  }

  /**
   * @param {Turn} turn
   * @param {boolean} last whether it is the conversation's last
   */
  draw(turn, last) {
    const live = isLive(turn);
    this.answer.dataset.state = turn.state;
    this.answer.ariaBusy = String(live);
    this.element.dataset.id = turn.id;
    say(this.prompt, turn.prompt);
    say(this.text, turn.answer);
    this.thinking.hidden = turn.thinking === "";
    say(this.thought, turn.thinking);
    this.tools.hidden = turn.tools.length === 0;
    this.#drawTools(turn);
    say(this.progress, turn.stopping && live ? "Stopping…" : turn.progress);
    this.progress.hidden = this.progress.textContent === "";
    say(this.outcome, turn.trouble || OUTCOMES[turn.state]);
    this.outcome.hidden = this.outcome.textContent === "";
    this.copy.hidden = turn.answer === "";
    this.again.hidden = !last || (turn.state !== "failed" && turn.state !== "interrupted");
    this.actions.hidden = live || (this.copy.hidden && this.again.hidden);
  }

  /** @param {Turn} turn */
  #drawTools(turn) {
    turn.tools.forEach((tool, index) => {
      const item = this.tools.children[index] ?? this.tools.appendChild(document.createElement("li"));
      const state = TOOL_STATES[tool.state] ?? tool.state;
      say(item, [tool.name, tool.detail, state].filter((part) => part !== "").join(" · "));
    });
    while (this.tools.children.length > turn.tools.length) this.tools.lastChild?.remove();
  }
}

export class ChatView {
  /** @type {Map<string, TurnView>} */
  #turns = new Map();
  /** @type {Conversation | null} */
  #shown = null;
  #atEnd = true;
  #scrolling = false;
  #top = 0;

  /**
   * @param {ChatStore} store
   * @param {Document} page
   */
  constructor(store, page) {
    this.store = store;
    this.page = page;
    const part = /** @param {string} name */ (name) => find(page, `[data-part=${name}]`, HTMLElement);
    this.app = find(page, ".app", HTMLElement);
    this.turnTemplate = find(page, "#turn-template", HTMLTemplateElement);
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
    this.confirm = find(page, "[data-part=confirm]", HTMLDialogElement);
    this.confirmName = part("confirm-name");
    this.#listenToStore();
    this.#listenToUser(part);
    this.#drawConversation();
  }

  #listenToStore() {
    const { store } = this;
    store.addEventListener("list", () => this.#drawList());
    store.addEventListener("conversation", () => this.#drawConversation());
    store.addEventListener("connection", () => this.#drawConnection());
    store.addEventListener("notice", () => this.#drawNotice());
    store.addEventListener("draft", () => this.#drawDraft());
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
      store.current.draft = this.message.value;
      this.#drawComposer();
    });
    this.message.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send(this.message.value);
    });
    this.stopButton.addEventListener("click", () => store.stop());
    page.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || this.confirm.open) return;
      if (this.app.dataset.drawer === "open") this.#openDrawer(false);
      else store.stop();
    });
    this.scroller.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.scroller;
      // The answer may have grown since we scrolled to its end; only going up is the reader's own doing.
      if (scrollHeight - scrollTop - clientHeight < NEAR_END) this.#atEnd = true;
      else if (scrollTop < this.#top) this.#atEnd = false;
      this.#top = scrollTop;
      this.latest.hidden = this.#atEnd;
    });
    // A phone's keyboard takes half of the screen.
    new ResizeObserver(() => this.#scrollToEnd(false)).observe(this.scroller);
    this.latest.addEventListener("click", () => this.#scrollToEnd(true));
    this.log.addEventListener("click", (event) => this.#clickedTurn(/** @type {Element} */ (event.target)));
    this.welcome.addEventListener("click", (event) => {
      const idea = /** @type {Element} */ (event.target).closest("[data-idea]");
      if (idea instanceof HTMLElement) this.#fill(idea.dataset.idea ?? "");
    });
    part("new").addEventListener("click", (event) => {
      this.#openDrawer(false);
      this.message.focus();
      if (location.hash !== "") return; // the link does the rest
      event.preventDefault();
      void store.select(null);
    });
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
    this.confirm.addEventListener("close", () => {
      const { id } = this.confirm.dataset;
      if (this.confirm.returnValue === "delete" && id !== undefined) void store.remove(id);
    });
  }

  /** @param {string} text */
  #send(text) {
    if (!this.store.send(text)) return;
    this.#drawDraft();
    this.message.focus();
    this.#scrollToEnd(true);
  }

  /** @param {string} text */
  #fill(text) {
    this.store.current.draft = text;
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
    else void navigator.clipboard?.writeText(turn.answer).then(() => this.#copied(button));
  }

  /** @param {HTMLButtonElement} button */
  #copied(button) {
    button.ariaLabel = "Copied";
    button.dataset.done = "true";
    button.addEventListener(
      "pointerleave",
      () => {
        button.ariaLabel = "Copy answer";
        delete button.dataset.done;
      },
      { once: true },
    );
  }

  /** @param {Element} target */
  #clickedList(target) {
    const id = target.closest("li")?.dataset.id;
    if (id === undefined) return;
    if (target.closest("button") === null) {
      this.#openDrawer(false);
      return; // the link does the rest
    }
    say(this.confirmName, this.store.conversations.find((each) => each.id === id)?.title || "New chat");
    this.confirm.dataset.id = id;
    this.confirm.returnValue = "keep";
    this.confirm.showModal();
  }

  /** @param {boolean} open */
  #openDrawer(open) {
    this.app.dataset.drawer = open ? "open" : "closed";
    this.menu.ariaExpanded = String(open);
  }

  #drawList() {
    const { conversations, current, older } = this.store;
    const kept = new Map(Array.from(this.list.children, (item) => [/** @type {HTMLElement} */ (item).dataset.id, item]));
    const items = conversations.map(({ id, title }) => {
      const item = kept.get(id) ?? this.#newItem(id);
      const link = find(item, "a", HTMLAnchorElement);
      const name = title || "New chat";
      say(link, name);
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
    this.older.hidden = older === null;
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
    this.page.title = name === "New chat" ? "Chatgate" : `${name} · Chatgate`;
  }

  #drawConversation() {
    const { current } = this.store;
    const switched = this.#shown !== current;
    if (switched) {
      this.#shown = current;
      this.#turns.clear();
      this.log.replaceChildren();
      this.#drawDraft();
    }
    for (const [id, view] of this.#turns) {
      if (current.turns.has(id)) continue;
      view.element.remove();
      this.#turns.delete(id);
    }
    let index = 0;
    for (const turn of current.turns.values()) {
      const view = this.#turns.get(turn.id) ?? new TurnView(this.turnTemplate);
      this.#turns.set(turn.id, view);
      view.draw(turn, index === current.turns.size - 1);
      const there = this.log.children[index];
      if (there !== view.element) this.log.insertBefore(view.element, there ?? null);
      index += 1;
    }
    this.welcome.hidden = current.turns.size > 0 || !current.loaded;
    this.#drawList();
    this.#drawComposer();
    this.#scrollToEnd(switched);
  }

  /**
   * @param {Turn} turn
   * @param {string | null} added
   */
  #drawTurn(turn, added) {
    const view = this.#turns.get(turn.id);
    if (view === undefined || turn.conversation !== this.#shown) return;
    if (added !== null && view.progress.hidden && view.answer.dataset.state === turn.state) {
      view.append(added);
    } else {
      const last = this.log.lastElementChild === view.element;
      view.draw(turn, last);
      this.#drawComposer();
    }
    this.#scrollToEnd(false);
  }

  #drawDraft() {
    this.message.value = this.store.current.draft;
    this.#drawComposer();
  }

  #drawComposer() {
    const { running, connection } = this.store;
    const empty = this.message.value.trim() === "";
    this.sendButton.hidden = running !== undefined;
    this.sendButton.disabled = empty || connection === "expired";
    this.stopButton.hidden = running === undefined;
    this.stopButton.disabled = running?.stopping ?? false;
    this.#grow();
  }

  /** Where the style sheet's `field-sizing` is not known, the box is made to fit its text by hand. */
  #grow() {
    if (CSS.supports("field-sizing", "content")) return;
    this.message.style.height = "auto";
    this.message.style.height = `${this.message.scrollHeight}px`;
  }

  #drawConnection() {
    const { connection } = this.store;
    const { connection: banner } = this;
    banner.hidden = connection === "open" || connection === "connecting";
    if (connection === "lost") {
      say(banner, "Connection lost. Reconnecting… What you send now goes out as soon as it is back.");
    } else if (connection === "expired") {
      const link = this.page.createElement("a");
      link.href = location.pathname + location.hash;
      link.textContent = "Log in again";
      link.addEventListener("click", () => location.reload());
      banner.replaceChildren("Your login has expired. ", link);
    } else {
      say(banner, "");
    }
    this.#drawComposer();
  }

  #drawNotice() {
    const { notice } = this.store;
    this.notice.hidden = notice === null;
    say(this.noticeText, notice?.text ?? "");
    this.noticeAction.hidden = notice === null || notice.again === null;
    say(this.noticeAction, "Try again");
  }

  /**
   * Keep the end in view for whoever was reading there.
   * @param {boolean} anyway even if the user has scrolled away
   */
  #scrollToEnd(anyway) {
    if (anyway) this.#atEnd = true;
    if (!this.#atEnd || this.#scrolling) return;
    this.#scrolling = true;
    requestAnimationFrame(() => {
      this.#scrolling = false;
      if (this.#atEnd) this.scroller.scrollTop = this.scroller.scrollHeight;
    });
  }
}
