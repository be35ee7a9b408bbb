import type { Failure } from '../types';
import type { Chunk } from './chunks';
import { EventReader } from './events';
import type { Abilities } from './request';

/** The server's endpoints lie beside the page, wherever that is. */
export const addressOf = (path: string): string => new URL(path, document.baseURI).href;

/** What has failed, as the page shows it. */
export class ApiError extends Error {
  constructor(
    readonly failure: Failure,
    readonly param: string | null = null,
  ) {
    super(failure.message);
  }
}

const lost = (message: string): ApiError => new ApiError({ kind: 'connection', message });

/** What an error status means, and what the server says of it. */
export function failureOf(status: number, body: string, retryAfter: string | null): ApiError {
  let message = '';
  let param: string | null = null;
  try {
    const { error } = JSON.parse(body) as { error?: { message?: string; param?: string | null } };
    message = error?.message ?? '';
    param = error?.param ?? null;
  } catch {
    // A proxy's page, or nothing: the status has to do.
  }
  const seconds = Number(retryAfter ?? '');
  const kind: Failure['kind'] =
    status === 401 ? 'key'
    : status === 413 ? 'large'
    : status === 429 ? 'busy'
    : status === 503 || status === 502 || status === 504 ? 'unavailable'
    : status >= 500 ? 'server'
    : 'request';
  const failure: Failure = { kind, status, message: message || `The server answered with status ${status}.` };
  if (kind === 'busy') failure.retryAfter = Number.isFinite(seconds) && seconds > 0 ? seconds : 1;
  return new ApiError(failure, param);
}

const headersOf = (key: string): Record<string, string> => (key ? { Authorization: `Bearer ${key}` } : {});

async function ask(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(addressOf(path), { ...init, cache: 'no-store', credentials: 'same-origin' });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw lost('The server cannot be reached. Is skylight serve still running?');
  }
}

/** Gets something from the server. */
export async function getText(path: string, key: string, signal?: AbortSignal): Promise<string> {
  const response = await ask(path, { headers: headersOf(key), signal });
  const text = await response.text();
  // Health says by its status that the server is ending, which is no failure of asking.
  if (!response.ok && !(path === 'health' && response.status === 503))
    throw failureOf(response.status, text, response.headers.get('Retry-After'));
  return text;
}

/**
 * Asks for a streamed answer.
 * @param bodyOf The request, made anew when the server turns out not to know a field.
 */
export async function* streamAnswer(
  bodyOf: (abilities: Abilities) => object,
  abilities: Abilities,
  key: string,
  signal: AbortSignal,
): AsyncGenerator<Chunk> {
  const response = await begin(bodyOf, abilities, key, signal);
  const reader = response.body!.getReader();
  const decoder = new TextDecoder();
  const events = new EventReader();
  try {
    for (;;) {
      const { done, value } = await read(reader, signal);
      for (const data of events.push(done ? decoder.decode() : decoder.decode(value, { stream: true }))) {
        if (data === '[DONE]') return;
        const chunk = chunkOf(data);
        if (chunk.error) throw failureIn(chunk.error);
        yield chunk;
      }
      if (done) throw lost('The connection was lost before the answer was complete.');
    }
  } finally {
    // An answer that nobody reads to its end is to be no work for the server.
    void reader.cancel().catch(() => undefined);
  }
}

function chunkOf(data: string): Chunk {
  let chunk: unknown;
  try {
    chunk = JSON.parse(data);
  } catch {
    chunk = null;
  }
  if (typeof chunk === 'object' && chunk !== null) return chunk as Chunk;
  throw new ApiError({ kind: 'server', message: 'What came is no answer. Is this address a Skylight server\'s, and nothing between that changes it?' });
}

async function read(reader: ReadableStreamDefaultReader<Uint8Array>, signal: AbortSignal) {
  try {
    return await reader.read();
  } catch (error) {
    if (signal.aborted) throw error;
    throw lost('The connection was lost before the answer was complete.');
  }
}

async function begin(bodyOf: (abilities: Abilities) => object, abilities: Abilities, key: string, signal: AbortSignal) {
  for (;;) {
    const response = await ask('v1/chat/completions', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headersOf(key) },
      body: JSON.stringify(bodyOf(abilities)),
      signal,
    });
    if (response.ok && response.body) return response;
    const error = failureOf(response.status, await response.text(), response.headers.get('Retry-After'));
    if (response.status === 400 && error.param === 'top_logprobs' && abilities.topLogprobs) abilities.topLogprobs = false;
    else if (response.status === 400 && error.param === 'logprobs' && abilities.logprobs) abilities.logprobs = false;
    else throw error;
  }
}

/** An error in the middle of an answer. */
function failureIn(error: NonNullable<Chunk['error']>): ApiError {
  const kind = error.code === 'draining' || error.code === 'out_of_memory' ? 'unavailable' : 'server';
  return new ApiError({ kind, message: error.message || 'The server failed in the middle of the answer.' });
}
