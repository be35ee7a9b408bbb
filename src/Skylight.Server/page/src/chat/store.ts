import type { Conversation, Summary } from '../types';
import { restored, summaryOf } from './conversation';

/**
 * Conversations in the browser: summaries for the list, contents, and pictures, each in a store of its own so that the list needs
 * none of the rest. Where the browser keeps nothing (a private window with storage off), they last as long as the page.
 */
export class ConversationStore {
  private readonly memory = new Map<string, Map<string, unknown>>();
  private database: IDBDatabase | null = null;
  /** Why nothing is kept, for people; null where it is. */
  problem: string | null = null;

  async open(): Promise<void> {
    try {
      const request = indexedDB.open('skylight', 1);
      request.onupgradeneeded = () => {
        for (const name of ['summaries', 'contents', 'pictures']) request.result.createObjectStore(name);
      };
      this.database = await settled(request);
      // Another tab with a newer page must be able to change the stores.
      this.database.onversionchange = () => this.database?.close();
    } catch {
      this.problem = 'This browser keeps nothing of this page: conversations end with the tab.';
    }
  }

  async summaries(): Promise<Summary[]> {
    const all = (await this.all('summaries')) as Summary[];
    return all.sort((left, right) => right.updated - left.updated);
  }

  async conversation(id: string): Promise<Conversation | null> {
    const found = (await this.get('contents', id)) as Conversation | undefined;
    return found ? restored(found) : null;
  }

  async save(conversation: Conversation): Promise<void> {
    await this.put([['summaries', conversation.id, summaryOf(conversation)], ['contents', conversation.id, conversation]]);
  }

  async remove(conversation: Conversation): Promise<void> {
    const pictures = picturesOf(conversation);
    const keys: [string, string][] = [['summaries', conversation.id], ['contents', conversation.id]];
    await this.delete([...keys, ...pictures.map((id): [string, string] => ['pictures', id])]);
  }

  async savePicture(id: string, blob: Blob): Promise<void> {
    await this.put([['pictures', id, blob]]);
  }

  async picture(id: string): Promise<Blob | null> {
    return ((await this.get('pictures', id)) as Blob | undefined) ?? null;
  }

  private async get(store: string, key: string): Promise<unknown> {
    if (!this.database) return this.memory.get(store)?.get(key);
    return await settled(this.database.transaction(store).objectStore(store).get(key));
  }

  private async all(store: string): Promise<unknown[]> {
    if (!this.database) return [...(this.memory.get(store)?.values() ?? [])];
    return await settled(this.database.transaction(store).objectStore(store).getAll());
  }

  private async put(entries: [string, string, unknown][]): Promise<void> {
    if (!this.database) {
      for (const [store, key, value] of entries) {
        if (!this.memory.has(store)) this.memory.set(store, new Map());
        this.memory.get(store)!.set(key, value);
      }
      return;
    }
    const transaction = this.database.transaction([...new Set(entries.map(([store]) => store))], 'readwrite');
    for (const [store, key, value] of entries) transaction.objectStore(store).put(value, key);
    await done(transaction);
  }

  private async delete(entries: [string, string][]): Promise<void> {
    if (!this.database) {
      for (const [store, key] of entries) this.memory.get(store)?.delete(key);
      return;
    }
    const transaction = this.database.transaction([...new Set(entries.map(([store]) => store))], 'readwrite');
    for (const [store, key] of entries) transaction.objectStore(store).delete(key);
    await done(transaction);
  }
}

export const picturesOf = (conversation: Conversation): string[] =>
  [...new Set(Object.values(conversation.messages).flatMap(message => message.pictures?.map(each => each.id) ?? []))];

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function done(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
}
