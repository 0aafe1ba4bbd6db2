import { h } from './dom';
import type { Connection } from './api/events';

const texts: Record<Connection, string> = { connecting: 'connecting', live: 'live', lost: 'connection lost, trying again' };

/** Says whether what is seen moves with the service. */
export function connectionMark(): { element: HTMLElement; show(connection: Connection): void } {
  const text = h('span', {}, texts.connecting);
  const element = h('span', { class: 'connection connection-connecting', role: 'status' }, h('span', { class: 'connection-dot', 'aria-hidden': 'true' }), text);
  return {
    element,
    show(connection) {
      element.className = `connection connection-${connection}`;
      text.textContent = texts[connection];
    },
  };
}
