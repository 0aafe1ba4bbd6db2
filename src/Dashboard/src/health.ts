import { h } from './dom';
import type { Health, Schemas } from './api/client';

/** The marks of the contract: a new one breaks the build here. */
export const marks: Record<Health, { text: string; sign: string }> = {
  healthy: { text: 'healthy', sign: '✓' },
  settling: { text: 'settling', sign: '…' },
  small_batches: { text: 'small batches', sign: '▫' },
  drifting: { text: 'drifting', sign: '↗' },
  dead_channels: { text: 'dead channels', sign: '✕' },
};

/** A mark: told by its words and its sign, not by its colour alone. */
export function healthMark(health: Schemas['HealthReport']): HTMLElement {
  const { text, sign } = marks[health.mark];
  return h('span', { class: `mark mark-${health.mark}`, title: health.reason }, h('span', { 'aria-hidden': 'true' }, sign), ` ${text}`);
}

// As LayerHealth has them in the service: what a page of the list says of a session, its own page says too.
const bySeverity: [Health, string[]][] = [
  ['dead_channels', ['non-finite-statistics', 'dead-channels', 'zero-running-variance', 'constant-channels']],
  ['drifting', ['train-serve-skew', 'inference-drift', 'drift', 'frozen-mean-mismatch']],
  ['small_batches', ['small-batch', 'noisy-running-mean']],
  ['settling', ['not-settled', 'estimate-gap']],
];

/** The health of a session by what was diagnosed. */
export function healthOf(diagnosis: Schemas['DiagnosticsResponse']): Schemas['HealthReport'] {
  for (const [mark, codes] of bySeverity)
    for (const code of codes) {
      const finding = diagnosis.findings.find((known) => known.code === code);
      if (finding) return { mark, reason: finding.detail };
    }
  return { mark: 'healthy', reason: diagnosis.convergence ? 'the running statistics have settled, and the last batch fits them' : 'keeps no running statistics that could drift' };
}
