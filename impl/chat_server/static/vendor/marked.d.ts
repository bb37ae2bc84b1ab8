/** The part of marked that the page uses. */

export interface Token {
  type: string;
  raw: string;
  text?: string;
  lang?: string;
  label?: string;
  codeBlockStyle?: string;
  ordered?: boolean;
  start?: number | "";
  tokens?: Token[];
  items?: Token[];
}

export type Links = Record<string, { href: string; title?: string | null } | undefined>;

interface Link {
  href: string;
  text: string;
  tokens?: Token[];
}

interface Parser {
  parseInline(tokens: Token[]): string;
}

interface Renderer {
  html(token: { text: string; block?: boolean }): string;
  image(token: Link): string;
  checkbox(token: { checked: boolean }): string;
  heading(this: { parser: Parser }, token: { tokens: Token[]; depth: number }): string;
}

export class Lexer {
  constructor(options: Options);
  tokens: Token[] & { links: Links };
  state: object;
  lex(source: string): Token[];
  inline(source: string, tokens?: Token[]): Token[];
  inlineTokens(source: string): Token[];
}

type Read = Token | false | undefined;

export class Tokenizer {
  lexer: Lexer;
  del(source: string): Read;
  def(source: string): Read;
  url(source: string): Read;
  tag(source: string): Read;
  emStrong(source: string, masked: string, before?: string): Read;
}

interface Extension {
  name: string;
  level: "block" | "inline";
  start?(source: string): number | undefined;
  tokenizer(this: { lexer: Lexer }, source: string): Token | undefined;
  renderer(this: { parser: Parser }, token: Token): string;
}

export interface Options {
  gfm?: boolean;
  renderer?: Partial<Renderer>;
  tokenizer?: Partial<Omit<Tokenizer, "lexer">> & ThisType<Tokenizer>;
  extensions?: Extension[];
}

export class Marked {
  constructor(...options: Options[]);
  defaults: Options;
  parser(tokens: Token[]): string;
}
