// The messages and documents of chat-stream-v1 (docs/protocol.md).
// Made by python -m chat_conformance.protocol.
// Further members and further types of messages may come; ignore what you do not know (MSG-1).

/** A text frame from the client. */
export type ClientMessage = ChatRequest | Subscribe | Cancel;

/** A text frame from the server. */
export type ServerMessage = Accepted | Token | Thinking | Tool | Status | Rewind | Complete | ErrorMessage;

/** A message of a type that came later; clients ignore it (MSG-1). */
export interface UnknownMessage {
  type: string;
}

/** The turn is counted, its prompt durable, and Claude is being asked (TURN-1). */
export interface Accepted {
  type: "accepted";
  /** 1 to 64 characters, by the client (MSG-6). */
  message_id: string;
  /** 12 lower-case hexadecimal digits (MSG-5). */
  conversation_id: string;
}

/** The answer to a turn by POST (HTTP-2). */
export interface Answered {
  response: string;
  /** 12 lower-case hexadecimal digits (MSG-5). */
  conversation_id: string;
  message_id: string;
}

/** An answer, as far as there is one. */
export interface AssistantEntry {
  role: "assistant";
  content: string;
  message_id: string;
  /** UTC in RFC 3339 (HIST-7). */
  created_at: string;
  status: "cancelled" | "complete" | "failed" | "interrupted" | "running";
  error?: Cause | null;
  steps?: (ThinkingStep | ToolStep | StatusStep)[] | null;
}

/** Stop a turn (CANCEL-1). */
export interface Cancel {
  type: "cancel";
  /** 1 to 64 characters, by the client (MSG-6). */
  message_id: string;
  /** 12 lower-case hexadecimal digits (MSG-5). */
  conversation_id?: string;
}

/** What went wrong, for programs and for people. */
export interface Cause {
  /** What went wrong, for programs. */
  code: string;
  message: string;
  retry_after?: number | null;
}

/** Run one turn (TURN-1). */
export interface ChatRequest {
  type: "chat_request";
  /** The prompt; not only white space (MSG-4). */
  message: string;
  /** 1 to 64 characters, by the client (MSG-6). */
  message_id?: string;
  /** 12 lower-case hexadecimal digits (MSG-5). */
  conversation_id?: string;
}

/** The turn's last event when it ended well, or was cancelled (TURN-2). */
export interface Complete {
  type: "complete";
  /** 1 to 64 characters, by the client (MSG-6). */
  message_id: string;
  /** 12 lower-case hexadecimal digits (MSG-5). */
  conversation_id: string;
  /** The place in the turn's log: 1, 2, 3, … (TURN-3). */
  seq: number;
  usage: Usage;
  stop_reason: string;
}

/** A conversation with its messages, oldest first (HIST-4). */
export interface Conversation {
  /** 12 lower-case hexadecimal digits (MSG-5). */
  id: string;
  title: string;
  /** UTC in RFC 3339 (HIST-7). */
  created_at: string;
  /** UTC in RFC 3339 (HIST-7). */
  updated_at: string;
  messages: (UserEntry | AssistantEntry)[];
}

/** The user's conversations, newest first (HIST-3). */
export interface ConversationList {
  conversations: Summary[];
  next: string | null;
}

/** A turn's last event when it failed, in its envelope (TURN-2); or the answer to a message that started nothing. */
export interface ErrorMessage {
  type: "error";
  /** What went wrong, for programs. */
  code: string;
  message: string;
  retry_after?: number | null;
  message_id?: string | null;
  conversation_id?: string | null;
  seq?: number | null;
}

/** How much of a limit is used. */
export interface LimitStanding {
  limit: string;
  used: number;
  of: number;
  resets_in: number | null;
}

/** An empty conversation (HIST-6). */
export interface NewConversation {
  /** 12 lower-case hexadecimal digits (MSG-5). */
  conversation_id: string;
}

/** The body of every error (§8); of a failed turn, which was not refused, with its ids. */
export interface Refusal {
  error: Cause;
}

/** Forget the answer after its first ``to`` code points (TURN-4). */
export interface Rewind {
  type: "rewind";
  /** 1 to 64 characters, by the client (MSG-6). */
  message_id: string;
  /** 12 lower-case hexadecimal digits (MSG-5). */
  conversation_id: string;
  /** The place in the turn's log: 1, 2, 3, … (TURN-3). */
  seq: number;
  to: number;
}

/** How one stands with each limit (LIMIT-7). */
export interface Standing {
  limits: LimitStanding[];
}

/** Something that the user may like to know, such as a retry. */
export interface Status {
  type: "status";
  /** 1 to 64 characters, by the client (MSG-6). */
  message_id: string;
  /** 12 lower-case hexadecimal digits (MSG-5). */
  conversation_id: string;
  /** The place in the turn's log: 1, 2, 3, … (TURN-3). */
  seq: number;
  status: string;
  detail?: string | null;
}

/** A ``status`` event. */
export interface StatusStep {
  type: "status";
  at: number;
  status: string;
  detail?: string | null;
}

/** Follow a turn from after ``after`` on; without ``message_id`` whatever runs in the conversation (SUB-1). */
export interface Subscribe {
  type: "subscribe";
  /** 12 lower-case hexadecimal digits (MSG-5). */
  conversation_id: string;
  /** 1 to 64 characters, by the client (MSG-6). */
  message_id?: string;
  after?: number;
}

/** A conversation in the list. */
export interface Summary {
  /** 12 lower-case hexadecimal digits (MSG-5). */
  id: string;
  title: string;
  /** UTC in RFC 3339 (HIST-7). */
  created_at: string;
  /** UTC in RFC 3339 (HIST-7). */
  updated_at: string;
  preview?: string | null;
}

/** A piece of what Claude thinks before it answers. */
export interface Thinking {
  type: "thinking";
  /** 1 to 64 characters, by the client (MSG-6). */
  message_id: string;
  /** 12 lower-case hexadecimal digits (MSG-5). */
  conversation_id: string;
  /** The place in the turn's log: 1, 2, 3, … (TURN-3). */
  seq: number;
  thinking: string;
}

/** What Claude thought, consecutive pieces joined. */
export interface ThinkingStep {
  type: "thinking";
  at: number;
  thinking: string;
}

/** The next piece of the answer. */
export interface Token {
  type: "token";
  /** 1 to 64 characters, by the client (MSG-6). */
  message_id: string;
  /** 12 lower-case hexadecimal digits (MSG-5). */
  conversation_id: string;
  /** The place in the turn's log: 1, 2, 3, … (TURN-3). */
  seq: number;
  token: string;
}

/** A tool at work. */
export interface Tool {
  type: "tool";
  /** 1 to 64 characters, by the client (MSG-6). */
  message_id: string;
  /** 12 lower-case hexadecimal digits (MSG-5). */
  conversation_id: string;
  /** The place in the turn's log: 1, 2, 3, … (TURN-3). */
  seq: number;
  id: string;
  name: string;
  state: "failed" | "finished" | "started";
  detail: string;
}

/** One call of a tool, with the ``detail`` of its start and of its end. */
export interface ToolStep {
  type: "tool";
  at: number;
  id: string;
  name: string;
  state: "failed" | "finished" | "started";
  input: string;
  result: string;
}

/** What a turn cost, in tokens. */
export interface Usage {
  input_tokens: number;
  output_tokens: number;
}

/** A prompt. */
export interface UserEntry {
  role: "user";
  content: string;
  message_id: string;
  /** UTC in RFC 3339 (HIST-7). */
  created_at: string;
  status: string;
}

/** Who is logged in (ID-7). */
export interface Whoami {
  user: string | null;
  logout: boolean;
  logout_url: string | null;
  fake?: boolean | null;
}
