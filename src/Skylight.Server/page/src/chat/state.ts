import { batch, computed, effect, signal } from '@preact/signals';
import { ApiError, getText } from '../api/client';
import type { Conversation, Message, Settings, Summary } from '../types';
import { emptyConversation, summaryOf, withChosen } from './conversation';
import { keyStore, readSettings, writeSettings } from './settings';
import { ConversationStore } from './store';

export const store = new ConversationStore();
export const settings = signal<Settings>(readSettings());
export const apiKey = signal(keyStore.read());
export const summaries = signal<Summary[]>([]);

/** What is said to those who do not see the page. */
export const announcement = signal('');

/** What the page has to tell that belongs to no message. */
export const notice = signal<string | null>(null);

/** The key is asked for, and what goes on when it is there. */
export const keyWanted = signal<{ message: string; then: () => void } | null>(null);

export interface ServerState {
  status: 'unknown' | 'ok' | 'draining' | 'gone';
  model: string;
  context: number | null;
}
export const server = signal<ServerState>({ status: 'unknown', model: '', context: null });

/** The answer that is being written: its message changes here, and reaches its conversation at the end. */
export interface Live {
  conversation: string;
  message: Message;
  /** When the thinking that goes on began, by performance.now(). */
  thinkingSince: number | null;
}
export const live = signal<Live | null>(null);

/** Conversations that were opened since the page was. */
const opened = signal<ReadonlyMap<string, Conversation>>(new Map());
export const view = signal<'chat' | 'server'>('chat');
const currentId = signal<string | null>(null);
export const current = computed(() => (currentId.value === null ? null : (opened.value.get(currentId.value) ?? null)));

export const maximumBody = Number(
  document.querySelector<HTMLMetaElement>('meta[name="maximum-body-bytes"]')?.content ?? 32 << 20,
);

export function change(part: Partial<Settings>): void {
  settings.value = { ...settings.value, ...part };
}

export function setKey(key: string): void {
  apiKey.value = key.trim();
  keyStore.write(apiKey.value);
}

export const conversationOf = (id: string): Conversation | null => opened.value.get(id) ?? null;

/** Puts a conversation, or a change of it, where it is shown; saving is the caller's. */
export function put(conversation: Conversation): void {
  batch(() => {
    opened.value = new Map(opened.value).set(conversation.id, conversation);
    if (Object.keys(conversation.messages).length === 0) return;
    const others = summaries.value.filter(each => each.id !== conversation.id);
    summaries.value = [summaryOf(conversation), ...others].sort((left, right) => right.updated - left.updated);
  });
}

export async function save(conversation: Conversation): Promise<void> {
  try {
    await store.save(conversation);
  } catch {
    notice.value = 'The browser has no room for this conversation: it ends with the tab. Delete older ones, or export it.';
  }
}

export async function putAndSave(conversation: Conversation): Promise<void> {
  put(conversation);
  await save(conversation);
}

/** The conversation that is shown, or a new one. */
export function currentOrNew(): Conversation {
  if (current.value) return current.value;
  const conversation = emptyConversation(Date.now());
  put(conversation);
  currentId.value = conversation.id;
  location.hash = `chat-${conversation.id}`;
  return conversation;
}

export function showBranch(message: Message): void {
  const conversation = current.value;
  if (conversation) void putAndSave(withChosen(conversation, message));
}

export async function remove(id: string): Promise<void> {
  const conversation = conversationOf(id) ?? (await store.conversation(id));
  const copy = new Map(opened.value);
  copy.delete(id);
  batch(() => {
    opened.value = copy;
    summaries.value = summaries.value.filter(each => each.id !== id);
    if (currentId.value === id) currentId.value = null;
  });
  if (location.hash === `#chat-${id}`) location.hash = '';
  if (conversation) await store.remove(conversation);
}

/** Shows what the address says. */
export async function follow(): Promise<void> {
  const hash = location.hash.slice(1);
  view.value = hash === 'server' ? 'server' : 'chat';
  if (view.value === 'server') return;
  const id = /^chat-([0-9a-f]+)$/.exec(hash)?.[1] ?? null;
  if (id !== null && !opened.value.has(id)) {
    const stored = await store.conversation(id).catch(() => null);
    if (stored) put(stored);
    else notice.value = 'This conversation is not in this browser.';
  }
  currentId.value = id !== null && opened.value.has(id) ? id : null;
}

/** Asks who is there, and whether a key is needed. */
export async function greet(): Promise<void> {
  try {
    const health = JSON.parse(await getText('health', '')) as { status: string; model: string };
    server.value = { ...server.value, status: health.status === 'ok' ? 'ok' : 'draining', model: health.model };
    const models = JSON.parse(await getText('v1/models', apiKey.value)) as { data: { max_model_len: number }[] };
    server.value = { ...server.value, context: models.data[0]?.max_model_len ?? null };
  } catch (error) {
    if (error instanceof ApiError && error.failure.kind === 'key')
      keyWanted.value = { message: error.message, then: () => void greet() };
    else server.value = { ...server.value, status: 'gone' };
  }
}

export async function start(): Promise<void> {
  effect(() => writeSettings(settings.value));
  await store.open();
  if (store.problem) notice.value = store.problem;
  summaries.value = await store.summaries().catch(() => []);
  window.addEventListener('hashchange', () => void follow());
  await follow();
  await greet();
}
