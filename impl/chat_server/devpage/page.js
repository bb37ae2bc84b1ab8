/** In the dev server's chat page: hands the frames of its socket to the panel, plays what the panel asks, reloads. */

const channel = new BroadcastChannel("chatgate dev");
const tab = Array.from(crypto.getRandomValues(new Uint8Array(3)), (byte) => byte.toString(16).padStart(2, "0")).join("");
let sockets = 0;

/** @param {"open" | "close" | ">" | "<"} way @param {string} text @param {number} socket */
function publish(way, text, socket) {
  channel.postMessage({ tab, socket, at: performance.timeOrigin + performance.now(), way, text, url: location.href });
}

globalThis.WebSocket = class extends WebSocket {
  #number = (sockets += 1);

  /** @param {string | URL} url @param {string | string[]} [protocols] */
  constructor(url, protocols) {
    super(url, protocols);
    this.addEventListener("open", () => publish("open", this.url, this.#number));
    this.addEventListener("message", ({ data }) => publish("<", String(data), this.#number));
    this.addEventListener("close", ({ code, reason }) => publish("close", `${code} ${reason}`.trim(), this.#number));
  }

  /** @param {Parameters<WebSocket["send"]>[0]} data */
  send(data) {
    publish(">", String(data), this.#number);
    super.send(data);
  }
};

channel.addEventListener("message", ({ data }) => {
  if (data.ask === "who") channel.postMessage({ here: tab, title: document.title });
  if (data.play === undefined || data.tab !== tab) return;
  const box = /** @type {HTMLTextAreaElement} */ (document.querySelector("[data-part=message]"));
  box.value = data.play;
  box.dispatchEvent(new Event("input"));
  box.form?.requestSubmit();
});
addEventListener("DOMContentLoaded", () => channel.postMessage({ here: tab, title: document.title }));
addEventListener("pagehide", () => channel.postMessage({ gone: tab }));

let state = "";
new EventSource("dev/changes").addEventListener("message", ({ data }) => {
  if (state !== "" && data !== state) location.reload();
  state = data;
});

const link = document.createElement("a");
link.href = "dev";
link.target = "chatgate dev";
link.className = "quiet keys";
link.textContent = "Dev panel";
link.style.cssText = "margin-bottom: -.4rem; text-decoration: none";
document.querySelector("[data-part=keys]")?.before(link);
