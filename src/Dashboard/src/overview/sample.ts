import { call, Refusal, type Schemas } from '../api/client';
import wines from '../../../../samples/data/wine.csv?url';

const features = 13;
const batchSize = 30;
const epochs = 16;

// The same order for everybody, so that the sample looks the same everywhere.
function shuffled<T>(rows: readonly T[], seed: number): T[] {
  const result = [...rows];
  let state = seed;
  // Mulberry32.
  const random = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}

async function readWines(): Promise<number[][]> {
  const response = await fetch(wines);
  if (!response.ok) throw new Error(`the sample data cannot be read (HTTP ${response.status})`);
  const lines = (await response.text()).trim().split('\n').slice(1);
  return lines.map((line) => line.split(',').slice(0, features).map(Number));
}

async function create(): Promise<string> {
  for (let number = 1; ; number++) {
    const name = number === 1 ? 'wine' : `wine-${number}`;
    try {
      await call('post', '/v1/sessions', { body: { name, kind: 'batch_norm', num_features: features, labels: { sample: 'wine' } } });
      return name;
    } catch (error) {
      if (!(error instanceof Refusal && error.code === 'session-exists' && number < 100)) throw error;
    }
  }
}

const tensor = (rows: readonly number[][]): Schemas['Tensor'] => ({ shape: [rows.length, features], data: rows.flat() });

/** Creates a session and trains it on the wines until its statistics have settled, then serves some; returns its name. */
export async function createSample(progress: (done: number) => void): Promise<string> {
  const rows = await readWines();
  const name = await create();
  const path = { session: name };
  const steps = epochs * Math.floor(rows.length / batchSize);
  let done = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = shuffled(rows, epoch + 1);
    for (let from = 0; from + batchSize <= order.length; from += batchSize) {
      await call('post', '/v1/sessions/{session}/train-step', { path, body: { x: tensor(order.slice(from, from + batchSize)), retain: false } });
      progress(++done / (steps + 1));
    }
    const served = order.slice(0, 60);
    if (epoch >= epochs - 4) await call('post', '/v1/sessions/{session}/inference', { path, body: { x: tensor(served) } });
  }
  progress(1);
  return name;
}
