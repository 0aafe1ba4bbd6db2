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
  const describe = (channel: number): string => {
    const parts = shown.map(({ what }, i) => (values[i]!.length > channel ? `${what} ${short(values[i]![channel]!)}` : null));
    if (batch.mean.length > channel) parts.push(`last batch: mean ${short(batch.mean[channel]!)}, variance ${short(batch.variance[channel]!)}`);
    return `channel ${channel}: ${parts.filter((part) => part !== null).join(', ')}`;
  };
  const strips: Strip[] = shown.map((one) => heatStrip({ ...one, describe, choose: follow }, signal));
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
