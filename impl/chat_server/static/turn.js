/** One turn on the screen: its prompt with the answer below, found by its id and never by being the last. */

import { AnswerText } from "./answer.js";
import { find, say } from "./dom.js";
import { isLive } from "./store.js";

/** @typedef {import("./store.js").Turn} Turn */

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
const TOOL_STATES = { started: "running", finished: "done", failed: "failed", stopped: "not finished" };
/** A longer prompt is folded: the user who pasted it knows what it says. */
const LONG_PROMPT = 4_000;

/** @param {Turn} turn */
export function outcome({ state, trouble, answer }) {
  return trouble || (state === "complete" && answer.trim() === "" ? "Claude said nothing." : OUTCOMES[state]);
}

export class TurnView {
  #prompt = "";
  #thought = "";

  /**
   * @param {HTMLTemplateElement} template
   * @param {HTMLTemplateElement} toolTemplate
   * @param {() => void} changed is called when there is more of the answer to see
   */
  constructor(template, toolTemplate, changed) {
    this.toolTemplate = toolTemplate;
    const content = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.element = find(content, ".turn", HTMLElement);
    this.prompt = find(content, ".prompt", HTMLElement);
    this.answer = find(content, ".answer", HTMLElement);
    this.text = new AnswerText(find(content, "[data-part=text]", HTMLElement), changed);
    this.thinking = find(content, ".thinking", HTMLDetailsElement);
    this.ponders = find(content, ".thinking summary", HTMLElement);
    this.thought = find(content, "[data-part=thinking]", HTMLElement);
    this.note = find(content, "[data-part=note]", HTMLElement);
    this.tools = find(content, ".tools", HTMLUListElement);
    this.progress = find(content, "[data-part=progress]", HTMLElement);
    this.outcome = find(content, "[data-part=outcome]", HTMLElement);
    this.actions = find(content, "[data-part=actions]", HTMLElement);
    this.copy = find(content, "[data-part=copy]", HTMLButtonElement);
    this.again = find(content, "[data-part=again]", HTMLButtonElement);
  }

  /** The answer has got longer, and nothing else has changed. @param {Turn} turn */
  grow(turn) {
    this.text.show(turn.answer, true);
  }

  /** Whether `grow` is enough for more text. @param {Turn} turn */
  isGrowing(turn) {
    return this.progress.hidden && this.answer.dataset.state === turn.state;
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
    this.#drawPrompt(turn);
    this.text.show(turn.answer, live);
    say(this.note, turn.note);
    this.note.hidden = turn.note === "";
    this.thinking.hidden = turn.thinking === "";
    say(this.ponders, live && turn.pondering ? "Thinking…" : "Thinking");
    this.#drawThought(turn);
    this.tools.hidden = turn.tools.length === 0;
    this.#drawTools(turn);
    say(this.progress, turn.stopping && live ? "Stopping…" : turn.progress);
    this.progress.hidden = this.progress.textContent === "";
    say(this.outcome, outcome(turn));
    this.outcome.hidden = this.outcome.textContent === "";
    this.copy.hidden = turn.answer === "";
    this.again.hidden = !last || (turn.state !== "failed" && turn.state !== "interrupted");
    this.actions.hidden = live || (this.copy.hidden && this.again.hidden);
  }

  /** @param {Turn} turn */
  #drawPrompt({ prompt }) {
    if (prompt === this.#prompt) return;
    this.#prompt = prompt;
    this.prompt.textContent = prompt.length > LONG_PROMPT ? `${prompt.slice(0, LONG_PROMPT)}…` : prompt;
    if (prompt.length <= LONG_PROMPT) return;
    const more = document.createElement("button");
    more.type = "button";
    more.className = "quiet";
    more.textContent = "Show all of it";
    more.addEventListener("click", () => (this.prompt.textContent = prompt), { once: true });
    this.prompt.append(more);
  }

  /** @param {Turn} turn */
  #drawThought({ thinking }) {
    if (thinking === this.#thought) return;
    const last = this.thought.lastChild;
    if (last instanceof Text && thinking.startsWith(this.#thought)) {
      last.appendData(thinking.slice(this.#thought.length));
    } else {
      this.thought.textContent = thinking;
    }
    this.#thought = thinking;
  }

  /** @param {Turn} turn */
  #drawTools(turn) {
    turn.tools.forEach(({ name, state: known, asked, result }, index) => {
      const state = known === "started" && !isLive(turn) ? "stopped" : known;
      const item = this.tools.children[index] ?? this.tools.appendChild(this.#toolItem());
      const part = /** @param {string} which */ (which) => find(item, `[data-part=${which}]`, HTMLElement);
      /** @type {HTMLElement} */ (item).dataset.state = state;
      say(part("tool"), name);
      say(part("asked"), asked);
      say(part("state"), TOOL_STATES[state] ?? state);
      say(part("input"), asked);
      say(part("result"), result);
      part("input").hidden = asked === "";
      part("result").hidden = result === "";
    });
    while (this.tools.children.length > turn.tools.length) this.tools.lastChild?.remove();
  }

  #toolItem() {
    const content = /** @type {DocumentFragment} */ (this.toolTemplate.content.cloneNode(true));
    return find(content, "li", HTMLLIElement);
  }
}
