import Markdown, { type MarkdownIt } from 'markdown-it';
import { highlighted } from './highlight';
import { mathPlugin } from './math';

interface Environment {
  streaming?: boolean;
  references?: Record<string, { title: string; href: string }>;
}

function create(): MarkdownIt {
  // HTML of the model stays text. What is rendered is sanitised all the same (rendered.ts).
  const md = new Markdown({ html: false, linkify: true, breaks: true });
  md.use(mathPlugin);
  // Links lead out: none runs something, and none asks this server for anything.
  md.validateLink = url => /^(?:https?:|mailto:)/i.test(url.trim());
  const { rules } = md.renderer;
  const { escapeHtml } = md.utils;
  rules['link_open'] = (tokens, index, options, _env, self) => {
    tokens[index]!.attrSet('target', '_blank');
    tokens[index]!.attrSet('rel', 'noopener noreferrer nofollow');
    return self.renderToken(tokens, index, options);
  };
  // A picture from elsewhere would tell its server what was asked: it is named, and not fetched.
  rules['image'] = (tokens, index) => {
    const { content, attrs } = tokens[index]!;
    const source = String(attrs?.find(([name]) => name === 'src')?.[1] ?? '');
    return `<span class="no-picture">[picture: ${escapeHtml(content || source)}]</span>`;
  };
  rules['fence'] = rules['code_block'] = (tokens, index) => {
    const { content, info } = tokens[index]!;
    const language = /^[\w+#.-]{1,20}/.exec(info.trim())?.[0] ?? '';
    return '<div class="code"><div class="code-head">' +
      `<span>${escapeHtml(language || 'text')}</span><button type="button" class="copy-code">Copy</button></div>` +
      `<pre tabindex="0"><code>${highlighted(content, language.toLowerCase()) || escapeHtml(content)}</code></pre></div>\n`;
  };
  rules['table_open'] = () => '<div class="table" tabindex="0"><table>\n';
  rules['table_close'] = () => '</table></div>\n';
  // The page has headings of its own above those of an answer.
  for (const rule of ['heading_open', 'heading_close'])
    rules[rule] = (tokens, index, options, _env, self) => {
      const token = tokens[index]!;
      token.tag = `h${Math.min(6, Number(token.tag.slice(1)) + 2)}`;
      return self.renderToken(tokens, index, options);
    };
  return md;
}

const md = create();

/** Finds where blocks begin, and does no more than that. */
const splitter = create();
splitter.core.ruler.enableOnly(['normalize', 'block']);

/** A top-level block of a text. */
export interface Block {
  source: string;
  /** The block's place, which stays while text is added behind it. */
  line: number;
}

/** Cuts a text into its top-level blocks, so that while one grows the others stay as they are. */
export function blocksOf(source: string, streaming: boolean): { blocks: Block[]; references: Environment['references'] } {
  const environment: Environment = { streaming };
  const starts: number[] = [];
  for (const token of splitter.parse(source, environment as Record<string, unknown>))
    if (token.level === 0 && token.nesting >= 0 && token.map) starts.push(token.map[0]);
  const lines = source.replace(/\r\n?/g, '\n').split('\n');
  if (starts.length === 0 || starts[0] !== 0) starts.unshift(0);
  const blocks = starts.map((start, index) => ({
    line: start,
    source: lines.slice(start, starts[index + 1] ?? lines.length).join('\n').trimEnd(),
  })).filter(block => block.source !== '');
  return { blocks, references: environment.references };
}

/** The HTML of Markdown: not sanitised yet. */
export function htmlOf(source: string, streaming = false, references: Environment['references'] = undefined): string {
  return md.render(source, { streaming, ...(references ? { references } : {}) });
}
