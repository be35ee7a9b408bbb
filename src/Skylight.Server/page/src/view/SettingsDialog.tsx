import { useState } from 'preact/hooks';
import { faultOf, type SettingName } from '../api/request';
import { defaults } from '../chat/settings';
import { download, exported } from '../chat/exporting';
import { apiKey, change, greet, remove, setKey, settings, store, summaries } from '../chat/state';
import type { Conversation, Settings } from '../types';
import { Dialog } from './parts';

const close = (event: Event) => (event.currentTarget as Element).closest('dialog')!.close();

export function SettingsDialog({ onClose }: { onClose: () => void }) {
  const now = settings.value;
  const [isSure, setSure] = useState(false);
  const all = async (): Promise<Conversation[]> =>
    (await Promise.all(summaries.value.map(each => store.conversation(each.id)))).filter(each => each !== null);
  return (
    <Dialog label="Settings" class="settings" onClose={onClose}>
      <header><h2>Settings</h2><button type="button" class="quiet" onClick={close}>Done</button></header>
      <label class="field">System message
        <textarea rows={3} value={now.system} onInput={event => change({ system: event.currentTarget.value })}
          placeholder="The model's own" />
      </label>
      <fieldset class="choice">
        <legend>Thinking</legend>
        {(['auto', 'on', 'off'] as const).map(value => (
          <label key={value}><input type="radio" name="thinking" checked={now.thinking === value} onChange={() => change({ thinking: value })} />
            <span>{value === 'auto' ? "The model's own" : value === 'on' ? 'On' : 'Off'}</span></label>
        ))}
      </fieldset>
      <div class="numbers">
        <NumberField name="temperature" label="Temperature" hint="0 takes the most likely token" />
        <NumberField name="topP" label="Top p" hint="above 0, at most 1" />
        <NumberField name="maxTokens" label="Most tokens" hint="thinking included" />
        <NumberField name="seed" label="Seed" hint="the same seed, the same answer" />
      </div>
      <p class="hint">What is empty is left to the model and the server.</p>
      <label class="switch"><input type="checkbox" checked={now.measure} onChange={event => change({ measure: event.currentTarget.checked })} />
        <span>Ask for token probabilities, which shading needs</span></label>
      <label class="switch"><input type="checkbox" checked={now.shade} onChange={event => change({ shade: event.currentTarget.checked })} />
        <span>Shade tokens by their entropy</span></label>
      <fieldset class="choice">
        <legend>Colours</legend>
        {(['system', 'light', 'dark'] as const).map(value => (
          <label key={value}><input type="radio" name="theme" checked={now.theme === value} onChange={() => change({ theme: value })} />
            <span>{value === 'system' ? "The system's" : value === 'light' ? 'Light' : 'Dark'}</span></label>
        ))}
      </fieldset>
      <KeyField />
      <div class="row">
        <button type="button" class="quiet" disabled={summaries.value.length === 0}
          onClick={() => void all().then(found => exported(found, store)).then(blob => download(blob, 'conversations.json'))}>Export all conversations</button>
        {isSure
          ? <button type="button" class="danger" onClick={() => { for (const each of summaries.value) void remove(each.id); setSure(false); }}>Really
              delete all {summaries.value.length}</button>
          : <button type="button" class="quiet" disabled={summaries.value.length === 0} onClick={() => setSure(true)}>Delete all conversations</button>}
        <button type="button" class="quiet" onClick={() => change({ ...defaults, theme: now.theme, shade: now.shade })}>Reset</button>
      </div>
      <p class="hint">Enter sends, Shift+Enter begins a line, Escape stops, Arrow up in an empty field edits the last question.
        Made with <a href="./page/licences.txt" target="_blank">these libraries</a>.</p>
    </Dialog>
  );
}

function NumberField({ name, label, hint }: { name: SettingName; label: string; hint: string }) {
  const value = settings.value[name];
  const fault = faultOf(name, value);
  return (
    <label class="field">{label}
      <input inputMode="decimal" value={value} placeholder="default" aria-invalid={fault !== null} aria-describedby={`hint-${name}`}
        onInput={event => change({ [name]: event.currentTarget.value } as Partial<Settings>)} />
      <span id={`hint-${name}`} class={fault ? 'fault' : 'hint'}>{fault ? `${fault} Not used.` : hint}</span>
    </label>
  );
}

function KeyField() {
  return (
    <form onSubmit={event => event.preventDefault()}>
      <label class="field">API key
        <input type="password" autocomplete="off" spellcheck={false} value={apiKey.value} placeholder="none"
          onChange={event => { setKey(event.currentTarget.value); void greet(); }} />
        <span class="hint">For servers that want one. It is kept until this tab is closed.</span>
      </label>
    </form>
  );
}

/** Asks for the key that the server wants. */
export function KeyDialog(props: { message: string; onKey: () => void; onClose: () => void }) {
  const [key, setText] = useState(apiKey.value);
  return (
    <Dialog label="API key" onClose={props.onClose}>
      <form onSubmit={event => { event.preventDefault(); setKey(key); props.onKey(); }}>
        <h2>This server wants an API key</h2>
        <p>{props.message}</p>
        <label class="field">API key
          <input type="password" autocomplete="off" spellcheck={false} value={key} autofocus onInput={event => setText(event.currentTarget.value)} />
          <span class="hint">Kept until this tab is closed, and sent to this server only.</span>
        </label>
        <footer>
          <button type="button" class="quiet" onClick={props.onClose}>Cancel</button>
          <button type="submit" class="primary" disabled={key.trim() === ''}>Use this key</button>
        </footer>
      </form>
    </Dialog>
  );
}
