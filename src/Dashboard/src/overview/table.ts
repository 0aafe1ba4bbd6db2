import { h } from '../dom';
import { ago, count, time } from '../format';
import { sparkline } from '../charts/sparkline';
import { healthMark } from '../health';
import { toSession } from '../router';
import type { Session } from '../api/client';

export const columns = ['Session', 'Health', 'Drift', 'Kind', 'Features', 'Steps', 'Last activity'] as const;

/** Heights of rows as the style sheet has them, so that a hundred thousand of them need not be there to be scrolled through. */
export const rowHeight = (): number => (matchMedia('(max-width: 45rem)').matches ? 186 : 92);

function rowOf(session: Session, index: number): HTMLElement {
  const steps = count(session.num_batches_tracked);
  const cells = [
    h('a', { href: toSession(session.name), class: 'row-name' }, session.name),
    h('span', { class: 'row-health' }, session.health ? healthMark(session.health) : '', h('span', { class: 'reason' }, session.health?.reason ?? '')),
    sparkline((session.drift ?? []).map(Number)),
    h('span', {}, session.kind),
    h('span', { class: 'number' }, count(session.num_features), h('span', { class: 'unit' }, ' features')),
    h('span', { class: 'number' }, steps, h('span', { class: 'unit' }, ' steps')),
    h('time', { datetime: session.updated_at, title: time(session.updated_at) }, ago(session.updated_at)),
  ];
  return h('div', { role: 'row', class: 'row', 'aria-rowindex': index + 2 }, ...cells.map((cell) => h('div', { role: 'cell' }, cell)));
}

function pending(index: number): HTMLElement {
  return h('div', { role: 'row', class: 'row row-pending', 'aria-rowindex': index + 2 }, h('div', { role: 'cell' }, '…'));
}

export interface VirtualTable {
  element: HTMLElement;
  /** The rows that can be seen. */
  visible(): [number, number];
  /** Shows the rows that can be seen, of so many. */
  show(rows: readonly Session[], length: number): void;
}

/** A table of which only the rows are there that can be seen; the window scrolls through it. */
export function virtualTable(): VirtualTable {
  const head = h('div', { role: 'row', class: 'row row-head', 'aria-rowindex': 1 }, ...columns.map((name) => h('div', { role: 'columnheader' }, name)));
  const body = h('div', { role: 'rowgroup', class: 'rows' });
  const element = h('div', { role: 'table', 'aria-label': 'Sessions', class: 'table' }, h('div', { role: 'rowgroup', class: 'table-head' }, head), body);
  let length = 0;
  const visible = (): [number, number] => {
    const tall = rowHeight();
    const above = -body.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(above / tall) - 6);
    return [Math.min(first, Math.max(length - 1, 0)), Math.min(Math.max(length - 1, 0), first + Math.ceil(innerHeight / tall) + 12)];
  };
  return {
    element,
    visible,
    show(rows, all) {
      length = all;
      const tall = rowHeight();
      body.style.height = `${all * tall}px`;
      element.setAttribute('aria-rowcount', String(all + 1));
      const [first, last] = visible();
      const focused = document.activeElement?.closest('.row')?.getAttribute('aria-rowindex');
      const shown: HTMLElement[] = [];
      for (let i = first; i <= last && i < all; i++) {
        const session = rows[i];
        const row = session ? rowOf(session, i) : pending(i);
        row.style.top = `${i * tall}px`;
        shown.push(row);
      }
      const hadFocus = body.contains(document.activeElement);
      body.replaceChildren(...shown);
      // Who reads with the keyboard stays where he was.
      if (hadFocus) body.querySelector<HTMLElement>(`.row[aria-rowindex="${focused}"] a`)?.focus({ preventScroll: true });
    },
  };
}
