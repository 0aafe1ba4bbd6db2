import { announce, fill, h } from '../dom';
import { count, short, time } from '../format';
import { explain, type InferenceStep, Refusal, type Session, sessionPath, type Step } from '../api/client';
import { watch } from '../api/events';
import { connectionMark } from '../connection';
import { healthMark } from '../health';
import { toOverview, toTry } from '../router';
import { channels } from './channels';
import { course } from './course';
import { convergence, findings } from './findings';
import { SessionModel } from './model';
import { snapshots } from './snapshots';

const betweenReads = 1000;

function facts(session: Session): HTMLElement {
  const rows: [string, string][] = [
    ['Kind', session.kind], ['Features', count(session.num_features)], ['Steps', count(session.num_batches_tracked)], ['Version', count(session.version)],
    ['Momentum', session.momentum === null ? 'average over all batches' : short(session.momentum)], ['eps', short(session.eps)], ['Mode', session.mode],
    ['Precision', session.precision],
    ['Channels', session.channel_axis === -1 ? 'last axis' : 'axis 1'], ['Created', time(session.created_at)], ['Last activity', time(session.updated_at)],
    ...Object.entries(session.labels).map(([key, value]): [string, string] => [`Label ${key}`, value]),
  ];
  return h('dl', { class: 'facts' }, ...rows.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
}

/** One session: how it is, what has become of it, and what can be done. */
export function sessionPage(root: HTMLElement, name: string, signal: AbortSignal): void {
  const model = new SessionModel(name, signal);
  const connection = connectionMark();
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const state = h('div', {}, h('p', {}, 'Reading the session …'));
  const follow = (channel: number): void => {
    model.forgetChannels();
    model.follow(channel).then(() => {
      show();
      announce(`Channel ${channel} is followed over time`);
    }).catch(failed);
  };
  const parts = [findings(model), convergence(model), course(model, signal), channels(model, follow, signal), snapshots(model, () => read())];
  const body = h('div', { class: 'sections', hidden: true }, ...parts.map((part) => part.element));
  fill(root,
    h('p', { class: 'back' }, h('a', { href: toOverview }, '← All sessions')),
    h('div', { class: 'title' }, h('h1', {}, name), connection.element, h('a', { class: 'button', href: toTry(name) }, 'Try it')),
    problem, state, body);

  const show = (): void => {
    if (!model.seen) return;
    const { session, diagnosis } = model.seen;
    const { health } = diagnosis;
    fill(state, h('p', { class: 'verdict' }, healthMark(health), ' ', health.reason), facts(session));
    body.hidden = false;
    for (const part of parts) part.update();
  };
  function failed(error: unknown): void {
    if (signal.aborted) return;
    problem.hidden = false;
    problem.textContent = explain(error);
    // What has been deleted does not come back by waiting.
    if (error instanceof Refusal && error.status === 404) {
      if (!model.seen) state.replaceChildren();
      return;
    }
    setTimeout(() => !signal.aborted && void read(), 2000);
  }
  async function read(isFirst = model.seen === null): Promise<void> {
    try {
      await model.read(isFirst);
      if (signal.aborted) return;
      problem.hidden = true;
      show();
    } catch (error) {
      failed(error);
    }
  }

  // Steps are drawn as they come, as often as the screen is; the rest is read anew once a second at most.
  let frame = 0;
  let isReading = false;
  let isStale = false;
  const moved = (): void => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => model.seen && parts[2]!.update());
    if (isReading) return void (isStale = true);
    isReading = true;
    isStale = false;
    void read().then(() => setTimeout(() => {
      isReading = false;
      if (isStale && !signal.aborted) moved();
    }, betweenReads));
  };
  signal.addEventListener('abort', () => cancelAnimationFrame(frame));
  void read().then(() => watch(`${sessionPath(name)}/events`, {
    event: (what, data) => {
      if (what === 'gone') return failed(new Refusal(404, 'session-not-found', 'Deleted', 'this session has been deleted; what you see is what it was'));
      if (what === 'step') model.addStep(data as Step);
      else if (what === 'inference') model.addInference(data as InferenceStep);
      moved();
    },
    state: connection.show,
    resumed: () => void read(true),
    ended: failed,
  }, signal));
}
