import type { Token } from '../types';

/** The words of Skylight.Training's CriticalTokens, which are the first to look at where a model reasons. */
const words = ['Wait', 'Alternatively', 'Hmm'];
const spellings = [...new Set(words.flatMap(word => [word, word.toLowerCase(), word.toUpperCase()]))];
const wordCharacter = /[\p{L}\p{N}]/u;

/** The tokens with which a critical word begins inside the think block, by CriticalTokens' rule. */
export function criticalTokens(tokens: Token[]): Set<number> {
  const found = new Set<number>();
  // What lies outside of the block neither begins nor ends a word in it.
  const text = tokens.map(token => (token.r ? token.t : '\n'.repeat(token.t.length))).join('');
  let start = 0;
  tokens.forEach((token, index) => {
    const first = start + (token.t.length - token.t.trimStart().length);
    const end = start + token.t.length;
    // White space before a word is not part of it, and a token of nothing else begins none.
    if (token.r && first < end && beginsWord(text, first)) found.add(index);
    start = end;
  });
  return found;
}

function beginsWord(text: string, at: number): boolean {
  if (at > 0 && wordCharacter.test(text[at - 1]!)) return false;
  return spellings.some(word => text.startsWith(word, at) && !wordCharacter.test(text[at + word.length] ?? ''));
}

/** How undecided the model was at a token: the entropy, or the surprise (−log p) where the server says no more. */
export const measureOf = (token: Token): number => Math.max(0, token.e ?? -token.p);

/** From 0, no shade, to 10; 3 nats, some twenty equally likely tokens, and more are 10. */
export function shadeOf(measure: number): number {
  const share = Math.min(1, measure / 3);
  return Math.min(10, Math.round(10 * share ** 0.7));
}

/** What stands above an answer that is shaded. */
export interface EntropySummary {
  /** Whether the server gave entropies; else it is the surprise. */
  isEntropy: boolean;
  mean: number;
  critical: Set<number>;
  meanCritical: number | null;
  /** The twentieth of the tokens at which the model was the least decided, as far as it was undecided there at all. */
  forks: Set<number>;
}

export function summaryOfTokens(tokens: Token[]): EntropySummary {
  const measures = tokens.map(measureOf);
  const critical = criticalTokens(tokens);
  const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
  const most = Math.ceil(tokens.length / 20);
  const order = measures.map((measure, index) => ({ measure, index }))
    .filter(({ measure }) => measure >= 0.5)
    .sort((left, right) => right.measure - left.measure || left.index - right.index)
    .slice(0, most);
  return {
    isEntropy: tokens.length > 0 && tokens.every(token => token.e !== undefined),
    mean: tokens.length === 0 ? 0 : sum(measures) / tokens.length,
    critical,
    meanCritical: critical.size === 0 ? null : sum([...critical].map(index => measures[index]!)) / critical.size,
    forks: new Set(order.map(({ index }) => index)),
  };
}

/** A token as a person can see it: white space has signs. */
export function visible(text: string): string {
  if (text === '') return '(part of a character)';
  return text.replace(/\n/g, '⏎').replace(/\t/g, '⇥').replace(/ /g, '␣');
}
