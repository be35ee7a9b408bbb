import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { copy } from '../chat/exporting';
import { store } from '../chat/state';
import type { Picture } from '../types';
import { Icons } from './icons';

export function IconButton(props: {
  label: string;
  icon: () => ComponentChildren;
  onClick: () => void;
  pressed?: boolean;
  disabled?: boolean;
  expanded?: boolean;
  class?: string;
}) {
  const Icon = props.icon as () => preact.JSX.Element;
  return (
    <button type="button" class={`icon ${props.class ?? ''}`} aria-label={props.label} title={props.label} aria-pressed={props.pressed}
      aria-expanded={props.expanded} disabled={props.disabled} onClick={props.onClick}>
      <Icon />
    </button>
  );
}

export function CopyButton({ text, label = 'Copy' }: { text: () => string; label?: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return undefined;
    const timer = setTimeout(() => setCopied(false), 1800);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <IconButton label={copied ? 'Copied' : label} icon={copied ? Icons.Check : Icons.Copy}
      onClick={() => void copy(text()).then(setCopied)} />
  );
}

/** A native dialog: it keeps the focus inside, and Escape closes it. */
export function Dialog(props: { label: string; onClose: () => void; class?: string; children: ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    element.current!.showModal();
    return () => before?.focus?.();
  }, []);
  return (
    <dialog ref={element} class={props.class} aria-label={props.label} onClose={props.onClose}
      onClick={event => event.target === element.current && element.current!.close()}>
      {props.children}
    </dialog>
  );
}

/** The address of a picture in the store, as long as it is shown. */
export function usePicture(picture: Picture | null, given?: Blob): string | null {
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    if (!picture) return undefined;
    let made: string | null = null;
    let gone = false;
    const show = (blob: Blob | null) => {
      if (gone || !blob) return;
      made = URL.createObjectURL(blob);
      setUrl(made);
    };
    if (given) show(given);
    else void store.picture(picture.id).then(show, () => undefined);
    return () => {
      gone = true;
      if (made) URL.revokeObjectURL(made);
    };
  }, [picture?.id, given]);
  return url;
}

export function Thumbnail(props: { picture: Picture; blob?: Blob; onRemove?: () => void }) {
  const { picture } = props;
  const url = usePicture(picture, props.blob);
  const [isOpen, setOpen] = useState(false);
  const [isShown, setShown] = useState(true);
  const size = picture.width ? `${picture.width} × ${picture.height}` : '';
  return (
    <figure class="thumbnail">
      <button type="button" class="look" onClick={() => setOpen(true)} aria-label={`Look at ${picture.name}`}
        title={[picture.name, size, picture.note].filter(Boolean).join('\n')}>
        {url && isShown ? <img src={url} alt={picture.name} onError={() => setShown(false)} /> : <span class="file">{picture.name}</span>}
      </button>
      {props.onRemove && (
        <button type="button" class="remove" onClick={props.onRemove} aria-label={`Remove ${picture.name}`} title="Remove">
          <Icons.Close />
        </button>
      )}
      {picture.note && <figcaption>{picture.note}</figcaption>}
      {isOpen && (
        <Dialog label={picture.name} class="viewer" onClose={() => setOpen(false)}>
          {url && isShown ? <img src={url} alt={picture.name} /> : <p>This browser cannot show {picture.name}; the server may read it.</p>}
          <footer>
            <span>{picture.name}{size && ` · ${size}`}</span>
            <button type="button" class="quiet" onClick={event => event.currentTarget.closest('dialog')!.close()}>Close</button>
          </footer>
        </Dialog>
      )}
    </figure>
  );
}

/** Redraws every so often, while something runs. */
export function useTick(milliseconds: number, isOn: boolean): void {
  const [, setCount] = useState(0);
  useEffect(() => {
    if (!isOn) return undefined;
    const timer = setInterval(() => setCount(count => count + 1), milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds, isOn]);
}

export function inSeconds(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
