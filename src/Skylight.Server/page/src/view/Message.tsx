import { useEffect, useMemo, useState } from 'preact/hooks';
import { ask, goOn, isWriting, regenerate } from '../chat/answering';
import { siblingsOf } from '../chat/conversation';
import { summaryOfTokens } from '../chat/entropy';
import type { Loaded } from '../chat/pictures';
import { current, keyWanted, live, settings, showBranch, store } from '../chat/state';
import type { Failure, Message } from '../types';
import { Editor } from './Editor';
import { Icons } from './icons';
import { Markdown } from './Markdown';
import { CopyButton, IconButton, inSeconds, Thumbnail, useTick } from './parts';
import { Legend, Tokens } from './Tokens';

export function Question({ message, isEdited, setEdited }: { message: Message; isEdited: boolean; setEdited: (edited: boolean) => void }) {
  const [loaded, setLoaded] = useState<Loaded[] | null>(null);
  useEffect(() => {
    if (!isEdited) {
      setLoaded(null);
      return;
    }
    void Promise.all((message.pictures ?? []).map(async picture => ({ picture, blob: await store.picture(picture.id) })))
      .then(all => setLoaded(all.filter((each): each is Loaded => each.blob !== null)));
  }, [isEdited]);
  if (isEdited && loaded) {
    return (
      <article class="question edited" aria-label="Your question">
        <Editor label="Edit the question" isBusy={isWriting()} text={message.text} loaded={loaded} onCancel={() => setEdited(false)}
          onSend={(text, pictures) => {
            setEdited(false);
            void ask(text, pictures, message.parent);
          }} />
      </article>
    );
  }
  return (
    <article class="question" aria-label="Your question">
      <h2 class="off-screen">Your question</h2>
      {message.pictures && (
        <div class="pictures">{message.pictures.map(picture => <Thumbnail key={picture.id} picture={picture} />)}</div>
      )}
      {message.text && <div class="bubble">{message.text}</div>}
      <div class="actions">
        <Branches message={message} />
        {message.text && <CopyButton text={() => message.text} label="Copy the question" />}
        <IconButton label="Edit and send again" icon={Icons.Edit} disabled={isWriting()} onClick={() => setEdited(true)} />
      </div>
    </article>
  );
}

/** Moves between messages that stand in each other's place. */
function Branches({ message }: { message: Message }) {
  const conversation = current.value;
  const all = conversation ? siblingsOf(conversation, message) : [];
  const at = all.findIndex(each => each.id === message.id);
  if (all.length < 2) return null;
  const what = message.role === 'user' ? 'question' : 'answer';
  return (
    <span class="branches">
      <IconButton label={`Earlier ${what}`} icon={Icons.Left} disabled={at === 0} onClick={() => showBranch(all[at - 1]!)} />
      <span aria-label={`${what} ${at + 1} of ${all.length}`}>{at + 1}/{all.length}</span>
      <IconButton label={`Later ${what}`} icon={Icons.Right} disabled={at === all.length - 1} onClick={() => showBranch(all[at + 1]!)} />
    </span>
  );
}

export function Answer({ message: stored }: { message: Message }) {
  const now = live.value;
  const isLive = now?.message.id === stored.id;
  const message = isLive ? now.message : stored;
  const tokens = message.tokens;
  const isShaded = settings.value.shade && tokens !== undefined && tokens.length > 0;
  const summary = useMemo(() => (isShaded ? summaryOfTokens(tokens) : null), [isShaded, tokens?.length, isLive]);
  return (
    <article class="answer" aria-label="Answer" aria-busy={isLive}>
      <h2 class="off-screen">Answer</h2>
      {summary && <Legend summary={summary} />}
      {message.thinking && (
        <Thinking message={message} since={isLive ? now.thinkingSince : null}>
          {summary && tokens ? <Tokens tokens={tokens} thinking={true} summary={summary} label="The thinking" />
            : <Markdown source={message.thinking} streaming={isLive && !message.text} />}
        </Thinking>
      )}
      {isLive && !message.text && !message.thinking && <Waiting />}
      {message.text && (summary && tokens
        ? <Tokens tokens={tokens} thinking={false} summary={summary} label="The answer" />
        : <Markdown source={message.text} streaming={isLive} />)}
      {!isLive && !message.text && !message.thinking && message.state !== 'failed' && (
        <p class="hint">{message.state === 'stopped' ? 'Stopped before anything was written.' : 'The answer is empty.'}</p>
      )}
      {message.failure && <Failed message={message} failure={message.failure} />}
      {!isLive && <Foot message={message} />}
    </article>
  );
}

function Waiting() {
  const [since] = useState(() => performance.now());
  useTick(1000, true);
  const seconds = Math.round((performance.now() - since) / 1000);
  return (
    <p class="waiting">
      <span class="dots" aria-hidden="true"><i /><i /><i /></span>
      {seconds >= 2 ? `Reading the question, ${seconds} s` : 'Reading the question'}
    </p>
  );
}

function Thinking(props: { message: Message; since: number | null; children: preact.ComponentChildren }) {
  const [isOpen, setOpen] = useState(false);
  const { message, since } = props;
  useTick(200, since !== null);
  const spent = (message.timing?.thinking ?? 0) + (since === null ? 0 : performance.now() - since);
  const line = since === null ? '' : lastLine(message.thinking ?? '');
  return (
    <section class={`thinking ${since === null ? '' : 'live'}`} aria-label="Thinking">
      <button type="button" class="fold" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <Icons.Right />
        <span>{since === null ? 'Thought' : 'Thinking'}{spent > 0 && ` for ${inSeconds(spent)}`}</span>
        {!isOpen && line && <span class="line" aria-hidden="true">{line}</span>}
      </button>
      {isOpen && <div class="thoughts">{props.children}</div>}
    </section>
  );
}

/** What it thinks of just now. */
function lastLine(text: string): string {
  const lines = text.trimEnd().split('\n');
  return (lines.at(-1) ?? '').replace(/[#*`$]/g, '').trim().slice(-160);
}

function Failed({ message, failure }: { message: Message; failure: Failure }) {
  const [began] = useState(() => Date.now());
  const left = failure.retryAfter ? Math.max(0, Math.ceil((began + 1000 * failure.retryAfter - Date.now()) / 1000)) : 0;
  useTick(500, left > 0);
  const titles: Record<Failure['kind'], string> = {
    request: 'The server refuses this request',
    key: 'The server wants an API key',
    large: 'The request is too large',
    busy: 'The server is busy',
    unavailable: 'The server takes no requests now',
    connection: 'The connection was lost',
    server: 'The server failed',
  };
  const isBegun = message.text !== '' || message.thinking !== undefined;
  return (
    <div class="failure" role="alert">
      <Icons.Alert />
      <div>
        <strong>{titles[failure.kind]}</strong>
        <p>{failure.message}{failure.kind === 'large' && ' The pictures of earlier questions count, too: begin a new conversation, or edit one away.'}</p>
        {failure.kind === 'key' ? (
          <button type="button" class="primary" onClick={() =>
            (keyWanted.value = { message: failure.message, then: () => void regenerate(message) })}>Enter a key</button>
        ) : (
          <>
            {isBegun && <button type="button" class="primary" disabled={isWriting()} onClick={() => void goOn(message)}>Go on with it</button>}
            <button type="button" class={isBegun ? 'quiet' : 'primary'} disabled={left > 0 || isWriting()}
              onClick={() => void regenerate(message)}>{left > 0 ? `Try again in ${left} s` : 'Try again'}</button>
          </>
        )}
      </div>
    </div>
  );
}

function Foot({ message }: { message: Message }) {
  const { usage, timing, state } = message;
  const isCut = state === 'stopped' || state === 'length';
  const rate = usage && timing?.writing && usage.completion > 1 ? (usage.completion - 1) / (timing.writing / 1000) : null;
  const facts = [
    state === 'stopped' ? 'stopped' : state === 'length' ? 'cut at its most tokens' : '',
    usage ? `${usage.completion.toLocaleString('en')} tokens` : '',
    rate ? `${rate >= 100 ? rate.toFixed(0) : rate.toFixed(1)} tokens/s` : '',
    timing?.firstToken !== undefined ? `first after ${inSeconds(timing.firstToken)}` : '',
  ].filter(Boolean);
  const details = usage && `${usage.prompt.toLocaleString('en')} tokens read, ${usage.cached.toLocaleString('en')} of them from the cache; ` +
    `${usage.completion.toLocaleString('en')} written, ${usage.reasoning.toLocaleString('en')} of them thinking`;
  return (
    <>
      {message.note && <p class="hint">{message.note}</p>}
      <div class="actions">
        <Branches message={message} />
        {message.text && <CopyButton text={() => message.text} label="Copy the answer" />}
        <IconButton label="Answer again" icon={Icons.Again} disabled={isWriting()} onClick={() => void regenerate(message)} />
        {isCut && (message.text || message.thinking) && (
          <IconButton label="Go on with this answer" icon={Icons.GoOn} disabled={isWriting()} onClick={() => void goOn(message)} />
        )}
        {facts.length > 0 && <span class="facts" title={details ?? undefined}>{facts.join(' · ')}</span>}
      </div>
    </>
  );
}
