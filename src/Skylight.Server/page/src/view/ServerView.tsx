import { useEffect, useState } from 'preact/hooks';
import { ApiError, getText } from '../api/client';
import { loadOf, rateOf, type Load } from '../api/metrics';
import { inBytes } from '../chat/fit';
import { apiKey, keyWanted, server } from '../chat/state';

const every = 2000;
const kept = 90;

/** What the server does: load, queue, cache and speed, asked anew every two seconds. */
export function ServerView() {
  const [loads, setLoads] = useState<Load[]>([]);
  const [fault, setFault] = useState('');
  const [status, setStatus] = useState<{ status: string; model: string } | null>(null);
  const key = apiKey.value;
  useEffect(() => {
    const abort = new AbortController();
    const look = async () => {
      if (document.hidden) return;
      try {
        setStatus(JSON.parse(await getText('health', '', abort.signal)) as { status: string; model: string });
        const text = await getText('metrics', key, abort.signal);
        setLoads(all => [...all.slice(1 - kept), loadOf(text, Date.now())]);
        setFault('');
      } catch (error) {
        if (abort.signal.aborted) return;
        setFault(error instanceof Error ? error.message : 'The server cannot be asked.');
        if (error instanceof ApiError && error.failure.kind === 'key' && !keyWanted.value)
          keyWanted.value = { message: error.message, then: () => void look() };
      }
    };
    void look();
    const timer = setInterval(() => void look(), every);
    return () => {
      clearInterval(timer);
      abort.abort();
    };
  }, [key]);

  const now = loads.at(-1);
  const whole = (value: number) => value.toLocaleString('en');
  const seconds = (value: number | null) => (value === null ? '–' : value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(1)} s`);
  const rate = (value: number | null) => (value === null ? '–' : value.toFixed(1));
  const recent = loads.slice(-16);
  return (
    <div class="scroller" tabIndex={0} role="region" aria-label="Server">
      <div class="server">
        <h1>Server</h1>
        <p class="state">
          <span class={`dot ${fault ? 'gone' : (status?.status ?? 'unknown')}`} aria-hidden="true" />
          <span role="status">{fault ? fault : !status ? 'Asking…' : status.status === 'ok' ? 'Takes requests' : 'Ending: takes no new requests'}</span>
        </p>
        <dl class="about">
          <dt>Model</dt><dd>{status?.model ?? '–'}</dd>
          <dt>Context</dt><dd>{server.value.context ? `${whole(server.value.context)} tokens` : '–'}</dd>
        </dl>
        {now && (
          <>
            <div class="cards">
              <Gauge title="Writing" value={whole(now.writing)} hint={`${whole(now.running)} requests open, prompts of ${whole(now.reading)} being read`}
                line={loads.map(each => each.writing)} />
              <Gauge title="Queue" value={whole(now.queue)} hint="answers that wait for room in the cache" line={loads.map(each => each.queue)} />
              <Gauge title="Cache" value={now.pages > 0 ? `${Math.round((100 * now.pagesUsed) / now.pages)} %` : '–'}
                hint={`${whole(now.pagesUsed)} of ${whole(now.pages)} pages; pictures ${inBytes(now.imageBytes)}`}
                line={loads.map(each => each.pagesUsed)} most={now.pages} />
              <Gauge title="Tokens/s written" value={rate(rateOf(recent, 'completionTokens'))}
                hint="over half a minute; an answer counts when it is complete" line={steps(loads, 'completionTokens')} />
              <Gauge title="Tokens/s read" value={rate(rateOf(recent, 'promptTokens'))}
                hint={now.promptTokens > 0 ? `${Math.round((100 * now.cachedTokens) / now.promptTokens)} % of all from the cache` : 'prompts, pictures included'}
                line={steps(loads, 'promptTokens')} />
              <Gauge title="First token" value={seconds(now.firstToken.half)} hint={`median; 95 % within ${seconds(now.firstToken.most)}`} />
            </div>
            <table>
              <caption>Since the server began</caption>
              <tbody>
                {now.requests.map(({ status: code, count }) => (
                  <tr key={code}><th scope="row">Requests, status {code}{meanings[code] && ` (${meanings[code]})`}</th><td>{whole(count)}</td></tr>
                ))}
                <tr><th scope="row">Tokens read</th><td>{whole(now.promptTokens)}</td></tr>
                <tr><th scope="row">Tokens written</th><td>{whole(now.completionTokens)}</td></tr>
                <tr><th scope="row">Tokens of thinking</th><td>{whole(now.thinkingTokens)}</td></tr>
                <tr><th scope="row">Duration of a request, median</th><td>{seconds(now.duration.half)}</td></tr>
              </tbody>
            </table>
          </>
        )}
      </div>
    </div>
  );
}

const meanings: Record<string, string> = {
  200: 'answered', 400: 'refused', 401: 'no key', 413: 'too large', 429: 'queue full', 499: 'left', 500: 'failed', 503: 'ending or out of memory',
};

const steps = (loads: Load[], counter: 'completionTokens' | 'promptTokens'): number[] =>
  loads.slice(1).map((load, index) => Math.max(0, load[counter] - loads[index]![counter]));

function Gauge(props: { title: string; value: string; hint: string; line?: number[]; most?: number }) {
  return (
    <section class="gauge" aria-label={props.title}>
      <h2>{props.title}</h2>
      <p class="value">{props.value}</p>
      <p class="hint">{props.hint}</p>
      {props.line && props.line.length > 1 && <Sparkline values={props.line} most={props.most} />}
    </section>
  );
}

function Sparkline({ values, most }: { values: number[]; most?: number }) {
  const top = Math.max(most ?? 0, ...values, 1);
  const points = values.map((value, index) => `${(100 * (index + kept - values.length)) / (kept - 1)},${(23 - (22 * value) / top).toFixed(2)}`);
  const first = points[0]!.split(',')[0];
  return (
    <svg class="sparkline" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">
      <polygon points={`${first},24 ${points.join(' ')} 100,24`} />
      <polyline points={points.join(' ')} />
    </svg>
  );
}
