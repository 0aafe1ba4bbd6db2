import { fill, h } from '../dom';
import { heatStrip, type Strip } from '../charts/heatstrip';
import { count, short, toNumbers } from '../format';
import type { Stats } from '../api/client';
import type { SessionModel } from './model';

interface Shown {
  title: string;
  what: string;
  log?: boolean;
  of(stats: Stats): number[];
}

const shown: Shown[] = [
  { title: 'Running mean', what: 'mean', of: (stats) => toNumbers(stats.running_mean) },
  { title: 'Running variance', what: 'variance', log: true, of: (stats) => toNumbers(stats.running_var) },
  { title: 'gamma', what: 'gamma', of: (stats) => toNumbers(stats.gamma) },
  { title: 'beta', what: 'beta', of: (stats) => toNumbers(stats.beta) },
];

/** The numbers of each channel as colours, and as numbers under the pointer and the arrow keys. */
export function channels(model: SessionModel, follow: (channel: number) => void, signal: AbortSignal): { element: HTMLElement; update(): void } {
  let values: number[][] = shown.map(() => []);
  let batch: { mean: number[]; variance: number[] } = { mean: [], variance: [] };
  // The same channel in all strips: whoever looks at one number of it sees the others.
  const describe = (i: number, channel: number): string => {
    const { what } = shown[i]!;
    const last = [batch.mean, batch.variance][i]?.[channel];
    return `channel ${channel}: ${what} ${short(values[i]![channel] ?? NaN)}${last === undefined ? '' : `, in the last batch ${short(last)}`}`;
  };
  const strips: Strip[] = shown.map((one, i) =>
    heatStrip({
      ...one,
      describe: (channel) => describe(i, channel),
      point: (channel) => strips.forEach((strip, other) => other !== i && strip.show(channel)),
      choose: follow,
    }, signal));
  const note = h('p', { class: 'note' });
  const element = h('section', { 'aria-labelledby': 'channels' }, h('h2', { id: 'channels' }, 'Channels'), note, ...strips.map((strip) => strip.element));
  return {
    element,
    update() {
      const { stats } = model.seen!;
      values = shown.map((one) => one.of(stats));
      batch = { mean: toNumbers(stats.last_batch?.mean), variance: toNumbers(stats.last_batch?.var) };
      const most = Math.max(...values.map((each) => each.length));
      fill(note, most === 0
        ? 'This session keeps neither running statistics nor parameters.'
        : `${count(most)} ${most === 1 ? 'channel' : 'channels'}. Point at one, or go through them with the arrow keys, for its numbers; click it or press Enter to follow it over time.`);
      strips.forEach((strip, i) => {
        strip.update(values[i]!);
        strip.mark(model.channel);
      });
    },
  };
}
