import { announce, h } from '../dom';
import { explain } from '../api/client';
import { toSession } from '../router';
import { createSample } from './sample';

const create = `curl ${location.origin}/v1/sessions \\
  -H 'Content-Type: application/json' \\
  -d '{"name":"demo","num_features":3}'`;
const train = `curl ${location.origin}/v1/sessions/demo/train-step \\
  -H 'Content-Type: application/json' \\
  -d '{"x":[[1,10,100],[2,20,200],[3,30,300],[4,40,400]]}'`;

/** What to do on an empty service, in three steps, and a sample for who would rather look. */
export function firstVisit(signal: AbortSignal): HTMLElement {
  const progress = h('progress', { max: 1, value: 0, hidden: true, 'aria-label': 'Training the sample' });
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const button = h('button', { type: 'button', class: 'primary' }, 'Create a sample session from the wine data');
  button.addEventListener('click', () => {
    button.disabled = true;
    progress.hidden = false;
    problem.hidden = true;
    announce('Creating the sample session');
    createSample((done) => (progress.value = done))
      .then((name) => {
        if (!signal.aborted) location.hash = toSession(name);
      })
      .catch((error: unknown) => {
        problem.hidden = false;
        problem.textContent = explain(error);
        button.disabled = false;
        progress.hidden = true;
      });
  });
  const step = (title: string, text: string, code?: string): HTMLElement =>
    h('li', {}, h('h3', {}, title), h('p', {}, text), code === undefined ? null : h('pre', { tabindex: 0, 'aria-label': title }, h('code', {}, code)));
  return h(
    'section', { class: 'first-visit', 'aria-labelledby': 'first-visit' },
    h('h2', { id: 'first-visit' }, 'Begin in three steps'),
    h('ol', {},
      step('Create a session', 'A session holds one normalization layer: gamma, beta, running mean and running variance.', create),
      step('Train it batch by batch', 'Each batch is normalized with its own statistics and moves the running ones. The overview shows it at once.', train),
      step('Look at it here', 'Open the session to see whether it has settled, whether training and serving agree, and what to do if not.')),
    h('div', { class: 'sample' },
      h('h3', {}, 'Or look at one that is there already'),
      h('p', {}, '178 wines with 13 measurements each, in 80 train-steps. It takes a moment.'),
      button, progress, problem),
  );
}
