import { useMemo, useRef, useState } from 'preact/hooks';
import { measureOf, shadeOf, visible, type EntropySummary } from '../chat/entropy';
import type { Token } from '../types';

/** So many tokens are drawn as one, and stay as they are while others come behind them. */
const runLength = 200;

/** Of the card of a token, in pixels: as tokens.css has it, and as it is at most. */
const cardWidth = 260;
const cardHeight = 250;

interface Place {
  left: number;
  top: number;
  isAbove: boolean;
}

/** A text as the model wrote it: token by token, each shaded by how undecided the model was. */
export function Tokens(props: { tokens: Token[]; thinking: boolean; summary: EntropySummary; label: string }) {
  const { tokens, summary } = props;
  const [active, setActive] = useState<number | null>(null);
  const [place, setPlace] = useState<Place>({ left: 0, top: 0, isAbove: false });
  const box = useRef<HTMLDivElement>(null);
  const shown = useMemo(() => {
    const indices: number[] = [];
    tokens.forEach((token, index) => (token.r === 1) === props.thinking && indices.push(index));
    return indices;
  }, [tokens.length, props.thinking]);

  const look = (index: number | null) => {
    setActive(index);
    const element = index === null ? null : box.current!.querySelector<HTMLElement>(`[data-i="${index}"]`);
    if (!element) return;
    const room = box.current!.clientWidth;
    const left = Math.max(0, Math.min(element.offsetLeft, room - cardWidth));
    // Above the token where there is no room below it.
    const bottom = box.current!.closest('.scroller')!.getBoundingClientRect().bottom;
    const isAbove = element.getBoundingClientRect().bottom + cardHeight > bottom;
    setPlace({ left, top: element.offsetTop + (isAbove ? -4 : element.offsetHeight + 4), isAbove });
  };
  const indexAt = (event: Event) => {
    const index = (event.target as Element).closest<HTMLElement>('[data-i]')?.dataset['i'];
    return index === undefined ? null : Number(index);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const at = active === null ? -1 : shown.indexOf(active);
    const jump = (step: number) => {
      for (let next = at + step; next >= 0 && next < shown.length; next += step)
        if (summary.forks.has(shown[next]!) || summary.critical.has(shown[next]!)) return next;
      return at;
    };
    const next = event.key === 'ArrowRight' ? at + 1 : event.key === 'ArrowLeft' ? at - 1
      : event.key === 'Home' ? 0 : event.key === 'End' ? shown.length - 1
      : event.key === 'ArrowDown' ? jump(1) : event.key === 'ArrowUp' ? jump(-1) : null;
    if (event.key === 'Escape' && active !== null) {
      event.stopPropagation();
      look(null);
    } else if (next !== null && shown.length > 0) {
      event.preventDefault();
      look(shown[Math.max(0, Math.min(shown.length - 1, next))]!);
    }
  };

  const runs: number[][] = [];
  for (let start = 0; start < shown.length; start += runLength) runs.push(shown.slice(start, start + runLength));
  return (
    <div class="tokens" ref={box} tabIndex={0} role="group" onKeyDown={onKeyDown} onBlur={() => look(null)}
      aria-label={`${props.label}, token by token. Left and right move, up and down go to the undecided ones.`}
      onMouseOver={event => look(indexAt(event))} onMouseLeave={() => look(null)} onClick={event => look(indexAt(event))}>
      {runs.map(run => <Run key={run[0]} tokens={tokens} indices={run} summary={summary} active={active} />)}
      {active !== null && tokens[active] && <Card token={tokens[active]!} place={place} index={active} summary={summary} />}
    </div>
  );
}

function Run(props: { tokens: Token[]; indices: number[]; summary: EntropySummary; active: number | null }) {
  const { tokens, indices, summary } = props;
  const active = props.active !== null && indices.includes(props.active) ? props.active : null;
  const marks = indices.filter(index => summary.critical.has(index) || summary.forks.has(index)).join();
  return useMemo(() => (
    <>
      {indices.map(index => {
        const token = tokens[index]!;
        const kinds = [`token s${shadeOf(measureOf(token))}`];
        if (summary.critical.has(index)) kinds.push('critical');
        else if (summary.forks.has(index)) kinds.push('fork');
        if (index === active) kinds.push('active');
        // White space before a word gets no frame: around a line's end it would be one of two pieces.
        const lead = token.t.trim() === '' ? '' : token.t.slice(0, token.t.length - token.t.trimStart().length);
        return <>{lead}<span key={index} data-i={index} class={kinds.join(' ')}>{token.t.slice(lead.length)}</span></>;
      })}
    </>
  ), [indices[0], indices.length, marks, active]);
}

function Card(props: { token: Token; place: Place; index: number; summary: EntropySummary }) {
  const { token, summary, index } = props;
  const percent = (logprob: number) => {
    const share = 100 * Math.exp(logprob);
    return share >= 10 ? `${share.toFixed(0)} %` : share >= 0.1 ? `${share.toFixed(1)} %` : '< 0.1 %';
  };
  return (
    <div class={props.place.isAbove ? 'card above' : 'card'} role="status" style={{ left: `${props.place.left}px`, top: `${props.place.top}px` }}>
      <strong class="spelled">{visible(token.t)}</strong>
      {summary.critical.has(index) && <span class="tag">critical word</span>}
      {!summary.critical.has(index) && summary.forks.has(index) && <span class="tag">undecided</span>}
      <dl>
        <dt>Probability</dt><dd>{percent(token.p)}</dd>
        <dt>Log-probability</dt><dd>{token.p.toFixed(3)}</dd>
        {token.e !== undefined && <><dt>Entropy</dt><dd>{token.e.toFixed(3)} nats</dd></>}
      </dl>
      {token.a && token.a.length > 0 && (
        <ol aria-label="What it might have been">
          {token.a.map(([text, logprob], rank) => (
            <li key={rank} class={text === token.t ? 'chosen' : ''}>
              <span class="spelled">{visible(text)}</span>
              <meter min={0} max={1} value={Math.exp(logprob)} aria-hidden="true" />
              <span>{percent(logprob)}</span>
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}

/** What the shades and the marks mean, and what the whole answer has of them. */
export function Legend({ summary }: { summary: EntropySummary }) {
  const name = summary.isEntropy ? 'entropy' : 'surprise (−log p; this server does not tell entropies)';
  return (
    <div class="legend">
      <span class="scale" aria-hidden="true">{[0, 2, 4, 6, 8, 10].map(shade => <i key={shade} class={`s${shade}`} />)}</span>
      <span>0 to 3 nats of {name}; mean {summary.mean.toFixed(2)}</span>
      <span><i class="token fork" aria-hidden="true">ab</i> the 5 % least decided: {summary.forks.size}</span>
      <span><i class="token critical" aria-hidden="true">Wait</i> critical words of the thinking: {summary.critical.size}
        {summary.meanCritical !== null && `, mean ${summary.meanCritical.toFixed(2)}`}</span>
    </div>
  );
}
