import { describe, expect, it } from 'vitest';
import { loadOf, parseMetrics, quantileOf, rateOf } from '../src/api/metrics';
import { blocksOf, htmlOf } from '../src/text/markdown';
import { findInline } from '../src/text/math';
import { settle } from '../src/text/settle';

describe('Markdown', () => {
  it('leaves HTML as text', () => {
    const html = htmlOf('<script>alert(1)</script> <img src=x onerror=alert(1)> **b**');
    expect(html).not.toMatch(/<(?:script|img)/);
    expect(html).toContain('&lt;script&gt;');
    expect(html).toContain('<strong>b</strong>');
  });

  it('makes no link that runs something', () => {
    for (const link of ['javascript:alert(1)', 'JaVaScRiPt:alert(1)', 'vbscript:x', 'data:text/html,x', 'data:image/png;base64,AA==', 'java\tscript:alert(1)', '/v1/models'])
      expect(htmlOf(`[a](<${link}>)`)).not.toContain('href');
    expect(htmlOf('[a](https://example.org "t")')).toContain('rel="noopener noreferrer nofollow"');
  });

  it('names pictures and fetches none', () => {
    expect(htmlOf('![a cat](https://example.org/cat.png?secret)')).toContain('[picture: a cat]');
    expect(htmlOf('![a](https://example.org/x.png)')).not.toContain('<img');
  });

  it('colours code that it knows, and escapes the rest', () => {
    expect(htmlOf('```python\nx = 1 < 2\n```')).toContain('hljs-number');
    expect(htmlOf('```no"><b>\n<b>\n```')).not.toContain('<b>');
  });

  it('has its headings below those of the page', () => expect(htmlOf('# a\n\n###### b')).toMatch(/<h3>a<\/h3>[\s\S]*<h6>b<\/h6>/));

  it('is cut into blocks that together are the whole', () => {
    const source = '# Head\n\ntext **b**\nmore\n\n- a\n\n  still a\n- b\n\n```js\nlet x;\n\nlet y;\n```\n\n$$\nx\n$$\n\n[r]: https://example.org\n\nsee [r]';
    const { blocks, references } = blocksOf(source, false);
    expect(blocks.map(block => block.source.split('\n')[0])).toEqual(['# Head', 'text **b**', '- a', '```js', '$$', '[r]: https://example.org', 'see [r]']);
    const together = blocks.map(block => htmlOf(block.source, false, references)).join('');
    expect(together).toBe(htmlOf(source));
  });

  it('has blocks that stay where they are while text is added', () => {
    const source = 'one\n\n- two\n- three\n\n> four\n\nfive';
    const whole = blocksOf(source, true).blocks;
    for (let length = 1; length < source.length; length++) {
      const part = blocksOf(source.slice(0, length), true).blocks.slice(0, -1);
      expect(whole.slice(0, part.length)).toEqual(part);
    }
  });
});

describe('formulas', () => {
  const mathIn = (source: string, streaming = false) =>
    [...htmlOf(source, streaming).matchAll(/<span class="(math(?:-pending)?)( display)?">([^<]*)</g)].map(match => [match[3], !!match[2], match[1]]);

  it.each([
    ['so $x_1 * y_2$ is', 'x_1 * y_2', false], ['so \\(a*b\\) is', 'a*b', false], ['so \\[a*b\\] is', 'a*b', true], ['$$\nx^2\n$$', 'x^2', true],
    ['\\[\nx^2\n\\]', 'x^2', true], ['$$x$$', 'x', true], ['so $$x$$ is', 'x', true], ['- $$\n  x\n  $$', 'x', true],
    ['\\begin{align}\na &= b\\\\\n\\end{align}', '\\begin{align}\na &amp;= b\\\\\n\\end{align}', true], ['$a < b$', 'a &lt; b', false],
  ])('are found in %j', (source, formula, display) => expect(mathIn(source)).toEqual([[formula, display, 'math']]));

  it.each(['It costs $5 and $6.', 'a $ b $ c', '`$x$`', '```\n$x$\n```', '\\$x\\$', '$ x$', '$x', '$$x', '\\[x'])(
    'are not found in %j', source => expect(mathIn(source)).toEqual([]));

  it('wait while they are written', () => expect(mathIn('$$\nx^', true)).toEqual([['x^', false, 'math-pending']]));

  it('end where they end', () => expect(findInline('\\(a\\) \\(b\\)', 0, 11)).toEqual({ source: 'a', display: false, end: 5 }));
});

describe('settle', () => {
  it.each([
    ['a **b', 'a **b**'], ['a **', 'a '], ['a `b', 'a `b`'], ['a `', 'a `'], ['a **b** c', 'a **b** c'], ['see [x](https://exa', 'see x'],
    ['see [x](https://example.org)', 'see [x](https://example.org)'], ['~~a', '~~a~~'], ['`**` a', '`**` a'], ['```js\nlet **', '```js\nlet **'],
    ['$$\n**', '$$\n**'], ['**a `b', '**a `b`'],
  ])('makes %j into %j', (block, settled) => expect(settle(block)).toBe(settled));
});

describe('metrics', () => {
  const text = `# HELP skylight_requests_total x
skylight_requests_total{status="200"} 7
skylight_requests_total{status="429"} 1
skylight_queue_length 3
skylight_completion_tokens_total 100
skylight_time_to_first_token_seconds_bucket{le="0.1"} 2
skylight_time_to_first_token_seconds_bucket{le="1"} 4
skylight_time_to_first_token_seconds_bucket{le="+Inf"} 4
label{a="x\\"y,z",b="2"} 1e3
`;

  it('are read', () => {
    const load = loadOf(text, 0);
    expect([load.queue, load.completionTokens, load.requests]).toEqual([3, 100, [{ status: '200', count: 7 }, { status: '429', count: 1 }]]);
    expect(parseMetrics(text).at(-1)).toEqual({ name: 'label', labels: { a: 'x"y,z', b: '2' }, value: 1000 });
  });

  it('have quantiles within their buckets', () => {
    const name = 'skylight_time_to_first_token_seconds';
    const samples = parseMetrics(text);
    expect(quantileOf(samples, name, 0.5)).toBeCloseTo(0.1);
    expect(quantileOf(samples, name, 0.75)).toBeCloseTo(0.55);
    expect(quantileOf(samples, 'nothing', 0.5)).toBeNull();
  });

  it('have rates, but not over a restart', () => {
    const at = (time: number, tokens: number) => ({ ...loadOf(text, time), completionTokens: tokens });
    expect(rateOf([at(0, 100), at(2000, 150)], 'completionTokens')).toBe(25);
    expect(rateOf([at(0, 100), at(2000, 5)], 'completionTokens')).toBeNull();
    expect(rateOf([at(0, 100)], 'completionTokens')).toBeNull();
  });
});
