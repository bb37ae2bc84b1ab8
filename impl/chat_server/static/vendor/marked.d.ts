/** The part of marked that the page uses. */

export interface Token {
  type: string;
  raw: string;
  text?: string;
  lang?: string;
  items?: { raw: string }[];
}

interface Link {
  href: string;
  text: string;
  tokens?: Token[];
}

interface Renderer {
  html(token: { text: string; block?: boolean }): string;
  image(token: Link): string;
  checkbox(token: { checked: boolean }): string;
  heading(this: { parser: { parseInline(tokens: Token[]): string } }, token: { tokens: Token[]; depth: number }): string;
}

interface Options {
  gfm?: boolean;
  renderer?: Partial<Renderer>;
}

export class Marked {
  constructor(...options: Options[]);
  lexer(source: string): Token[];
  parser(tokens: Token[]): string;
}
