/** A line of Prometheus' text format. */
export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export function parseMetrics(text: string): Sample[] {
  const samples: Sample[] = [];
  for (const line of text.split('\n')) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line);
    if (!match) continue;
    const labels: Record<string, string> = {};
    for (const [, name, value] of (match[2] ?? '').matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g))
      labels[name!] = value!.replace(/\\(["\\n])/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped));
    samples.push({ name: match[1]!, labels, value: match[3] === '+Inf' ? Infinity : Number(match[3]) });
  }
  return samples;
}

export const valueOf = (samples: Sample[], name: string): number => samples.find(each => each.name === name)?.value ?? 0;

/** A quantile of a histogram, as Prometheus estimates it: evenly within a bucket; null where nothing was counted. */
export function quantileOf(samples: Sample[], name: string, quantile: number): number | null {
  const buckets = samples.filter(each => each.name === `${name}_bucket`)
    .map(each => ({ bound: each.labels['le'] === '+Inf' ? Infinity : Number(each.labels['le']), count: each.value }))
    .sort((left, right) => left.bound - right.bound);
  const total = buckets.at(-1)?.count ?? 0;
  if (total === 0) return null;
  const rank = quantile * total;
  let below = { bound: 0, count: 0 };
  for (const bucket of buckets) {
    if (bucket.count >= rank) {
      if (bucket.bound === Infinity) return below.bound;
      const share = bucket.count === below.count ? 1 : (rank - below.count) / (bucket.count - below.count);
      return below.bound + share * (bucket.bound - below.bound);
    }
    below = bucket;
  }
  return below.bound;
}

/** What the server's page shows, at one moment. */
export interface Load {
  at: number;
  running: number;
  queue: number;
  reading: number;
  writing: number;
  pagesUsed: number;
  pages: number;
  imageBytes: number;
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  thinkingTokens: number;
  requests: { status: string; count: number }[];
  firstToken: { half: number | null; most: number | null };
  duration: { half: number | null; most: number | null };
}

export function loadOf(text: string, at: number): Load {
  const samples = parseMetrics(text);
  const value = (name: string) => valueOf(samples, `skylight_${name}`);
  const quantiles = (name: string) => ({
    half: quantileOf(samples, `skylight_${name}`, 0.5),
    most: quantileOf(samples, `skylight_${name}`, 0.95),
  });
  return {
    at,
    running: value('requests_running'),
    queue: value('queue_length'),
    reading: value('prompts_reading'),
    writing: value('answers_writing'),
    pagesUsed: value('cache_pages_used'),
    pages: value('cache_pages'),
    imageBytes: value('image_cache_bytes'),
    promptTokens: value('prompt_tokens_total'),
    cachedTokens: value('cached_tokens_total'),
    completionTokens: value('completion_tokens_total'),
    thinkingTokens: value('thinking_tokens_total'),
    requests: samples.filter(each => each.name === 'skylight_requests_total')
      .map(each => ({ status: each.labels['status'] ?? '', count: each.value })),
    firstToken: quantiles('time_to_first_token_seconds'),
    duration: quantiles('request_duration_seconds'),
  };
}

/** How many a second a counter grew by over the loads that are kept; null before there are two, or after a restart. */
export function rateOf(loads: Load[], counter: 'completionTokens' | 'promptTokens'): number | null {
  const [first, last] = [loads[0], loads.at(-1)];
  if (!first || !last || last.at <= first.at || last[counter] < first[counter]) return null;
  return (last[counter] - first[counter]) / ((last.at - first.at) / 1000);
}
