import DOMPurify from 'dompurify';
import katex from 'katex';
import { htmlOf } from './markdown';

const allowed = {
  ALLOWED_TAGS: [
    'a', 'b', 'blockquote', 'br', 'button', 'code', 'del', 'div', 'em', 'h3', 'h4', 'h5', 'h6', 'hr', 'i', 'li', 'ol', 'p', 'pre', 's',
    'span', 'strong', 'sub', 'sup', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul',
  ],
  ALLOWED_ATTR: ['class', 'href', 'rel', 'start', 'tabindex', 'target', 'title', 'type'],
  ALLOW_DATA_ATTR: false,
  // Of other attributes DOMPurify wants that they are addresses of the kind below.
  ADD_URI_SAFE_ATTR: ['start', 'tabindex', 'type'],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  RETURN_DOM_FRAGMENT: true as const,
};

// Links open beside the page, and tell nobody where they were followed from.
DOMPurify.addHook('afterSanitizeAttributes', node => {
  if (node.tagName !== 'A') return;
  node.setAttribute('target', '_blank');
  node.setAttribute('rel', 'noopener noreferrer nofollow');
});

/** Markdown as nodes of the page: sanitised, formulas typeset. */
export function render(source: string, streaming: boolean, references?: Record<string, { title: string; href: string }>): DocumentFragment {
  const fragment = DOMPurify.sanitize(htmlOf(source, streaming, references), allowed);
  for (const element of fragment.querySelectorAll<HTMLElement>('span.math')) typeset(element);
  for (const element of fragment.querySelectorAll<HTMLElement>('div.table')) {
    element.setAttribute('role', 'region');
    element.setAttribute('aria-label', 'Table');
  }
  return fragment;
}

function typeset(element: HTMLElement): void {
  const isDisplay = element.classList.contains('display');
  const source = element.textContent ?? '';
  try {
    // Built as nodes, whose styles the page's policy allows where it would refuse those of HTML.
    katex.render(source, element, {
      displayMode: isDisplay,
      throwOnError: true,
      strict: 'ignore',
      trust: false,
      maxSize: 40,
      maxExpand: 500,
    });
    // A wide one scrolls, by keys as well.
    if (isDisplay) element.querySelector<HTMLElement>('.katex-display')?.setAttribute('tabindex', '0');
  } catch (error) {
    element.className = 'math-error';
    element.textContent = source;
    element.title = error instanceof Error ? error.message : 'This formula cannot be read.';
  }
}
