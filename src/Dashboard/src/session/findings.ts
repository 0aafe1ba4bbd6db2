import { fill, h } from '../dom';
import { percent, short, toNumber } from '../format';
import type { Diagnosis, Drift, Finding } from '../api/client';
import type { SessionModel } from './model';

function findingOf(finding: Finding): HTMLElement {
  const numbers = Object.entries(finding.numbers).map(([name, value]) => `${name.replaceAll('_', ' ')} ${short(toNumber(value))}`);
  const channels = finding.channels ? ` Channels: ${finding.channels.join(', ')}${(toNumber(finding.numbers['channels'] ?? 0) > finding.channels.length) ? ', …' : ''}.` : '';
  return h('li', { class: 'finding' },
    h('h3', {}, finding.code.replaceAll('-', ' ')),
    h('p', {}, `${finding.detail}.${channels}`),
    h('p', { class: 'remedy' }, h('strong', {}, 'What to do: '), `${finding.remedy}.`),
    h('p', { class: 'note' }, numbers.join(' · ')));
}

/** What the diagnostics have found, with what to do about it. */
export function findings(model: SessionModel): { element: HTMLElement; update(): void } {
  const list = h('div');
  const element = h('section', { 'aria-labelledby': 'findings' }, h('h2', { id: 'findings' }, 'Findings'), list);
  let last = '';
  return {
    element,
    update() {
      const { findings: found, health } = model.seen!.diagnosis;
      const text = JSON.stringify([found, health]);
      if (text === last) return;
      last = text;
      fill(list, found.length === 0 ? h('p', { class: 'good' }, `✓ Nothing found: ${health.reason}.`) : h('ul', { class: 'findings' }, ...found.map(findingOf)));
    },
  };
}

function tile(title: string, value: string, text: string, share?: number): HTMLElement {
  return h('div', { class: 'tile' },
    h('h3', {}, title), h('p', { class: 'tile-value' }, value),
    share === undefined ? null : h('meter', { min: 0, max: 1, value: Math.min(Math.max(share, 0), 1), 'aria-label': title }),
    h('p', { class: 'note' }, text));
}

// How much comes before how unlikely: in a large batch the smallest shift is no accident.
function driftTile(title: string, drift: Drift | null): HTMLElement | null {
  if (!drift) return null;
  const { mean_shift: shift, deviation_ratio: ratio, kl_divergence: nats, p_value: p } = drift;
  return tile(title, `${short(Math.abs(shift), 2)} sd`,
    `The mean of channel ${drift.channel} is ${short(Math.abs(shift), 2)} standard deviations ${shift < 0 ? 'below' : 'above'} the running one, its standard deviation ${short(ratio, 2)} times as large: ${short(nats, 2)} nats, which matter from 0.25 on. By chance: p = ${short(p, 2)}. ${drift.drifting ? 'It drifts.' : 'No drift.'}`);
}

function tilesOf(diagnosis: Diagnosis): HTMLElement[] {
  const { convergence, batch_noise: noise, drift } = diagnosis;
  const tiles: HTMLElement[] = [];
  if (convergence) {
    tiles.push(tile('Residue of the initial values', percent(convergence.initial_weight), convergence.settled ? 'Settled: less than 1 % of the initial mean 0 and variance 1 is left.' : 'Not settled: train on, or calibrate, before serving.', convergence.initial_weight));
    tiles.push(tile('Noise of the moving average', convergence.mean_noise ? short(convergence.mean_noise.value, 3) : '–',
      convergence.mean_noise ? `Standard deviation of the running mean where it is largest, channel ${convergence.mean_noise.channel}. The average rests on ${short(convergence.effective_batches, 3)} batches.` : 'Known after the first batch.'));
    const { gap } = convergence;
    tiles.push(tile('Gap to the exact statistics', gap?.mean ? `${short(gap.mean.value, 3)} sd` : '–',
      gap ? `Mean: ${gap.mean ? `channel ${gap.mean.channel}` : 'no channel varies'}. Variance: ${gap.var ? `${percent(gap.var.value)} in channel ${gap.var.channel}` : '–'}. Against all ${gap.batches} batches taken together.` : 'Known after the first batch.'));
  }
  if (noise) tiles.push(tile('Noise of a batch', percent(noise.relative_sd_of_var), `Relative standard deviation of the variance of ${noise.count} values per channel.`, noise.relative_sd_of_var));
  const ofTraffic = [driftTile('Drift of the last train batch', drift.train), driftTile('Drift of the last inference batch', drift.inference)];
  tiles.push(...ofTraffic.filter((known) => known !== null));
  if (drift.skew) tiles.push(tile('Training against serving', `${short(drift.skew.kl_difference, 3)} nats`, `Serving drifts ${drift.skew.kl_difference > 0 ? 'more' : 'less'} than training by so much${drift.skew.largest ? `; it exceeds it most in channel ${drift.skew.largest.channel}` : ''}.`));
  return tiles;
}

/** Whether the running statistics can be relied on, in numbers. */
export function convergence(model: SessionModel): { element: HTMLElement; update(): void } {
  const tiles = h('div', { class: 'tiles' });
  const element = h('section', { 'aria-labelledby': 'convergence' }, h('h2', { id: 'convergence' }, 'Convergence'), tiles);
  return {
    element,
    update() {
      const shown = tilesOf(model.seen!.diagnosis);
      fill(tiles, ...(shown.length > 0 ? shown : [h('p', { class: 'note' }, 'This session keeps no running statistics: there is nothing that could converge.')]));
    },
  };
}
