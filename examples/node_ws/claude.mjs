// One question to the claude command-line tool, and what it answers.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";

const OPTIONS = [
  "--print", "--verbose", "--output-format", "stream-json", "--include-partial-messages",
  "--input-format", "stream-json", "--tools", "",
  // What users type is data: no commands, and nothing of whoever runs this.
  "--disable-slash-commands", "--setting-sources", "", "--strict-mcp-config",
];
const SAFE = { CLAUDE_CODE_DISABLE_FILE_MENTIONS: "1", CLAUDE_CODE_DISABLE_CLAUDE_MDS: "1" };
const FAILED = { type: "error", code: "claude_failed", message: "Claude ended without a result" };

// Start Claude with a prompt. `on` is told {session}, then tokens and rewinds, and once, last, a complete or an error.
// Returns what stops it: asked, then told, then made to.
export function ask(claude, prompt, session, grace, on) {
  const known = session;
  session ??= randomUUID();
  const mark = randomUUID();
  const child = spawn(claude, [...OPTIONS, known ? "--resume" : "--session-id", session], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, ...SAFE, CHAT_RUN: mark },
  });
  let begun = false, reason = "end_turn", end, over = false;
  let shown = "", start = 0, place = 0; // the answer so far, where its open block begins, and how far that is told
  let timers = [];
  const escalate = (...signals) => {
    timers = signals.map((signal, place) => setTimeout(() => child.kill(signal), place * grace));
  };
  const finish = (event) => {
    if (over) return;
    over = true;
    on(event);
  };
  const say = (text, old) => { // what is told, and what is shown in its place
    if (!text.startsWith(old)) {
      shown = shown.slice(0, place);
      old = "";
      on({ type: "rewind", to: [...shown].length });
    }
    place += text.length;
    const token = text.slice(old.length);
    shown += token;
    if (token) on({ type: "token", token });
  };
  const read = (line) => {
    let event;
    try {
      event = JSON.parse(line);
    } catch {
      return; // a warning, or what a later version says
    }
    if (end || over || event === null) return;
    const inner = event.type === "stream_event" ? event.event ?? {} : {};
    if (event.type === "system" && event.subtype === "init") {
      begun = true;
      if (known && event.session_id !== session) on({ type: "status", status: "fresh_session" }); // it has forgotten all
      session = event.session_id ?? session;
      on({ session });
    } else if (event.parent_tool_use_id != null || event.is_api_error_message) {
      return; // a subagent's, or what the result says, too
    } else if (event.type === "stream_event" && event.abandoned_blocks) {
      place = start; // the stream broke: the block is told anew
    } else if (inner.delta?.type === "text_delta") {
      const text = inner.delta.text ?? "";
      say(text, shown.slice(place, place + text.length));
    } else if (inner.delta?.stop_reason) {
      reason = inner.delta.stop_reason;
    } else if (event.type === "assistant") {
      const text = event.message.content.map((each) => each.text ?? "").join("");
      if (text) {
        place = start;
        say(text, shown.slice(start));
      }
      start = place;
    } else if (event.type === "result" && event.is_error) {
      end = { ...FAILED, message: String(event.result ?? event.errors) };
    } else if (event.type === "result") {
      const text = event.result ?? "";
      if (!shown.endsWith(text)) say(text, shown.slice(place));
      const { input_tokens, output_tokens } = event.usage;
      end = { type: "complete", stop_reason: reason, usage: { input_tokens, output_tokens } };
    }
    if (end) escalate("SIGCONT", "SIGTERM", "SIGKILL"); // it ends by itself, unless something holds it
  };
  let rest = [];
  child.stdout.on("data", (data) => {
    for (let at; (at = data.indexOf(10)) >= 0; data = data.subarray(at + 1)) {
      read(Buffer.concat([...rest, data.subarray(0, at)]).toString());
      rest = [];
    }
    rest.push(data);
  });
  child.on("error", () =>
    finish({ type: "error", code: "claude_unavailable", message: "Claude cannot be used" }));
  child.on("exit", () => {
    timers.forEach(clearTimeout);
    const endFamily = () => killMarked(`CHAT_RUN=${mark}`); // what Claude left behind may hold its stdout open
    endFamily();
    timers = [setInterval(endFamily, 200)];
  });
  child.on("close", () => {
    timers.forEach(clearTimeout);
    if (known && !begun && !over) { // it knows the session no more
      over = true;
      stop = ask(claude, prompt, undefined, grace, on);
      return;
    }
    finish(end ?? FAILED);
  });
  child.stdin.on("error", () => {}); // it has ended before it read everything
  // Only the last block is searched for commands and mentions, and an empty one is left out of the request.
  const content = [prompt, ""].map((text) => ({ type: "text", text }));
  child.stdin.end(`${JSON.stringify({ type: "user", message: { role: "user", content } })}\n`);
  let stop = () => escalate("SIGINT", "SIGTERM", "SIGKILL");
  return () => stop();
}

function killMarked(mark) {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      if (readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(mark)) process.kill(Number(pid), "SIGKILL");
    } catch {
      // gone already, or not ours
    }
  }
}
