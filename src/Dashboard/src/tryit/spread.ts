import { fill, h } from '../dom';
import { histogram } from '../charts/histogram';
import { count } from '../format';
import type { Session } from '../api/client';

const perPage = 12;

/** Where the channels of a tensor lie: on an axis, or, for kinds over rows, in the trailing dimensions. */
export function channelsOf(session: Session, shape: readonly number[]): { channels: number; of(i: number): number } {
  const size = (dimensions: readonly number[]): number => dimensions.reduce((a, b) => a * b, 1);
  const row = session.normalized_shape;
  if (row) {
    const channels = size(row);
    return { channels, of: (i) => i % channels };
  }
  if (session.granularity === 'per_activation') {
    const channels = size(shape.slice(1));
    return { channels, of: (i) => i % channels };
  }
  const axis = session.channel_axis === -1 ? shape.length - 1 : 1;
  const inner = size(shape.slice(axis + 1));
  const channels = shape[axis] ?? 1;
  return { channels, of: (i) => Math.floor(i / inner) % channels };
}

/** The values of each channel before and after, some channels at a time. */
export function spread(session: Session, shape: readonly number[], before: ArrayLike<number>, after: ArrayLike<number>): HTMLElement {
  const { channels, of } = channelsOf(session, shape);
  let first = 0;
  const grid = h('div', { class: 'spread' });
  const label = h('p', { role: 'status' });
  const back = h('button', { type: 'button', onclick: () => turn(first - perPage) }, 'Previous channels');
  const next = h('button', { type: 'button', onclick: () => turn(first + perPage) }, 'Next channels');
  const element = h('div', {}, h('div', { class: 'buttons' }, back, label, next), grid);
  // One pass over the tensor for the channels that are shown.
  const collect = (values: ArrayLike<number>, last: number): number[][] => {
    const found: number[][] = Array.from({ length: last - first }, () => []);
    for (let i = 0; i < values.length; i++) {
      const channel = of(i);
      if (channel >= first && channel < last) found[channel - first]!.push(values[i]!);
    }
    return found;
  };
  function turn(to: number): void {
    first = Math.max(0, Math.min(to, Math.floor((channels - 1) / perPage) * perPage));
    const last = Math.min(first + perPage, channels);
    const [x, y] = [collect(before, last), collect(after, last)];
    label.textContent = `Channels ${count(first)} to ${count(last - 1)} of ${count(channels)}`;
    [back.disabled, next.disabled] = [first === 0, last >= channels];
    fill(grid, ...x.map((values, i) => h('figure', { class: 'spread-channel' }, h('figcaption', {}, `channel ${first + i}`),
      h('div', { class: 'spread-pair' },
        h('div', {}, h('span', { class: 'note' }, 'before'), histogram(values, `channel ${first + i} before`, 'before')),
        h('div', {}, h('span', { class: 'note' }, 'after'), histogram(y[i]!, `channel ${first + i} after`, 'after'))))));
  }
  turn(0);
  return element;
}
