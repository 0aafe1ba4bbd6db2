// Server-sent events by fetch, which unlike EventSource can send the key in a header. Goes on by itself after whatever has ended the stream.
import { Refusal, send } from './client';

export type Connection = 'connecting' | 'live' | 'lost';

export interface Watcher {
  event(name: string, data: unknown): void;
  state(connection: Connection): void;
  /** Called when the stream is there again after it was lost: what happened meanwhile has to be read. */
  resumed(): void;
  /** There is nothing to watch any more. */
  ended(error: unknown): void;
}

const firstPause = 500;
const longestPause = 5000;
// The service sends a sign of life every ten seconds or so.
const silence = 35_000;

/** Watches a stream until the signal says so. */
export async function watch(path: string, watcher: Watcher, signal: AbortSignal): Promise<void> {
  let lastId: string | null = null;
  let pause = firstPause;
  let wasLost = false;
  watcher.state('connecting');
  while (!signal.aborted) {
    try {
      const attempt = new AbortController();
      const stop = (): void => attempt.abort();
      signal.addEventListener('abort', stop, { once: true });
      try {
        const headers: Record<string, string> = { Accept: 'text/event-stream' };
        if (lastId !== null) headers['Last-Event-ID'] = lastId;
        const response = await send(path, { headers, signal: attempt.signal });
        pause = firstPause;
        watcher.state('live');
        if (wasLost) watcher.resumed();
        wasLost = false;
        await read(response.body!, attempt, (name, data, id) => {
          if (id !== null) lastId = id;
          watcher.event(name, data);
        });
      } finally {
        signal.removeEventListener('abort', stop);
      }
      // An end is no loss: the service ends each stream after some minutes, and all of them when it stops.
      if (signal.aborted) return;
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refusal && [403, 404].includes(error.status)) return watcher.ended(error);
      wasLost = true;
      watcher.state('lost');
    }
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(2 * pause, longestPause);
  }
}

async function read(body: ReadableStream<Uint8Array>, attempt: AbortController, take: (name: string, data: unknown, id: string | null) => void): Promise<void> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let text = '';
  let timer = setTimeout(() => attempt.abort(), silence);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => attempt.abort(), silence);
      text += value;
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        dispatch(text.slice(0, end), take);
        text = text.slice(end + 2);
      }
    }
  } finally {
    clearTimeout(timer);
  }
}

function dispatch(message: string, take: (name: string, data: unknown, id: string | null) => void): void {
  let name = 'message';
  let id: string | null = null;
  let data = '';
  for (const line of message.split('\n')) {
    if (line.startsWith('event: ')) name = line.slice(7);
    else if (line.startsWith('id: ')) id = line.slice(4);
    else if (line.startsWith('data: ')) data += line.slice(6);
  }
  if (data !== '') take(name, JSON.parse(data) as unknown, id);
}
