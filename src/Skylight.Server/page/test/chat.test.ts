import { describe, expect, it } from 'vitest';
import { emptyConversation, pathOf, pathTo, restored, siblingsOf, titleOf, withChange, withChosen, withMessage } from '../src/chat/conversation';
import { criticalTokens, shadeOf, summaryOfTokens, visible } from '../src/chat/entropy';
import { pictureBudget, scaleFor, sharesOf } from '../src/chat/fit';
import { defaults, settingsOf } from '../src/chat/settings';
import type { Message, Token } from '../src/types';

const message = (id: string, parent: string | null, role: Message['role'], created: number): Message =>
  ({ id, parent, role, created, text: `text of ${id}` });

describe('a conversation', () => {
  const first = message('q', null, 'user', 1);
  const answer = message('a', 'q', 'assistant', 2);
  const started = withMessage(withMessage(emptyConversation(0), first, 1), answer, 2);

  it('shows the last of what stands in one place, and loses nothing', () => {
    const edited = withMessage(withMessage(started, message('q2', null, 'user', 3), 3), message('a2', 'q2', 'assistant', 4), 4);
    expect(pathOf(edited).map(each => each.id)).toEqual(['q2', 'a2']);
    expect(siblingsOf(edited, edited.messages['q2']!).map(each => each.id)).toEqual(['q', 'q2']);
    expect(pathOf(withChosen(edited, first)).map(each => each.id)).toEqual(['q', 'a']);
    expect(pathTo(edited, 'a').map(each => each.id)).toEqual(['q', 'a']);
  });

  it('changes an answer without showing it', () => {
    const other = withMessage(started, message('b', 'q', 'assistant', 3), 3);
    const changed = withChange(other, { ...answer, text: 'new' });
    expect(pathOf(changed).map(each => each.id)).toEqual(['q', 'b']);
    expect(changed.messages['a']!.text).toBe('new');
  });

  it('is called by its first question', () => {
    expect(started.title).toBe('text of q');
    expect(titleOf({ ...first, text: 'word '.repeat(40) })).toMatch(/^(word ){11,12}.*…$/);
    expect(titleOf({ ...first, text: ' ', pictures: [{ id: 'p', name: 'cat.png', type: 'image/png', bytes: 1 }] })).toBe('cat.png');
  });

  it('ends with a store that is damaged', () => {
    const loop = { ...started, chosen: { '': 'q', q: 'a', a: 'q' } };
    expect(pathOf(loop).length).toBeLessThan(5);
    const circle = { ...started, messages: { ...started.messages, q: { ...first, parent: 'a' } } };
    expect(pathTo(circle, 'a').length).toBe(2);
    expect(pathOf({ ...started, chosen: { '': 'gone' } })).toEqual([]);
  });

  it('writes no more when it is read from the store', () => {
    const writing = withMessage(started, { ...message('c', 'q', 'assistant', 5), state: 'writing' }, 5);
    expect(restored(writing).messages['c']).toMatchObject({ state: 'failed', text: 'text of c' });
    expect(restored(writing).messages['a']).toEqual(answer);
  });
});

const tokensOf = (texts: string[], entropies: number[] = [], thinking = true): Token[] =>
  texts.map((t, index) => ({ t, p: -0.1, e: entropies[index] ?? 0, ...(thinking ? { r: 1 as const } : {}) }));
const characters = (text: string) => tokensOf([...text]);

describe('critical tokens', () => {
  // The cases of CriticalTokensTests, which hold the same rule for training.
  it.each([
    ['Wait', [0]], ['so. Wait, no', [4]], ['so\nWAIT no', [3]], ['hmm. Hmm. HMM.', [0, 5, 10]], ['alternatively Alternatively', [0, 14]],
    ['Waiting', []], ['await wait2', []], ['wAIT', []], ['Wai', []], ['Wow Wait', [4]],
  ] as const)('in %j begin at %j', (text, positions) => expect([...criticalTokens(characters(text))]).toEqual(positions));

  it('may be words with their space, and white space alone is none', () => {
    expect([...criticalTokens(tokensOf(['Wait', ' Wait', ',', ' Wait', 'ing', '\n\n', 'Wait', ' ', ' wait']))]).toEqual([0, 1, 6, 8]);
  });

  it('are those of the thinking', () => {
    expect([...criticalTokens([...tokensOf(['Wait']), ...tokensOf(['Wait'], [], false)])]).toEqual([0]);
    expect([...criticalTokens([...tokensOf(['Wait']), ...tokensOf(['ing'], [], false)])]).toEqual([0]);
  });
});

describe('shades', () => {
  it('grow with the entropy, from none to the darkest', () => {
    const shades = [0, 0.01, 0.2, 0.7, 1.5, 2.5, 3, 9].map(shadeOf);
    expect(shades[0]).toBe(0);
    expect(shades.at(-1)).toBe(10);
    expect([...shades].sort((left, right) => left - right)).toEqual(shades);
  });

  it('mark the twentieth that is the least decided, and nothing that is decided', () => {
    const entropies = Array.from({ length: 40 }, (_, index) => index / 20);
    const summary = summaryOfTokens(tokensOf(entropies.map(() => 'x'), entropies));
    expect([...summary.forks]).toEqual([39, 38]);
    expect(summary.mean).toBeCloseTo(0.975);
    expect(summaryOfTokens(tokensOf(['a', 'b'], [0.1, 0.4])).forks.size).toBe(0);
  });

  it('are of the surprise where there are no entropies', () => {
    const summary = summaryOfTokens([{ t: 'a', p: -2 }, { t: 'b', p: 0 }]);
    expect([summary.isEntropy, summary.mean, summary.meanCritical]).toEqual([false, 1, null]);
    expect(summaryOfTokens(tokensOf(['Wait', ' x'], [2, 0])).meanCritical).toBe(2);
    expect(summaryOfTokens([])).toMatchObject({ isEntropy: false, mean: 0 });
  });

  it('have tokens that can be seen', () => expect(visible(' a\n\t')).toBe('␣a⏎⇥'));
});

describe('pictures', () => {
  it('stay as they are where they fit', () => expect(sharesOf([10, 20], 30)).toBeNull());

  it('share what is left, the small ones unharmed', () => {
    expect(sharesOf([10, 500, 800], 210)).toEqual([10, 100, 100]);
    expect(sharesOf([900], 100)).toEqual([100]);
    expect(sharesOf([50, 60, 1000], 200)).toEqual([50, 60, 90]);
    for (const sizes of [[1, 2, 3], [7, 7, 7], [1000, 1, 30]]) {
      const shares = sharesOf(sizes, 5)!;
      expect(shares.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(5);
    }
  });

  it('have three quarters of what the texts leave', () => {
    expect(pictureBudget(32 << 20, 0)).toBe(Math.floor((((32 << 20) - 16384) / 4) * 3));
    expect(pictureBudget(1000, 1000)).toBe(0);
  });

  it('get narrower with the root of their bytes', () => {
    expect(scaleFor(400, 100)).toBeCloseTo(0.475);
    expect(scaleFor(100, 400)).toBe(1);
  });
});

describe('settings', () => {
  it('are read as far as they make sense', () => {
    expect(settingsOf(null)).toEqual(defaults);
    expect(settingsOf('{')).toEqual(defaults);
    expect(settingsOf('null')).toEqual(defaults);
    expect(settingsOf('{"theme":"pink","thinking":7,"shade":true,"seed":"4","other":1}')).toEqual({ ...defaults, shade: true, seed: '4' });
  });
});
