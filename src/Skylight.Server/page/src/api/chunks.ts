import type { Token, Usage } from '../types';

/** A log-probability as the server sends it. */
export interface WireToken {
  token: string;
  logprob: number;
  bytes?: number[] | null;
  entropy?: number | null;
  reasoning?: boolean | null;
  top_logprobs?: { token: string; logprob: number; bytes?: number[] | null }[] | null;
}

/** A piece of a streamed answer. */
export interface Chunk {
  choices?: {
    delta?: { content?: string | null; reasoning_content?: string | null };
    logprobs?: { content?: WireToken[] | null } | null;
    finish_reason?: string | null;
  }[];
  usage?: {
    prompt_tokens: number;
    completion_tokens: number;
    prompt_tokens_details?: { cached_tokens?: number };
    completion_tokens_details?: { reasoning_tokens?: number };
  } | null;
  error?: { message?: string; type?: string; code?: string | null };
}

/** Puts the tokens of an answer together: several may spell one character, and only the last of them shows it. */
export class TokenReader {
  private readonly decoder = new TextDecoder();

  read(wire: WireToken, thinking: boolean): Token {
    const spelled = wire.bytes ? this.decoder.decode(Uint8Array.from(wire.bytes), { stream: true }) : wire.token;
    const token: Token = { t: spelled, p: wire.logprob };
    if (typeof wire.entropy === 'number') token.e = wire.entropy;
    if (wire.top_logprobs?.length) token.a = wire.top_logprobs.map(each => [each.token, each.logprob]);
    if (wire.reasoning ?? thinking) token.r = 1;
    return token;
  }
}

/** What has come of an answer. */
export class AnswerReader {
  text: string;
  thinking: string;
  readonly tokens: Token[];
  finish: string | null = null;
  usage: Usage | null = null;
  /** Whether the last piece was thinking. */
  thinks = false;
  private readonly reader = new TokenReader();

  constructor(start: { text?: string; thinking?: string; tokens?: Token[] } = {}) {
    this.text = start.text ?? '';
    this.thinking = start.thinking ?? '';
    this.tokens = [...(start.tokens ?? [])];
  }

  /** Adds a piece; gives whether it has something of the answer in it. */
  add(chunk: Chunk): boolean {
    const { usage } = chunk;
    if (usage) {
      this.usage = {
        prompt: usage.prompt_tokens,
        completion: usage.completion_tokens,
        reasoning: usage.completion_tokens_details?.reasoning_tokens ?? 0,
        cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
      };
    }
    const choice = chunk.choices?.[0];
    if (!choice) return false;
    const thinking = choice.delta?.reasoning_content ?? '';
    const text = choice.delta?.content ?? '';
    if (thinking) this.thinks = true;
    else if (text) this.thinks = false;
    this.thinking += thinking;
    this.text += text;
    const tokens = choice.logprobs?.content ?? [];
    for (const token of tokens) this.tokens.push(this.reader.read(token, this.thinks));
    if (choice.finish_reason) this.finish = choice.finish_reason;
    return thinking !== '' || text !== '' || tokens.length > 0;
  }
}
