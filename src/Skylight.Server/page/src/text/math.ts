import type { MarkdownIt, StateBlock, StateInline } from 'markdown-it';

/** The environments that stand for themselves, without dollars around them. */
const environment = /^\\begin\{((?:equation|align|alignat|gather|multline|split|cases|matrix|[pbvBV]matrix)\*?)\}/;

/**
 * Reads LaTeX as models write it: $…$, \(…\), $$…$$, \[…\] and environments. What it gives is an element with the source in it,
 * which is typeset in the page: only there can it be built without HTML in between.
 */
export function mathPlugin(md: MarkdownIt): void {
  md.inline.ruler.before('escape', 'math', inlineMath);
  md.block.ruler.before('fence', 'math_block', blockMath, { alt: ['paragraph', 'reference', 'blockquote', 'list'] });
  const render = (source: string, display: boolean, pending = false) =>
    `<span class="${pending ? 'math-pending' : display ? 'math display' : 'math'}">` +
    `${md.utils.escapeHtml(source)}</span>`;
  md.renderer.rules['math_inline'] = (tokens, index) =>
    render(tokens[index]!.content, tokens[index]!.info === 'display');
  md.renderer.rules['math_block'] = (tokens, index) =>
    `<p class="math-block">${render(tokens[index]!.content, true, tokens[index]!.info === 'pending')}</p>\n`;
}

function inlineMath(state: StateInline, silent: boolean): boolean {
  const found = findInline(state.src, state.pos, state.posMax);
  if (!found) return false;
  if (!silent) {
    const token = state.push('math_inline', 'span', 0);
    token.content = found.source;
    token.info = found.display ? 'display' : '';
  }
  state.pos = found.end;
  return true;
}

/** The formula that begins at a place. */
export function findInline(text: string, at: number, end: number): { source: string; display: boolean; end: number } | null {
  const pairs: [string, string, boolean][] = [['\\(', '\\)', false], ['\\[', '\\]', true], ['$$', '$$', true]];
  for (const [open, close, display] of pairs) {
    if (!text.startsWith(open, at)) continue;
    const stop = text.indexOf(close, at + open.length);
    if (stop < 0 || stop + close.length > end) return null;
    const source = text.slice(at + open.length, stop);
    return source.trim() === '' ? null : { source, display, end: stop + close.length };
  }
  if (text[at] !== '$') return null;
  // As Pandoc has it, so that prices stay prices: no space inside of the dollars, no digit behind the second.
  if (/\s/.test(text[at + 1] ?? ' ')) return null;
  for (let stop = at + 1; stop < end; stop++) {
    if (text[stop] === '\\') stop++;
    else if (text[stop] === '$')
      return stop === at + 1 || /\s/.test(text[stop - 1]!) || /\d/.test(text[stop + 1] ?? '')
        ? null : { source: text.slice(at + 1, stop), display: false, end: stop + 1 };
  }
  return null;
}

function blockMath(state: StateBlock, startLine: number, endLine: number, silent: boolean): boolean {
  if (state.sCount[startLine]! - state.blkIndent >= 4) return false;
  const lineOf = (line: number) =>
    state.src.slice(state.bMarks[line]! + state.tShift[line]!, state.eMarks[line]!);
  const first = lineOf(startLine);
  const name = environment.exec(first)?.[1];
  const [open, close] = name ? ['', `\\end{${name}}`]
    : first.startsWith('$$') ? ['$$', '$$']
    : first.startsWith('\\[') ? ['\\[', '\\]'] : ['', ''];
  if (close === '') return false;
  const lines: string[] = [];
  let line = startLine;
  let isClosed = false;
  for (; line < endLine && !isClosed; line++) {
    const text = line === startLine ? first.slice(open.length) : lineOf(line);
    // Something outside of the block begins.
    if (line > startLine && text !== '' && state.sCount[line]! < state.blkIndent) break;
    const stop = text.indexOf(close);
    if (stop < 0) {
      lines.push(text);
      continue;
    }
    // Text behind it makes it a formula in a paragraph.
    if (/[^\s.,;:]/.test(text.slice(stop + close.length))) return false;
    lines.push(name ? text.slice(0, stop + close.length) : text.slice(0, stop));
    isClosed = true;
  }
  const env = state.env as { streaming?: boolean };
  // A formula that is still being written waits for its end; one that never ends is text.
  if (!isClosed && !env?.streaming) return false;
  if (silent) return true;
  state.line = line;
  const token = state.push('math_block', 'p', 0);
  token.block = true;
  token.content = lines.join('\n').trim();
  token.info = isClosed ? '' : 'pending';
  token.map = [startLine, line];
  return true;
}
