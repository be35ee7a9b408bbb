import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { ask, isWriting, stop } from '../chat/answering';
import { pathOf } from '../chat/conversation';
import { current, greet, live, server } from '../chat/state';
import { Editor, mainEditor } from './Editor';
import { Icons } from './icons';
import { Answer, Question } from './Message';

const ideas = ['What is in this picture?', 'Read the text in this picture.', 'Solve the exercise in this picture, step by step.'];

export function Chat() {
  const conversation = current.value;
  const path = conversation ? pathOf(conversation) : [];
  const scroller = useRef<HTMLDivElement>(null);
  const [isAtEnd, setAtEnd] = useState(true);
  const [edited, setEdited] = useState<string | null>(null);
  const shown = path.length > 0;
  const last = path.at(-1);
  const growing = live.value;

  useLayoutEffect(() => {
    if (isAtEnd && scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight;
  }, [growing, last?.id, conversation?.id]);
  useEffect(() => {
    setAtEnd(true);
    setEdited(null);
  }, [conversation?.id]);
  const onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = scroller.current!;
    setAtEnd(scrollHeight - scrollTop - clientHeight < 60);
  };
  const toEnd = () => {
    setAtEnd(true);
    scroller.current!.scrollTop = scroller.current!.scrollHeight;
  };

  return (
    <>
      <div class="scroller" ref={scroller} onScroll={onScroll}>
        <div class={shown ? 'messages' : 'messages empty'}>
          {!shown && (
            <div class="welcome">
              <h1>Ask about a picture</h1>
              <p>Drop pictures anywhere on this page, paste them, or take a photo.
                {server.value.model && <> <b>{server.value.model}</b> answers.</>}</p>
              <ul>{ideas.map(idea => (
                <li key={idea}><button type="button" class="idea" onClick={() => mainEditor.write(idea)}>{idea}</button></li>
              ))}</ul>
            </div>
          )}
          {shown && <h1 class="off-screen">{conversation!.title}</h1>}
          {path.map(message => message.role === 'user'
            ? <Question key={message.id} message={message} isEdited={edited === message.id}
                setEdited={is => setEdited(is ? message.id : null)} />
            : <Answer key={message.id} message={message} />)}
        </div>
      </div>
      <div class="foot">
        {shown && !isAtEnd && (
          <button type="button" class="to-end" onClick={toEnd} aria-label="To the end" title="To the end"><Icons.Down /></button>
        )}
        {server.value.status === 'gone' && !growing && (
          <p class="banner" role="status">No server answers at this address. <button type="button" class="link" onClick={() => void greet()}>Ask
            again</button></p>
        )}
        {server.value.status === 'draining' && <p class="banner" role="status">The server is ending, and takes no new questions.</p>}
        <Editor label={shown ? 'Ask further' : 'Ask about a picture'} isMain isBusy={isWriting()} onStop={stop}
          onUp={() => setEdited(path.findLast(message => message.role === 'user')?.id ?? null)}
          onSend={(text, pictures) => {
            setAtEnd(true);
            void ask(text, pictures, path.at(-1)?.id ?? null);
          }} />
        <p class="small">Models make mistakes. What you send goes to this server and nowhere else.</p>
      </div>
    </>
  );
}
