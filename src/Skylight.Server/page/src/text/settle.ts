/**
 * The last block of a text that is still being written, as it will most likely be: what is open is closed, and what is cut in the
 * middle is left out. Without it, text would jump from raw marks to its final look at every mark that closes.
 */
export function settle(block: string): string {
  if (/^\s*(?:`{3,}|~{3,}|\$\$|\\\[|\\begin\{)/.test(block)) return block;
  const { outside, open } = withoutCode(block);
  if (open) return block + open;
  // [text](https://exam – the address is not there yet.
  const link = /\[([^\][\n]*)\]\([^()\s]*$/.exec(outside);
  let settled = link ? block.slice(0, link.index) + link[1] : block;
  for (const mark of ['**', '__', '~~']) {
    const count = outside.split(mark).length - 1;
    if (count % 2 === 0) continue;
    // A mark that just begins has nothing to stress yet.
    settled = settled.endsWith(mark) ? settled.slice(0, -mark.length) : settled.trimEnd() + mark;
  }
  return settled;
}

/** The text with inline code blanked out, and the marks that are not closed. */
function withoutCode(text: string): { outside: string; open: string } {
  let outside = '';
  let rest = text;
  for (;;) {
    const match = /`+/.exec(rest);
    if (!match) return { outside: outside + rest, open: '' };
    const mark = match[0];
    const after = rest.slice(match.index + mark.length);
    const close = new RegExp(`(?<!\`)${mark}(?!\`)`).exec(after);
    if (!close) return { outside, open: after.trim() === '' ? '' : mark };
    const blank = ' '.repeat(2 * mark.length + close.index);
    outside += rest.slice(0, match.index) + blank;
    rest = after.slice(close.index + mark.length);
  }
}
