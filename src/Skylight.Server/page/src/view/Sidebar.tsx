import { useState } from 'preact/hooks';
import { download, exported, fileNameOf } from '../chat/exporting';
import { conversationOf, current, live, remove, store, summaries, view } from '../chat/state';
import type { Summary } from '../types';
import { Icons } from './icons';
import { Dialog, IconButton } from './parts';

export function Sidebar({ isOpen, onClose }: { isOpen: boolean; onClose: () => void }) {
  const [deleted, setDeleted] = useState<Summary | null>(null);
  const leave = () => window.matchMedia('(max-width: 800px)').matches && onClose();
  const save = async (summary: Summary) => {
    const conversation = conversationOf(summary.id) ?? (await store.conversation(summary.id));
    if (conversation) download(await exported([conversation], store), fileNameOf(summary.title));
  };
  return (
    <nav class="sidebar" aria-label="Conversations" id="sidebar" hidden={!isOpen}>
      <header>
        <span class="brand"><img src="./page/icon.svg" alt="" width="24" height="24" />Skylight</span>
        <IconButton label="Hide the conversations" icon={Icons.Close} class="hide" onClick={onClose} />
      </header>
      <a class="new" href="#" onClick={leave}><Icons.Plus />New conversation</a>
      <ul>
        {summaries.value.map(summary => (
          <li key={summary.id} class={view.value === 'chat' && current.value?.id === summary.id ? 'current' : ''}>
            <a href={`#chat-${summary.id}`} onClick={leave} title={summary.title}
              aria-current={view.value === 'chat' && current.value?.id === summary.id ? 'page' : undefined}>
              {live.value?.conversation === summary.id && <span class="busy" title="An answer is being written" />}
              {summary.title}
            </a>
            <IconButton label={`Export “${summary.title}” as JSON`} icon={Icons.Save} onClick={() => void save(summary)} />
            <IconButton label={`Delete “${summary.title}”`} icon={Icons.Trash} disabled={live.value?.conversation === summary.id}
              onClick={() => setDeleted(summary)} />
          </li>
        ))}
      </ul>
      {summaries.value.length === 0 && <p class="hint">Conversations stay in this browser, and are listed here.</p>}
      <a class="to-server" href="#server" onClick={leave} aria-current={view.value === 'server' ? 'page' : undefined}><Icons.Server />Server</a>
      {deleted && (
        <Dialog label="Delete the conversation" onClose={() => setDeleted(null)}>
          <h2>Delete this conversation?</h2>
          <p>“{deleted.title}”, with its pictures. There is no other copy of it.</p>
          <footer>
            <button type="button" class="quiet" onClick={() => setDeleted(null)}>Cancel</button>
            <button type="button" class="danger" onClick={() => { void remove(deleted.id); setDeleted(null); }}>Delete</button>
          </footer>
        </Dialog>
      )}
    </nav>
  );
}
