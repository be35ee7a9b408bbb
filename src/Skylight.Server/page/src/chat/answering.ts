import { batch } from '@preact/signals';
import { ApiError, streamAnswer } from '../api/client';
import { AnswerReader } from '../api/chunks';
import { continuable, requestBody, sendable, type Abilities } from '../api/request';
import type { AnswerState, Conversation, Failure, Message, Picture } from '../types';
import { newId, pathTo, withChange, withMessage } from './conversation';
import { pictureBudget } from './fit';
import { dataUrlOf, fit, type Loaded } from './pictures';
import {
  announcement, apiKey, conversationOf, current, currentOrNew, greet, keyWanted, live, maximumBody, put, save, server, settings, store,
} from './state';

/** Pieces come faster than a person reads: the page is drawn this often. */
const drawEvery = 50;
const saveEvery = 3000;

const abilities: Abilities = { logprobs: true, topLogprobs: true };
let controller: AbortController | null = null;

export const isWriting = (): boolean => live.value !== null;

/** Ends the answer that is being written; what has come of it stays. */
export function stop(): void {
  controller?.abort();
}

/** Asks a question behind the last message that is shown, or in the place of another question. */
export async function ask(text: string, loaded: Loaded[], parent: string | null): Promise<void> {
  if (isWriting()) return;
  const conversation = currentOrNew();
  const question: Message = { id: newId(), parent, role: 'user', created: Date.now(), text };
  if (loaded.length > 0) question.pictures = loaded.map(each => each.picture);
  await answer(withMessage(conversation, question, Date.now()), question, null, loaded);
}

/** Another answer to the same question; in the place of one that has nothing in it, else beside it. */
export async function regenerate(message: Message): Promise<void> {
  const conversation = conversationHolding(message);
  const question = conversation && message.parent ? conversation.messages[message.parent] : null;
  if (!conversation || !question || isWriting()) return;
  await answer(conversation, question, message.text || message.thinking ? null : { ...message, tokens: undefined });
}

/** Goes on with an answer that was stopped, cut or lost. */
export async function goOn(message: Message): Promise<void> {
  const conversation = conversationHolding(message);
  const question = conversation && message.parent ? conversation.messages[message.parent] : null;
  if (!conversation || !question || isWriting()) return;
  await answer(conversation, question, continuable(message));
}

function conversationHolding(message: Message): Conversation | null {
  return current.value?.messages[message.id] ? current.value : null;
}

async function answer(conversation: Conversation, question: Message, begun: Message | null, loaded: Loaded[] = []): Promise<void> {
  const began = performance.now();
  const reader = new AnswerReader(begun ?? {});
  const earlier = begun?.timing?.thinking ?? 0;
  let message: Message = {
    ...(begun ?? { id: newId(), parent: question.id, role: 'assistant', created: Date.now(), text: '' }),
    state: 'writing', failure: undefined, usage: undefined, timing: { thinking: earlier || undefined }, note: begun?.note,
  };
  let first: number | null = null;
  let last = began;
  let thinkingSince: number | null = null;
  const signal = (controller = new AbortController()).signal;
  const show = () => (live.value = { conversation: conversation.id, message, thinkingSince });
  // At once, before anything takes time: until it ends nothing else can be asked, and it never looks complete.
  batch(() => {
    put(withMessage(conversation, message, Date.now()));
    show();
  });
  announcement.value = 'The question was sent.';
  try {
    for (const { picture, blob } of loaded) await store.savePicture(picture.id, blob);
  } catch {
    // The answer would still be possible, but not the next one: the question says what is missing.
  }
  await save(conversationOf(conversation.id)!);

  let drawing: ReturnType<typeof setTimeout> | null = null;
  const draw = () => {
    drawing = null;
    message = { ...message, text: reader.text, thinking: reader.thinking || undefined, tokens: reader.tokens };
    show();
  };
  const saving = setInterval(() => {
    const now = conversationOf(conversation.id);
    if (now) void save(withChange(now, message));
  }, saveEvery);

  let state: AnswerState = 'complete';
  let failure: Failure | undefined;
  try {
    const path = sendable(pathTo(conversation, question.id));
    const { urls, note } = await picturesOf(path);
    if (note) message = { ...message, note };
    const sent = begun && (begun.text || begun.thinking) ? [...path, begun] : path;
    const pieces = streamAnswer(able => requestBody(sent, settings.value, urls, able), abilities, apiKey.value, signal);
    for await (const chunk of pieces) {
      if (!reader.add(chunk)) continue;
      last = performance.now();
      if (first === null) {
        first = last;
        server.value = { ...server.value, status: 'ok' };
      }
      if (reader.thinks && thinkingSince === null) {
        thinkingSince = last;
        announcement.value = 'The model is thinking.';
      } else if (!reader.thinks && thinkingSince !== null) {
        message = { ...message, timing: { ...message.timing, thinking: (message.timing?.thinking ?? 0) + last - thinkingSince } };
        thinkingSince = null;
        announcement.value = 'The model is answering.';
      }
      drawing ??= setTimeout(draw, drawEvery);
    }
    state = reader.finish === 'length' ? 'length' : 'complete';
  } catch (error) {
    if (signal.aborted) state = 'stopped';
    else [state, failure] = ['failed', failureOf(error)];
  } finally {
    clearInterval(saving);
    if (drawing !== null) clearTimeout(drawing);
  }

  const thought = (message.timing?.thinking ?? 0) + (thinkingSince === null ? 0 : last - thinkingSince);
  message = {
    ...message, state, failure,
    text: reader.text,
    thinking: reader.thinking || undefined,
    tokens: reader.tokens.length > 0 ? reader.tokens : undefined,
    usage: reader.usage ?? undefined,
    timing: {
      firstToken: first === null ? undefined : first - began,
      writing: first === null ? undefined : last - first,
      thinking: thought || undefined,
    },
  };
  controller = null;
  const now = conversationOf(conversation.id);
  // It may have been deleted meanwhile.
  if (now) put(withChange({ ...now, updated: Date.now() }, message));
  live.value = null;
  announcement.value = said(state, message);
  if (now) await save(conversationOf(conversation.id)!);
  if (failure?.kind === 'key')
    keyWanted.value = { message: failure.message, then: () => void regenerate(message) };
  // A connection that was lost may be one of many: whether the server is gone, it says itself.
  if (failure?.kind === 'connection') void greet();
}

function said(state: AnswerState, message: Message): string {
  switch (state) {
    case 'failed': return `No answer: ${message.failure?.message ?? ''}`;
    case 'stopped': return 'The answer was stopped.';
    case 'length': return 'The answer was cut at its most tokens.';
    default: return `The answer is complete. ${message.text.slice(0, 300)}`;
  }
}

function failureOf(error: unknown): Failure {
  if (error instanceof ApiError) return error.failure;
  return { kind: 'request', message: error instanceof Error ? error.message : 'The page has failed.' };
}

/** The pictures of messages as data URLs, made smaller where the server would not take them. */
async function picturesOf(path: Message[]): Promise<{ urls: Map<string, string>; note: string }> {
  const pictures = new Map<string, Picture>();
  for (const message of path) for (const picture of message.pictures ?? []) pictures.set(picture.id, picture);
  const loaded: Loaded[] = [];
  for (const picture of pictures.values()) {
    const blob = await store.picture(picture.id);
    // Which one is missing, the request says.
    if (blob) loaded.push({ picture, blob });
  }
  const characters = path.reduce((sum, each) => sum + each.text.length, settings.value.system.length);
  const { blobs, note } = await fit(loaded, pictureBudget(maximumBody, characters), maximumBody);
  const urls = new Map<string, string>();
  for (const [index, { picture }] of loaded.entries())
    urls.set(picture.id, await dataUrlOf(blobs[index]!, picture.type));
  return { urls, note };
}
