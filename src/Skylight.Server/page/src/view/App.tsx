import { useEffect, useState } from 'preact/hooks';
import { isWriting, stop } from '../chat/answering';
import { announcement, change, current, keyWanted, notice, server, settings, view } from '../chat/state';
import { Chat } from './Chat';
import { filesOf, mainEditor } from './Editor';
import { Icons } from './icons';
import { IconButton } from './parts';
import { ServerView } from './ServerView';
import { KeyDialog, SettingsDialog } from './SettingsDialog';
import { Sidebar } from './Sidebar';

const themes = { system: 'light', light: 'dark', dark: 'system' } as const;

export function App() {
  const [hasSidebar, setSidebar] = useState(() => window.matchMedia('(min-width: 801px)').matches);
  const [hasSettings, setSettings] = useState(false);
  const isDropped = useDrop();
  useKeys();
  useEffect(() => {
    const title = view.value === 'server' ? 'Server' : current.value?.title;
    document.title = title ? `${title} – Skylight` : 'Skylight';
  });
  const { theme, shade } = settings.value;
  const wanted = keyWanted.value;
  return (
    <div class={`page ${hasSidebar ? 'with-sidebar' : ''}`}>
      <Sidebar isOpen={hasSidebar} onClose={() => setSidebar(false)} />
      {hasSidebar && <div class="veil" onClick={() => setSidebar(false)} />}
      <main>
        <header class="bar">
          {!hasSidebar && <IconButton label="Show the conversations" icon={Icons.Menu} expanded={false} onClick={() => setSidebar(true)} />}
          <span class="model"><span class={`dot ${server.value.status}`} aria-hidden="true" />{server.value.model || 'Skylight'}</span>
          <IconButton label="Shade tokens by entropy" icon={Icons.Shade} pressed={shade} onClick={() => change({ shade: !shade })} />
          <IconButton label={`Colours: ${theme === 'system' ? "the system's" : theme}`}
            icon={theme === 'system' ? Icons.System : theme === 'light' ? Icons.Sun : Icons.Moon} onClick={() => change({ theme: themes[theme] })} />
          <IconButton label="Settings" icon={Icons.Settings} onClick={() => setSettings(true)} />
        </header>
        {notice.value && (
          <p class="banner" role="alert">{notice.value} <button type="button" class="link" onClick={() => (notice.value = null)}>Close</button></p>
        )}
        {view.value === 'server' ? <ServerView /> : <Chat />}
      </main>
      <div class="off-screen" role="status" aria-live="polite">{announcement.value}</div>
      {isDropped && <div class="drop" aria-hidden="true"><p>Drop pictures to ask about them</p></div>}
      {hasSettings && <SettingsDialog onClose={() => setSettings(false)} />}
      {wanted && (
        <KeyDialog message={wanted.message} onClose={() => (keyWanted.value = null)}
          onKey={() => { keyWanted.value = null; wanted.then(); }} />
      )}
    </div>
  );
}

/** Escape stops; a picture that is pasted outside of a field belongs to the question. */
function useKeys(): void {
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key === 'Escape' && !event.defaultPrevented && isWriting() && !document.querySelector('dialog[open]')) stop();
    };
    const onPaste = (event: ClipboardEvent) => {
      const files = filesOf(event.clipboardData);
      if (files.length === 0 || view.value !== 'chat' || event.defaultPrevented) return;
      event.preventDefault();
      mainEditor.add(files);
    };
    document.addEventListener('keydown', onKeyDown);
    document.addEventListener('paste', onPaste);
    return () => {
      document.removeEventListener('keydown', onKeyDown);
      document.removeEventListener('paste', onPaste);
    };
  }, []);
}

/** Files may be dropped anywhere: the browser would otherwise leave the page for them. */
function useDrop(): boolean {
  const [isOver, setOver] = useState(false);
  useEffect(() => {
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false;
    const onOver = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      setOver(view.value === 'chat');
    };
    const onLeave = (event: DragEvent) => event.relatedTarget === null && setOver(false);
    const onDrop = (event: DragEvent) => {
      setOver(false);
      if (!hasFiles(event)) return;
      event.preventDefault();
      if (view.value === 'chat') mainEditor.add(filesOf(event.dataTransfer));
    };
    document.addEventListener('dragover', onOver);
    document.addEventListener('dragleave', onLeave);
    document.addEventListener('drop', onDrop);
    return () => {
      document.removeEventListener('dragover', onOver);
      document.removeEventListener('dragleave', onLeave);
      document.removeEventListener('drop', onDrop);
    };
  }, []);
  return isOver;
}
