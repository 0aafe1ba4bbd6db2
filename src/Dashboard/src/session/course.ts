import { h } from '../dom';
import { type Chart, lineChart } from '../charts/lines';
import { toNumber } from '../format';
import type { SessionModel } from './model';
import type { Step } from '../api/client';

// A p-value of 0 has no place on a scale of powers of ten, and smaller ones than this say the same.
const smallestP = 1e-12;
const smallestDrift = 1e-6;
const significant = 0.001;
// Nats that matter, as Drift has them in the service: both decide.
const relevant = 0.25;

const asDrift = (value: number): number => Math.max(value, smallestDrift);
const asP = (value: number): number => Math.max(value, smallestP);

/** The course of a session: drift of training and of serving, batches against the running statistics, and how fast it goes. */
export function course(model: SessionModel, signal: AbortSignal): { element: HTMLElement; update(): void } {
  const driftLines = [
    { label: 'KL divergence', colour: 'series-1' },
    { label: '0.25 nats', colour: 'series-1', dashed: true },
    { label: 'p-value', colour: 'series-2', right: true, points: true },
    { label: 'p = 0.001', colour: 'series-2', right: true, dashed: true },
  ];
  const train = lineChart({ title: 'Drift of training', x: 'step', lines: driftLines, left: 'KL, nats (log)', right: 'p-value (log)', log: true, empty: 'No train-step has passed on this node since it started.' }, signal);
  const serve = lineChart({ title: 'Drift of serving', x: 'time', lines: driftLines, left: 'KL, nats (log)', right: 'p-value (log)', log: true, empty: 'No inference batch of 8 or more values per channel has passed on this node since it started.' }, signal);
  const shift = lineChart({
    title: 'Batch against running statistics, all channels', x: 'step', left: 'shift, running sd', right: 'variance ratio', empty: 'Nothing to compare yet.',
    lines: [{ label: 'largest shift of a mean', colour: 'series-3' }, { label: 'root mean square', colour: 'series-1' }, { label: 'variance ratio', colour: 'series-2', right: true }],
  }, signal);
  const mean = lineChart({
    title: 'Mean of one channel', x: 'step', left: 'mean', empty: 'The steps of this channel are no longer kept, or there is none.',
    lines: [{ label: 'batch', colour: 'series-2', points: true }, { label: 'running', colour: 'series-1' }],
  }, signal);
  const variance = lineChart({
    title: 'Variance of one channel', x: 'step', left: 'variance', empty: 'The steps of this channel are no longer kept, or there is none.',
    lines: [{ label: 'batch', colour: 'series-2', points: true }, { label: 'running', colour: 'series-1' }],
  }, signal);
  const rate = lineChart({ title: 'Step rate', x: 'step', left: 'steps per second', empty: 'Two steps are needed for a rate.', lines: [{ label: 'steps per second', colour: 'series-1' }] }, signal);
  const latency = lineChart({ title: 'Latency of a step', x: 'step', left: 'milliseconds', empty: 'No train-step has passed on this node since it started.', lines: [{ label: 'milliseconds', colour: 'series-3' }] }, signal);

  const caption = (chart: Chart, text: string): void => void (chart.element.querySelector('figcaption')!.textContent = text);
  const element = h('section', { 'aria-labelledby': 'course' },
    h('h2', { id: 'course' }, 'Over time'),
    h('div', { class: 'charts' }, ...[train, serve, mean, variance, shift, rate, latency].map((chart) => chart.element)));
  return {
    element,
    update() {
      const { steps, inferences } = model;
      const drifting = steps.filter((step) => step.drift !== null);
      train.update([numbers(drifting), drifting.map((step) => asDrift(step.drift!.kl_divergence)), drifting.map(() => relevant), drifting.map((step) => asP(step.drift!.p_value)), drifting.map(() => significant)]);
      const served = inferences.filter((line) => line.drift !== null);
      serve.update([served.map((line) => Date.parse(line.at) / 1000), served.map((line) => asDrift(line.drift!.kl_divergence)), served.map(() => relevant), served.map((line) => asP(line.drift!.p_value)), served.map(() => significant)]);
      const shifted = steps.filter((step) => step.shift !== null);
      shift.update([numbers(shifted), shifted.map((step) => step.shift!.largest.value), shifted.map((step) => step.shift!.rms), shifted.map((step) => step.shift!.var_ratio)]);
      const traced = steps.filter((step) => step.channel);
      caption(mean, `Mean of channel ${model.channel}: batch against running`);
      caption(variance, `Variance of channel ${model.channel}: batch against running`);
      mean.update([numbers(traced), traced.map((step) => finite(step.channel!.batch_mean)), traced.map((step) => finite(step.channel!.running_mean))]);
      variance.update([numbers(traced), traced.map((step) => finite(step.channel!.batch_var)), traced.map((step) => finite(step.channel!.running_var))]);
      const rates = stepRates(steps);
      rate.update([rates.map(([x]) => x), rates.map(([, value]) => value)]);
      const timed = steps.filter((step) => step.milliseconds !== null);
      latency.update([numbers(timed), timed.map((step) => step.milliseconds)]);
    },
  };
}

const finite = (value: Parameters<typeof toNumber>[0]): number | null => (Number.isFinite(toNumber(value)) ? toNumber(value) : null);

// Steps of one version, in mode frozen, lie beside each other: a scale cannot go back.
function numbers(steps: readonly Step[]): number[] {
  const result: number[] = [];
  for (const step of steps) result.push(Math.max(step.num_batches_tracked > 0 ? step.num_batches_tracked : step.version, (result.at(-1) ?? -1) + 1));
  return result;
}

/** Steps per second over the last ten before each. */
export function stepRates(steps: readonly Step[]): [number, number][] {
  const x = numbers(steps);
  const rates: [number, number][] = [];
  for (let i = 1; i < steps.length; i++) {
    const first = Math.max(0, i - 10);
    const seconds = (Date.parse(steps[i]!.at) - Date.parse(steps[first]!.at)) / 1000;
    if (seconds > 0) rates.push([x[i]!, (i - first) / seconds]);
  }
  return rates;
}
