/** The dev panel: plays the fake's scripts in an open chat, and shows what goes over the sockets of all of them. */

import { copy } from "../static/clipboard.js";
import { find, say } from "../static/dom.js";
import { reproduction } from "./reproduction.js";

/** @typedef {import("./reproduction.js").Frame} Frame */

/** Older frames are dropped, so that a flood cannot fill the browser. */
const KEPT = 5_000;
const SHOWN_CHARS = 2_000;

const channel = new BroadcastChannel("chatgate dev");
const part = /** @param {string} name */ (name) => find(document, `[data-part=${name}]`, HTMLElement);
const list = part("frames");
const copyButton = find(document, "[data-part=copy]", HTMLButtonElement);
/** Open chats and their titles, the one seen last at the end. @type {Map<string, string>} */
const tabs = new Map();
/** @type {Frame[]} */
let frames = [];
let drawn = 0;

channel.addEventListener("message", ({ data }) => {
  if (data.here !== undefined) {
    tabs.delete(data.here);
    tabs.set(data.here, data.title);
    drawTabs();
  } else if (data.gone !== undefined) {
    tabs.delete(data.gone);
    drawTabs();
  } else if (data.way !== undefined) {
    frames.push(data);
    if (frames.length > 2 * KEPT) forget(frames.length - KEPT);
    if (frames.length - drawn === 1) requestAnimationFrame(drawFrames);
  }
});
channel.postMessage({ ask: "who" });

/** @param {number} count of the oldest frames */
function forget(count) {
  frames = frames.slice(count);
  for (let each = 0; each < Math.min(count, drawn); each += 1) list.firstElementChild?.remove();
  drawn = Math.max(drawn - count, 0);
}

function drawTabs() {
  const [title] = Array.from(tabs.values()).slice(-1);
  say(part("tabs"), title === undefined ? "No chat is open." : `Plays in the chat that is open: ${title}`);
  for (const button of document.querySelectorAll("button[data-prompt]")) {
    /** @type {HTMLButtonElement} */ (button).disabled = title === undefined;
  }
}

function drawFrames() {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const begin = frames[0]?.at ?? 0;
  const rows = document.createDocumentFragment();
  for (const { at, tab, socket, way, text } of frames.slice(drawn)) {
    const row = document.createElement("li");
    row.dataset.way = way;
    const sign = { open: "●", close: "○", ">": "→", "<": "←" }[way];
    const cells = [`${((at - begin) / 1000).toFixed(3)} s`, `${tab.slice(0, 4)}.${socket}`, sign];
    for (const words of cells) row.appendChild(document.createElement("span")).textContent = words;
    const more = text.length > SHOWN_CHARS ? `… ${text.length.toLocaleString()} characters` : "";
    row.appendChild(document.createElement("code")).textContent = text.slice(0, SHOWN_CHARS) + more;
    rows.append(row);
  }
  list.append(rows);
  drawn = frames.length;
  say(part("count"), drawn === 0 ? "none yet" : `${drawn.toLocaleString()}`);
  copyButton.disabled = !frames.some(({ way }) => way === ">");
  if (atEnd) list.scrollTop = list.scrollHeight;
}

part("clear").addEventListener("click", () => {
  frames = [];
  drawn = 0;
  list.replaceChildren();
  drawFrames();
});

copyButton.addEventListener("click", () => void copy(copyButton, reproduction(frames)));

/** @param {{prompt: string, about: string}} script */
function scriptButton({ prompt, about }) {
  const item = document.createElement("li");
  const button = item.appendChild(document.createElement("button"));
  button.type = "button";
  button.dataset.prompt = prompt;
  button.append(about, Object.assign(document.createElement("code"), { textContent: prompt }));
  button.addEventListener("click", () => {
    const [tab] = Array.from(tabs.keys()).slice(-1);
    channel.postMessage({ play: prompt, tab });
  });
  return item;
}

const { scripts } = await (await fetch("dev/scripts")).json();
part("scripts").replaceChildren(...scripts.map(scriptButton));
if (scripts.length === 0) part("scripts").textContent = "A claude of your own answers here; scripts are the fake's.";
drawTabs();
