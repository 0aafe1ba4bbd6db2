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
