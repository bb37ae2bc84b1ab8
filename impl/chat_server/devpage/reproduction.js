/** Frames as a Python script that sends the same again, under ids of its own, and prints what comes. */

/**
 * What went over a socket of a chat page.
 * @typedef {object} Frame
 * @property {string} tab
 * @property {number} socket which of the tab's, from 1
 * @property {number} at Unix time, milliseconds
 * @property {"open" | "close" | ">" | "<"} way ">" was sent by the page
 * @property {string} text
 * @property {string} url of the page
 */

/** More than this the script does not say of what came. */
const MOST_FRAMES = 400;

/**
 * @param {Frame[]} frames of any sockets; the newest one that has sent anything is reproduced
 * @returns {string}
 */
export function reproduction(frames) {
  const last = frames.findLast(({ way }) => way === ">");
  if (last === undefined) return "";
  const own = frames.filter(({ tab, socket, way }) => tab === last.tab && socket === last.socket && "<>".includes(way));
  const record = own.filter(isStep).map(({ way, text }) => [way, JSON.parse(text)]);
  const seen = own.slice(0, MOST_FRAMES).map(({ way, text }) => `# ${way} ${text.replaceAll("\n", "\\n")}`);
  if (own.length > MOST_FRAMES) seen.push(`# … and ${own.length - MOST_FRAMES} more`);
  const url = new URL("ws", last.url);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return SCRIPT.replace("DAY", () => new Date(last.at).toISOString())
    .replace("URL_OF_SOCKET", () => JSON.stringify(url.href))
    .replace("RECORD_OF_FRAMES", () => record.map((each) => `    ${JSON.stringify(JSON.stringify(each))},`).join("\n"))
    .concat("\n# What went over the socket then:\n#\n", seen.join("\n"), "\n");
}

/** Whether the script has to do something for it: send it, or wait for one like it. @param {Frame} frame */
function isStep({ way, text }) {
  if (way === ">") return true;
  return ["accepted", "complete", "error"].includes(JSON.parse(text).type);
}

const SCRIPT = `"""What a chat page did at DAY, once more: needs \`pip install websockets\`, and prints what comes."""

import asyncio
import json
import uuid

from websockets.asyncio.client import connect

URL = URL_OF_SOCKET
RECORD = [  # what was sent, and what had come before the next was sent
RECORD_OF_FRAMES
]


async def main() -> None:
    names: dict[str, str] = {}  # what the record calls a turn or a conversation, and what it is called now
    async with connect(URL, subprotocols=["chat-stream-v1"], max_size=None) as ws:
        for way, recorded in map(json.loads, RECORD):
            message_id = recorded.get("message_id", "")
            if way == ">":
                if recorded["type"] == "chat_request":
                    names.setdefault(message_id, uuid.uuid4().hex)
                sent = {key: names.get(value, value) for key, value in recorded.items() if isinstance(value, str)}
                print(">", text := json.dumps({**recorded, **sent}))
                await ws.send(text)
                continue
            while True:
                print("<", text := await ws.recv())
                if (came := json.loads(text))["type"] in ("accepted", "complete", "error"):
                    break
            if came["type"] == "accepted":
                names[recorded.get("conversation_id", "")] = came["conversation_id"]


asyncio.run(main())
`;
