import type { Message, Settings } from '../types';

export type SettingName = 'temperature' | 'topP' | 'maxTokens' | 'seed';

/** What is wrong with a setting, in words; null if nothing is. An empty one leaves the choice to the server. */
export function faultOf(name: SettingName, value: string): string | null {
  const text = value.trim();
  if (text === '') return null;
  const number = Number(text);
  if (!Number.isFinite(number)) return 'Not a number.';
  switch (name) {
    case 'temperature':
      return number < 0 ? 'At least 0, which takes the most likely token.' : null;
    case 'topP':
      return number <= 0 || number > 1 ? 'Above 0 and at most 1.' : null;
    case 'maxTokens':
      return !Number.isSafeInteger(number) || number < 1 ? 'A whole number, at least 1.' : null;
    case 'seed':
      return !Number.isSafeInteger(number) ? 'A whole number.' : null;
  }
}

const numberOf = (name: SettingName, value: string): number | undefined =>
  value.trim() === '' || faultOf(name, value) ? undefined : Number(value);

type Part = { type: 'text'; text: string } | { type: 'image_url'; image_url: { url: string } };

/** What the server may be asked for beside the answer; learnt from what it refuses. */
export interface Abilities {
  logprobs: boolean;
  topLogprobs: boolean;
}

/**
 * The body of a request.
 * @param path The messages up to the question; behind it an answer that is to be continued, or nothing.
 * @param urls The data URLs of pictures, by id.
 */
export function requestBody(path: Message[], settings: Settings, urls: Map<string, string>, abilities: Abilities): object {
  const messages: object[] = [];
  if (settings.system.trim() !== '') messages.push({ role: 'system', content: settings.system });
  path.forEach((message, index) => {
    if (message.role === 'assistant') messages.push(answerOf(message, index === path.length - 1));
    else messages.push({ role: 'user', content: contentOf(message, urls) });
  });
  const measures = settings.measure && abilities.logprobs;
  return {
    messages,
    stream: true,
    stream_options: { include_usage: true },
    temperature: numberOf('temperature', settings.temperature),
    top_p: numberOf('topP', settings.topP),
    max_completion_tokens: numberOf('maxTokens', settings.maxTokens),
    seed: numberOf('seed', settings.seed),
    enable_thinking: settings.thinking === 'auto' ? undefined : settings.thinking === 'on',
    logprobs: measures || undefined,
    top_logprobs: measures && abilities.topLogprobs ? 5 : undefined,
  };
}

function contentOf(message: Message, urls: Map<string, string>): string | Part[] {
  if (!message.pictures?.length) return message.text;
  const parts: Part[] = message.pictures.map(({ id, name }) => {
    const url = urls.get(id);
    if (url === undefined) throw new Error(`The picture ${name} is no longer in this browser. Remove it from the question.`);
    return { type: 'image_url', image_url: { url } };
  });
  if (message.text.trim() !== '') parts.push({ type: 'text', text: message.text });
  return parts;
}

/** Of earlier answers the thinking is left out, as models were trained; of one that is continued it is what was written so far. */
function answerOf(message: Message, isContinued: boolean): object {
  if (!isContinued || !message.thinking) return { role: 'assistant', content: message.text };
  return message.text === ''
    ? { role: 'assistant', content: null, reasoning_content: message.thinking }
    : { role: 'assistant', content: message.text, reasoning_content: message.thinking };
}

/** An answer as it can be continued: words begin with their space, so none may stand at its end. */
export function continuable(message: Message): Message {
  const trimmed = message.text === ''
    ? { thinking: message.thinking?.trimEnd() || undefined }
    : { text: message.text.trimEnd() };
  return { ...message, ...trimmed };
}

/** What a question without an answer is sent with: empty earlier answers say nothing and are no turns. */
export function sendable(path: Message[]): Message[] {
  return path.filter(message => message.role === 'user' || message.text !== '' || message.thinking);
}
