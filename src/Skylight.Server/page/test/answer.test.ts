import { describe, expect, it } from 'vitest';
import { AnswerReader, type Chunk, type WireToken } from '../src/api/chunks';
import { failureOf } from '../src/api/client';
import { EventReader } from '../src/api/events';
import { continuable, faultOf, requestBody, sendable } from '../src/api/request';
import { defaults } from '../src/chat/settings';
import type { Message } from '../src/types';

const bytesOf = (text: string) => [...new TextEncoder().encode(text)];
const token = (text: string, more: Partial<WireToken> = {}): WireToken => ({ token: text, logprob: -0.5, bytes: bytesOf(text), ...more });
const chunk = (delta: object, tokens: WireToken[] = [], finish: string | null = null): Chunk =>
  ({ choices: [{ delta, logprobs: tokens.length > 0 ? { content: tokens } : null, finish_reason: finish }] });

describe('EventReader', () => {
  it('gives the same events wherever the text is cut', () => {
    const text = 'data: {"a":1}\r\n\r\n: a comment\ndata: one\ndata: two\n\nevent: x\ndata:[DONE]\r\r';
    for (let length = 1; length <= text.length; length++) {
      const reader = new EventReader();
      const events: string[] = [];
      for (let start = 0; start < text.length; start += length) events.push(...reader.push(text.slice(start, start + length)));
      events.push(...reader.push('\n'));
      expect(events).toEqual(['{"a":1}', 'one\ntwo', '[DONE]']);
    }
  });

  it('holds back an event that is not complete', () => {
    const reader = new EventReader();
    expect(reader.push('data: half\n')).toEqual([]);
    expect(reader.push('\n')).toEqual(['half']);
  });
});

describe('AnswerReader', () => {
  it('tells thinking from answer', () => {
    const reader = new AnswerReader();
    expect(reader.add(chunk({ role: 'assistant', content: '' }))).toBe(false);
    expect(reader.add(chunk({ reasoning_content: 'Hm' }, [token('Hm')]))).toBe(true);
    reader.add(chunk({ reasoning_content: '.' }, [token('.')]));
    expect(reader.thinks).toBe(true);
    reader.add(chunk({ content: 'Two.' }, [token('Two'), token('.')], 'stop'));
    expect([reader.thinking, reader.text, reader.finish, reader.thinks]).toEqual(['Hm.', 'Two.', 'stop', false]);
    expect(reader.tokens.map(each => [each.t, each.r])).toEqual([['Hm', 1], ['.', 1], ['Two', undefined], ['.', undefined]]);
  });

  it('believes the server where it says what is thinking, and what the entropy is', () => {
    const reader = new AnswerReader();
    reader.add(chunk({ content: 'x' }, [
      token('so', { reasoning: true, entropy: 1.25, top_logprobs: [{ token: 'so', logprob: -0.5 }, { token: 'or', logprob: -1 }] }),
      token('x', { reasoning: false, entropy: 0 }),
    ]));
    expect(reader.tokens).toEqual([
      { t: 'so', p: -0.5, e: 1.25, a: [['so', -0.5], ['or', -1]], r: 1 },
      { t: 'x', p: -0.5, e: 0 },
    ]);
  });

  it('shows a character with the token that completes it', () => {
    const [first, second, third, fourth] = bytesOf('😀');
    const reader = new AnswerReader();
    reader.add(chunk({}, [token('\ufffd', { bytes: [first!, second!] })]));
    reader.add(chunk({ content: '😀' }, [token('\ufffd', { bytes: [third!, fourth!] })]));
    expect(reader.tokens.map(each => each.t)).toEqual(['', '😀']);
  });

  it('goes on from what there was', () => {
    const reader = new AnswerReader({ text: 'One', tokens: [{ t: 'One', p: -1 }] });
    reader.add(chunk({ content: ' two' }, [token(' two')]));
    expect([reader.text, reader.tokens.length]).toEqual(['One two', 2]);
  });

  it('has the usage, which comes without a choice', () => {
    const reader = new AnswerReader();
    expect(reader.add({ choices: [], usage: { prompt_tokens: 9, completion_tokens: 4, prompt_tokens_details: { cached_tokens: 2 } } })).toBe(false);
    expect(reader.usage).toEqual({ prompt: 9, completion: 4, reasoning: 0, cached: 2 });
  });
});

describe('requestBody', () => {
  const able = { logprobs: true, topLogprobs: true };
  const asked: Message = { id: 'q', parent: null, role: 'user', created: 0, text: 'What?', pictures: [{ id: 'p', name: 'cat', type: 'image/png', bytes: 1 }] };
  const begun: Message = { id: 'a', parent: 'q', role: 'assistant', created: 1, text: 'It is', thinking: 'Hm.' };
  const urls = new Map([['p', 'data:image/png;base64,AA==']]);
  const sent = (body: object) => JSON.parse(JSON.stringify(body)) as Record<string, unknown>;

  it('sends pictures before the text, and leaves to the server what is not set', () => {
    expect(sent(requestBody([asked], defaults, urls, able))).toEqual({
      messages: [{ role: 'user', content: [
        { type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } }, { type: 'text', text: 'What?' },
      ] }],
      stream: true, stream_options: { include_usage: true }, logprobs: true, top_logprobs: 5,
    });
  });

  it('sends settings that make sense, and no others', () => {
    const body = sent(requestBody([asked], { ...defaults, system: 'Be brief.', temperature: '0.6', topP: '7', maxTokens: '100', seed: '-3', thinking: 'off' }, urls, able));
    expect(body).toMatchObject({ temperature: 0.6, max_completion_tokens: 100, seed: -3, enable_thinking: false });
    expect(body).not.toHaveProperty('top_p');
    expect((body['messages'] as object[])[0]).toEqual({ role: 'system', content: 'Be brief.' });
  });

  it('asks for no more probabilities than the server and the person want', () => {
    expect(sent(requestBody([asked], defaults, urls, { logprobs: true, topLogprobs: false }))).not.toHaveProperty('top_logprobs');
    expect(sent(requestBody([asked], defaults, urls, { logprobs: false, topLogprobs: true }))).not.toHaveProperty('logprobs');
    expect(sent(requestBody([asked], { ...defaults, measure: false }, urls, able))).not.toHaveProperty('logprobs');
  });

  it('leaves the thinking out of earlier answers and sends it with one that goes on', () => {
    const next: Message = { id: 'q2', parent: 'a', role: 'user', created: 2, text: 'And?' };
    expect(sent(requestBody([asked, begun, next], defaults, urls, able))['messages']).toMatchObject([{}, { role: 'assistant', content: 'It is' }, {}]);
    expect(sent(requestBody([asked, begun], defaults, urls, able))['messages']).toMatchObject([{}, { content: 'It is', reasoning_content: 'Hm.' }]);
    expect(sent(requestBody([asked, { ...begun, text: '' }], defaults, urls, able))['messages'])
      .toMatchObject([{}, { content: null, reasoning_content: 'Hm.' }]);
  });

  it('names a picture that is no longer there', () => {
    expect(() => requestBody([asked], defaults, new Map(), able)).toThrow(/The picture cat is no longer/);
  });

  it('continues before a space', () => {
    expect(continuable({ ...begun, text: 'It is ' }).text).toBe('It is');
    expect(continuable({ ...begun, text: '', thinking: 'Hm. ' }).thinking).toBe('Hm.');
  });

  it('sends no empty answers', () => {
    expect(sendable([asked, { ...begun, text: '', thinking: undefined }]).map(each => each.id)).toEqual(['q']);
  });

  it.each([
    ['temperature', '-1'], ['temperature', 'warm'], ['topP', '0'], ['topP', '1.1'], ['maxTokens', '0'], ['maxTokens', '1.5'], ['seed', '0.5'],
    ['seed', '1e300'],
  ] as const)('finds that %s cannot be %s', (name, value) => expect(faultOf(name, value)).not.toBeNull());

  it.each([['temperature', '0'], ['topP', '1'], ['maxTokens', '1'], ['seed', '-5'], ['seed', ' ']] as const)(
    'takes %s of %s', (name, value) => expect(faultOf(name, value)).toBeNull());
});

describe('failureOf', () => {
  const body = (message: string, param: string | null = null) => JSON.stringify({ error: { message, param } });

  it('says what the server says', () => {
    const error = failureOf(400, body("'top_logprobs' is not supported", 'top_logprobs'), null);
    expect([error.failure.kind, error.message, error.param]).toEqual(['request', "'top_logprobs' is not supported", 'top_logprobs']);
  });

  it.each([[401, 'key'], [413, 'large'], [429, 'busy'], [503, 'unavailable'], [500, 'server'], [404, 'request']] as const)(
    'knows %i as %s', (status, kind) => expect(failureOf(status, body('x'), null).failure.kind).toBe(kind));

  it('waits as long as the server wants, and a second where it does not say', () => {
    expect(failureOf(429, '', '7').failure.retryAfter).toBe(7);
    expect(failureOf(429, '', null).failure.retryAfter).toBe(1);
    expect(failureOf(429, '', 'Wed, 21 Oct 2015 07:28:00 GMT').failure.retryAfter).toBe(1);
  });

  it('has words for a page of a proxy', () => {
    expect(failureOf(502, '<html>', null).message).toBe('The server answered with status 502.');
  });
});
