import type { Conversation, Message, Summary } from '../types';

/** An id for keys of the store; random, but no secret: a page that is not on localhost has no crypto.randomUUID. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), byte => byte.toString(16).padStart(2, '0')).join('');
}

export function emptyConversation(now: number): Conversation {
  return { id: newId(), title: '', created: now, updated: now, messages: {}, chosen: {} };
}

/** The messages that are shown, from the first to the last. */
export function pathOf(conversation: Conversation): Message[] {
  const path: Message[] = [];
  let next = conversation.chosen[''];
  while (next !== undefined && path.length <= Object.keys(conversation.messages).length) {
    const message = conversation.messages[next];
    if (!message) break;
    path.push(message);
    next = conversation.chosen[message.id];
  }
  return path;
}

/** The messages from the first one to a certain one, that one included. */
export function pathTo(conversation: Conversation, id: string): Message[] {
  const path: Message[] = [];
  for (let at: string | null = id; at !== null; ) {
    const message: Message | undefined = conversation.messages[at];
    if (!message || path.includes(message)) break;
    path.unshift(message);
    at = message.parent;
  }
  return path;
}

/** A message and those that were written in its place, in the order in which they were written. */
export function siblingsOf(conversation: Conversation, message: Message): Message[] {
  return Object.values(conversation.messages)
    .filter(each => each.parent === message.parent)
    .sort((left, right) => left.created - right.created || left.id.localeCompare(right.id));
}

/** Adds a message, or puts it in the place of the one with its id, and shows it. */
export function withMessage(conversation: Conversation, message: Message, now: number): Conversation {
  const title = conversation.title || (message.role === 'user' ? titleOf(message) : '');
  return {
    ...conversation,
    title,
    updated: now,
    messages: { ...conversation.messages, [message.id]: message },
    chosen: { ...conversation.chosen, [message.parent ?? '']: message.id },
  };
}

/** Changes a message where it stands; another branch that is shown stays so. */
export function withChange(conversation: Conversation, message: Message): Conversation {
  return { ...conversation, messages: { ...conversation.messages, [message.id]: message } };
}

export function withChosen(conversation: Conversation, message: Message): Conversation {
  return { ...conversation, chosen: { ...conversation.chosen, [message.parent ?? '']: message.id } };
}

export function titleOf(message: Message): string {
  const words = message.text.replace(/\s+/g, ' ').trim();
  if (words.length > 60) return `${words.slice(0, 59).trimEnd()}…`;
  return words || message.pictures?.[0]?.name || 'Conversation';
}

export function summaryOf({ id, title, created, updated }: Conversation): Summary {
  return { id, title, created, updated };
}

/** As it comes out of the store: what was being written when the page was closed is no longer. */
export function restored(conversation: Conversation): Conversation {
  const messages = Object.fromEntries(Object.entries(conversation.messages).map(([id, message]) => [
    id,
    message.state === 'writing'
      ? {
          ...message,
          state: 'failed' as const,
          failure: { kind: 'connection' as const, message: 'The page was closed while this answer was written.' },
        }
      : message,
  ]));
  return { ...conversation, messages };
}
