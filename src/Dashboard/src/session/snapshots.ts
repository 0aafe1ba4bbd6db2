import { announce, fill, h } from '../dom';
import { count, short, time, toNumbers } from '../format';
import { call, explain, type Schemas, type Snapshot } from '../api/client';
import type { SessionModel } from './model';

type Parts = Pick<Schemas['StateResponse'], 'running_mean' | 'running_var' | 'gamma' | 'beta'>;

const compared = [['running_mean', 'Running mean'], ['running_var', 'Running variance'], ['gamma', 'gamma'], ['beta', 'beta']] as const;
const mostRows = 8;

/** Snapshots: taken, compared with what is now, and restored. */
export function snapshots(model: SessionModel, changed: () => Promise<void>): { element: HTMLElement; update(): void } {
  const list = h('div');
  const comparison = h('div', { 'aria-live': 'polite' });
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const description = h('input', { id: 'snapshot-description', maxlength: 256, placeholder: 'what it is for (optional)', autocomplete: 'off' });
  const take = h('button', { type: 'submit' }, 'Take a snapshot');
  const path = { session: model.name };

  const run = async (what: string, work: () => Promise<void>): Promise<void> => {
    problem.hidden = true;
    try {
      await work();
      announce(what);
    } catch (error) {
      problem.hidden = false;
      problem.textContent = explain(error);
    }
  };
  const form = h('form', { class: 'inline', onsubmit: (event: Event) => {
    event.preventDefault();
    void run('Snapshot taken', async () => {
      await call('post', '/v1/sessions/{session}/snapshots', { path, body: { description: description.value.trim() || null } });
      description.value = '';
      await changed();
    });
  } }, h('label', { for: 'snapshot-description' }, 'Description'), description, take);

  const compare = (snapshot: Snapshot): Promise<void> => run('Comparison shown', async () => {
    // What is now is not what was when the page was last drawn.
    await changed();
    const details = await call('get', '/v1/sessions/{session}/snapshots/{version}', { path: { ...path, version: snapshot.version } });
    fill(comparison, ...differences(snapshot, details.state, model.seen!.stats as Parts, model.seen!.session.version));
  });
  const restore = (snapshot: Snapshot): void => {
    const yes = h('button', { type: 'submit', class: 'primary', value: 'yes' }, 'Restore');
    const dialog = h('dialog', { class: 'asks', 'aria-labelledby': 'restore-title' },
      h('form', { method: 'dialog' },
        h('h2', { id: 'restore-title' }, `Restore version ${snapshot.version}?`),
        h('p', {}, 'Its state becomes the newest one, under a new version. What has been trained since is no longer part of it; take a snapshot first to keep that.'),
        h('div', { class: 'buttons' }, h('button', { type: 'submit', value: 'no' }, 'Cancel'), yes)));
    dialog.addEventListener('close', () => {
      dialog.remove();
      if (dialog.returnValue !== 'yes') return;
      void run(`Version ${snapshot.version} restored`, async () => {
        await call('post', '/v1/sessions/{session}/snapshots/{version}/restore', { path: { ...path, version: snapshot.version } });
        comparison.replaceChildren();
        await changed();
      });
    });
    document.body.append(dialog);
    dialog.showModal();
  };
  const row = (snapshot: Snapshot): HTMLElement => h('tr', {},
    h('th', { scope: 'row' }, `version ${snapshot.version}`), h('td', {}, snapshot.description ?? '–'), h('td', { class: 'number' }, `${count(snapshot.num_batches_tracked)} steps`), h('td', {}, time(snapshot.created_at)),
    h('td', {}, h('div', { class: 'buttons' },
      h('button', { type: 'button', onclick: () => void compare(snapshot), 'aria-label': `Compare version ${snapshot.version} with now` }, 'Compare'),
      h('button', { type: 'button', onclick: () => restore(snapshot), 'aria-label': `Restore version ${snapshot.version}` }, 'Restore'))));
  let last = '';
  return {
    element: h('section', { 'aria-labelledby': 'snapshots' }, h('h2', { id: 'snapshots' }, 'Snapshots'), form, problem, list, comparison),
    update() {
      const all = model.seen!.snapshots;
      const text = JSON.stringify(all);
      if (text === last) return;
      last = text;
      fill(list, all.length === 0
        ? h('p', { class: 'note' }, 'None yet. A snapshot freezes the state under its version; inference can go on with it while training changes the session.')
        : h('div', { class: 'scrolls', tabindex: 0, role: 'region', 'aria-label': 'List of snapshots' }, h('table', {}, h('thead', {}, h('tr', {}, ...['Snapshot', 'Description', 'Steps', 'Taken', 'What to do'].map((name) => h('th', { scope: 'col' }, name)))), h('tbody', {}, ...all.map(row)))));
    },
  };
}

function differences(snapshot: Snapshot, then: Parts, now: Parts, version: number): HTMLElement[] {
  const blocks = compared.flatMap(([field, title]) => {
    const [before, after] = [toNumbers(then[field]), toNumbers(now[field])];
    if (before.length === 0 && after.length === 0) return [];
    if (before.length !== after.length) return [h('p', {}, `${title}: ${count(before.length)} values then, ${count(after.length)} now.`)];
    const changes = before.map((value, channel) => ({ channel, value, after: after[channel]!, difference: after[channel]! - value })).filter((change) => change.difference !== 0);
    if (changes.length === 0) return [h('p', {}, `${title}: the same in all ${count(before.length)} channels.`)];
    changes.sort((a, b) => Math.abs(b.difference) - Math.abs(a.difference));
    const rows = changes.slice(0, mostRows).map((change) => h('tr', {}, h('th', { scope: 'row' }, change.channel), ...[change.value, change.after, change.difference].map((value) => h('td', { class: 'number' }, short(value)))));
    return [h('table', {}, h('caption', {}, `${title}: ${count(changes.length)} of ${count(before.length)} channels differ${changes.length > mostRows ? `, the ${mostRows} that differ most` : ''}`),
      h('thead', {}, h('tr', {}, ...['Channel', 'Then', 'Now', 'Difference'].map((name) => h('th', { scope: 'col' }, name)))), h('tbody', {}, ...rows))];
  });
  return [h('h3', {}, `Version ${snapshot.version} against version ${version}`), h('div', { class: 'comparison' }, ...blocks)];
}
