/** A token of an answer, as far as the server tells of it. Short names: there are thousands of them in the browser's store. */
export interface Token {
  /** What it spells; empty for a part of a character, which the token that completes it spells. */
  t: string;
  /** Log-probability, in nats. */
  p: number;
  /** Entropy of the distribution that it was drawn from, in nats; absent where the server does not say. */
  e?: number;
  /** Alternatives: what they spell and their log-probabilities. */
  a?: [string, number][];
  /** 1 within the think block. */
  r?: 1;
}

/** Why something has failed, in words for people. */
export interface Failure {
  kind: 'request' | 'key' | 'large' | 'busy' | 'unavailable' | 'connection' | 'server';
  message: string;
  status?: number;
  /** Seconds until the server wants to be asked again. */
  retryAfter?: number;
}

/** A picture of a message; its bytes are in the store under its id. */
export interface Picture {
  id: string;
  name: string;
  type: string;
  bytes: number;
  width?: number;
  height?: number;
  /** What the page has done to it, in words. */
  note?: string;
}

export interface Usage {
  prompt: number;
  completion: number;
  reasoning: number;
  cached: number;
}

/** Times of an answer, in milliseconds. */
export interface Timing {
  /** From the question to the first token. */
  firstToken?: number;
  /** From the first token to the last. */
  writing?: number;
  /** How long it has thought, over all its parts. */
  thinking?: number;
}

/** `writing` in the store means that the page was closed while the answer was written. */
export type AnswerState = 'writing' | 'complete' | 'length' | 'stopped' | 'failed';

export interface Message {
  id: string;
  parent: string | null;
  role: 'user' | 'assistant';
  created: number;
  text: string;
  pictures?: Picture[];
  thinking?: string;
  tokens?: Token[];
  state?: AnswerState;
  failure?: Failure;
  timing?: Timing;
  usage?: Usage;
  /** What the page has done to the request, in words. */
  note?: string;
}

/** A tree of messages: an edited question or a second answer stands beside the first one and does not replace it. */
export interface Conversation {
  id: string;
  title: string;
  created: number;
  updated: number;
  messages: Record<string, Message>;
  /** By parent ('' for the root), the child that is shown. */
  chosen: Record<string, string>;
}

export type Summary = Pick<Conversation, 'id' | 'title' | 'created' | 'updated'>;

export interface Settings {
  system: string;
  temperature: string;
  topP: string;
  maxTokens: string;
  seed: string;
  thinking: 'auto' | 'on' | 'off';
  /** Whether token probabilities are asked for. */
  measure: boolean;
  /** Whether tokens are shaded by their entropy. */
  shade: boolean;
  theme: 'system' | 'light' | 'dark';
}
