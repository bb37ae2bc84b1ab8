// A chat on Node's own http: POST a prompt, and the answer of the claude CLI streams as JSON lines.
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

const claude = process.env.CLAUDE ?? "claude";
const options = ["-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"];

async function chat(request, response) {
  let body = "";
  for await (const part of request) body += part;
  const { prompt, session } = JSON.parse(body);
  const child = spawn(claude, [...options, ...(session ? ["--resume", session] : [])], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  response.writeHead(200, { "Content-Type": "application/x-ndjson" });
  const say = (line) => response.write(JSON.stringify(line) + "\n");
  response.on("close", () => child.kill());
  child.on("error", (error) => response.end(JSON.stringify({ error: String(error) }) + "\n"));
  child.stdin.on("error", () => {}).end(prompt);
  let over = false;
  for await (const line of createInterface({ input: child.stdout })) {
    const message = JSON.parse(line);
    if (message.type === "system" && message.subtype === "init") say({ session: message.session_id });
    if (message.type === "stream_event" && message.event.delta?.type === "text_delta") say({ text: message.event.delta.text });
    if (message.type === "result") {
      over = true;
      say(message.is_error ? { error: String(message.result) } : { done: true });
    }
  }
  if (!over) say({ error: "claude ended without a result" });
  response.end();
}

const server = createServer((request, response) => {
  if (request.method === "POST" && request.url === "/api/chat") {
    chat(request, response).catch((error) => response.writeHead(400).end(String(error)));
  } else response.writeHead(404).end();
});
server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => console.log("listening"));
