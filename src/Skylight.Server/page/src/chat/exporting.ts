import type { Conversation } from '../types';
import { picturesOf, type ConversationStore } from './store';
import { dataUrlOf } from './pictures';

/** Conversations as one JSON file, with everything that the browser has of them: branches, tokens, and pictures as data URLs. */
export async function exported(conversations: Conversation[], store: ConversationStore): Promise<Blob> {
  const pictures: Record<string, string> = {};
  for (const id of conversations.flatMap(picturesOf)) {
    const blob = await store.picture(id);
    if (blob) pictures[id] = await dataUrlOf(blob, blob.type || 'application/octet-stream');
  }
  return new Blob([JSON.stringify({ format: 'skylight-conversations', version: 1, conversations, pictures }, null, 1)],
    { type: 'application/json' });
}

export function download(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const fileNameOf = (title: string): string =>
  `${title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-+|-+$/g, '').slice(0, 40) || 'conversation'}.json`;

/** Also where the page is not on localhost and has no clipboard of its own. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.className = 'off-screen';
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    area.select();
    const copied = document.execCommand('copy');
    area.remove();
    return copied;
  }
}
