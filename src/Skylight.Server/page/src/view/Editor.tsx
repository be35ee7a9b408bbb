import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { isPicture, load, type Loaded } from '../chat/pictures';
import { inBytes } from '../chat/fit';
import { maximumBody } from '../chat/state';
import { Camera } from './Camera';
import { Icons } from './icons';
import { IconButton, Thumbnail } from './parts';

/** Where files that are dropped or pasted anywhere on the page go: the editor at the page's foot. */
export const mainEditor: { add: (files: File[]) => void; focus: () => void; write: (text: string) => void } = {
  add: () => undefined,
  focus: () => undefined,
  write: () => undefined,
};

export const filesOf = (transfer: DataTransfer | null): File[] =>
  [...(transfer?.items ?? [])].filter(item => item.kind === 'file').map(item => item.getAsFile()).filter(file => file !== null);

/** A question with its pictures, as it is written. */
export function Editor(props: {
  label: string;
  isMain?: boolean;
  isBusy: boolean;
  text?: string;
  loaded?: Loaded[];
  onSend: (text: string, loaded: Loaded[]) => void;
  onStop?: () => void;
  onCancel?: () => void;
  onUp?: () => void;
}) {
  const [text, setText] = useState(props.text ?? '');
  const [loaded, setLoaded] = useState<Loaded[]>(props.loaded ?? []);
  const [fault, setFault] = useState('');
  const [loading, setLoading] = useState(0);
  const [hasCamera, setCamera] = useState(false);
  const area = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const shutter = useRef<HTMLInputElement>(null);

  const add = (files: File[]) => {
    const others = files.filter(file => !isPicture(file));
    setFault(others.length > 0 ? `Only pictures can be asked about, not ${others.map(file => file.name).join(', ')}.` : '');
    for (const file of files.filter(isPicture)) {
      setLoading(count => count + 1);
      load(file)
        .then(each => setLoaded(all => [...all, each]))
        .catch((error: Error) => setFault(error.message))
        .finally(() => setLoading(count => count - 1));
    }
    area.current?.focus();
  };

  useEffect(() => {
    if (!props.isMain) return;
    mainEditor.add = add;
    mainEditor.focus = () => area.current?.focus();
    mainEditor.write = words => {
      setText(words);
      area.current?.focus();
    };
  });
  useEffect(() => {
    // On a phone the keyboard would hide half the page.
    if (!props.isMain || window.matchMedia('(pointer: fine)').matches) area.current?.focus();
    area.current?.setSelectionRange(text.length, text.length);
  }, []);
  useLayoutEffect(() => {
    const element = area.current!;
    element.style.height = 'auto';
    element.style.height = `${Math.min(element.scrollHeight, 240)}px`;
  }, [text]);

  const isEmpty = text.trim() === '' && loaded.length === 0;
  const total = loaded.reduce((sum, each) => sum + each.blob.size, 0);
  const isLarge = total * 4 > maximumBody * 3;
  const send = () => {
    if (isEmpty || props.isBusy || loading > 0) return;
    props.onSend(text.trim(), loaded);
    setText('');
    setLoaded([]);
    setFault('');
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    } else if (event.key === 'Escape' && props.onCancel) {
      event.stopPropagation();
      props.onCancel();
    } else if (event.key === 'ArrowUp' && text === '' && props.onUp) {
      event.preventDefault();
      props.onUp();
    }
  };
  const onPaste = (event: ClipboardEvent) => {
    const files = filesOf(event.clipboardData);
    if (files.length === 0) return;
    event.preventDefault();
    event.stopPropagation();
    add(files);
  };
  const openCamera = () => (navigator.mediaDevices ? setCamera(true) : shutter.current!.click());
  const onPicked = (event: Event) => {
    const input = event.currentTarget as HTMLInputElement;
    add([...(input.files ?? [])]);
    input.value = '';
  };

  return (
    <form class="editor" onSubmit={event => { event.preventDefault(); send(); }}>
      {loaded.length > 0 && (
        <div class="pictures">
          {loaded.map(each => (
            <Thumbnail key={each.picture.id} picture={each.picture} blob={each.blob}
              onRemove={() => { setLoaded(all => all.filter(other => other !== each)); area.current?.focus(); }} />
          ))}
        </div>
      )}
      {isLarge && (
        <p class="hint">{inBytes(total)} of pictures are more than the server takes ({inBytes(maximumBody)} a request): they are made
          smaller when they are sent.</p>
      )}
      {fault && <p class="fault" role="alert">{fault}</p>}
      <textarea ref={area} rows={1} value={text} aria-label={props.label} placeholder={props.label}
        onInput={event => setText(event.currentTarget.value)} onKeyDown={onKeyDown} onPaste={onPaste} />
      <div class="editor-bar">
        <IconButton label="Add pictures" icon={Icons.Picture} onClick={() => picker.current!.click()} />
        <IconButton label="Take a photo" icon={Icons.Camera} onClick={openCamera} />
        <span class="hint keys">{loading > 0 ? 'Reading the picture…' : ''}</span>
        {props.onCancel && <button type="button" class="quiet" onClick={props.onCancel}>Cancel</button>}
        {props.isBusy && props.onStop ? (
          <button type="button" class="send" onClick={props.onStop} aria-label="Stop" title="Stop (Escape)"><Icons.Stop /></button>
        ) : (
          <button type="submit" class="send" disabled={isEmpty || props.isBusy || loading > 0} aria-label="Send" title="Send (Enter)">
            <Icons.Send />
          </button>
        )}
      </div>
      <input ref={picker} type="file" accept="image/*,.tga,.tif,.tiff" multiple hidden aria-label="Pictures" onChange={onPicked} />
      <input ref={shutter} type="file" accept="image/*" capture="environment" hidden aria-label="Photo" onChange={onPicked} />
      {hasCamera && <Camera onPhoto={file => add([file])} onClose={() => setCamera(false)} />}
    </form>
  );
}
