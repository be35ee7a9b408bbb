import { useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import { copy } from '../chat/exporting';
import { blocksOf } from '../text/markdown';
import { render } from '../text/rendered';
import { settle } from '../text/settle';

type References = Record<string, { title: string; href: string }> | undefined;

/** Text of the model. While it grows, only its last block is rendered anew. */
export function Markdown({ source, streaming }: { source: string; streaming: boolean }) {
  const { blocks, references } = useMemo(() => blocksOf(source, streaming), [source, streaming]);
  const last = blocks.length - 1;
  const known = references && Object.keys(references).length > 0 ? JSON.stringify(references) : '';
  return (
    <div class="markdown" onClick={onClick}>
      {blocks.map((block, index) => (
        <Rendered key={block.line} source={streaming && index === last ? settle(block.source) : block.source}
          streaming={streaming && index === last} references={known} />
      ))}
    </div>
  );
}

function Rendered({ source, streaming, references }: { source: string; streaming: boolean; references: string }) {
  const element = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    element.current!.replaceChildren(render(source, streaming, references ? (JSON.parse(references) as References) : undefined));
  }, [source, streaming, references]);
  return <div class="block" ref={element} />;
}

/** The buttons of code blocks are part of the rendered text. */
function onClick(event: MouseEvent): void {
  const button = (event.target as Element).closest<HTMLButtonElement>('button.copy-code');
  const code = button?.closest('.code')?.querySelector('code');
  if (!button || !code) return;
  void copy(code.textContent ?? '').then(copied => {
    button.textContent = copied ? 'Copied' : 'Select and copy';
    setTimeout(() => (button.textContent = 'Copy'), 1800);
  });
}
