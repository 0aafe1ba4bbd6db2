import { announce, fill, h, newId } from '../dom';
import { count, toNumbers } from '../format';
import { call, explain, type Schemas, send, type Session, sessionPath } from '../api/client';
import { storedKey } from '../api/key';
import { toOverview, toSession } from '../router';
import { readFile, readText } from './formats/read';
import type { GivenTensor } from './formats/tensor';
import { type MadeCall, snippets } from './snippets';
import { spread } from './spread';

type TrainAnswer = Schemas['TrainStepResponse'];
type InferenceAnswer = Schemas['InferenceResponse'];
type Mode = 'inference' | 'train-step';

// Of a larger body a program is not copied but pointed to the file that it is to read.
const longestSnippet = 20_000;

/** The body of the call: the file as it is where the service reads it, JSON otherwise. */
function bodyOf(given: GivenTensor, mode: Mode): string {
  const data = Array.from(given.data, (value) => (Number.isFinite(value) ? value : Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity'));
  return JSON.stringify({ x: { shape: given.shape, data }, ...(mode === 'train-step' ? { retain: false } : {}) });
}

/** A tensor of the user's own through a session: the histograms of its channels before and after, and the call to copy. */
export function tryIt(root: HTMLElement, name: string, signal: AbortSignal): void {
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const text = h('textarea', { id: 'tensor', rows: 7, spellcheck: 'false', placeholder: '[[1, 2, 3],\n [4, 5, 6]]\n\nor rows of numbers, as in a CSV file' });
  const file = h('input', { type: 'file', id: 'file', accept: '.npy,.safetensors,.csv,.json,.txt' });
  const given = h('p', { class: 'note', role: 'status' }, 'JSON, .npy, .safetensors or CSV. Files are read in this page and sent to this service alone.');
  const drop = h('div', { class: 'drop' }, h('label', { for: 'tensor' }, 'Paste a tensor, or drop a file here'), text, h('div', { class: 'inline' }, h('label', { for: 'file' }, 'or choose a file'), file), given);
  const result = h('div', { class: 'sections' });
  const buttons: Record<Mode, HTMLButtonElement> = {
    inference: h('button', { type: 'button', class: 'primary', onclick: () => void run('inference') }, 'Run inference'),
    'train-step': h('button', { type: 'button', onclick: () => void run('train-step') }, 'Run a train-step'),
  };
  let session: Session | null = null;
  let tensor: GivenTensor | null = null;

  const fail = (error: unknown): void => {
    if (signal.aborted) return;
    problem.hidden = false;
    problem.textContent = explain(error);
  };
  const take = async (chosen: File): Promise<void> => {
    problem.hidden = true;
    try {
      tensor = await readFile(chosen);
      text.value = '';
      given.textContent = `${chosen.name}: ${tensor.form}, shape [${tensor.shape.join(', ')}]`;
    } catch (error) {
      tensor = null;
      given.textContent = `${chosen.name} cannot be read.`;
      fail(error);
    }
  };
  text.addEventListener('input', () => {
    tensor = null;
    file.value = '';
    given.textContent = 'The text above is sent.';
  });
  file.addEventListener('change', () => file.files?.[0] && void take(file.files[0]));
  for (const kind of ['dragenter', 'dragover'] as const) drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add('drop-over');
  });
  drop.addEventListener('dragleave', () => drop.classList.remove('drop-over'));
  drop.addEventListener('drop', (event) => {
    event.preventDefault();
    drop.classList.remove('drop-over');
    const [dropped] = event.dataTransfer?.files ?? [];
    if (dropped) void take(dropped);
    else if (event.dataTransfer) {
      text.value = event.dataTransfer.getData('text/plain');
      text.dispatchEvent(new Event('input'));
    }
  });

  async function run(mode: Mode): Promise<void> {
    problem.hidden = true;
    for (const button of Object.values(buttons)) button.disabled = true;
    try {
      session ??= await call('get', '/v1/sessions/{session}', { path: { session: name }, signal });
      const sent = tensor ?? readText(text.value);
      given.textContent = `${sent.form}, shape [${sent.shape.join(', ')}]`;
      const path = `${sessionPath(name)}/${mode}${mode === 'train-step' && sent.file?.mediaType === 'application/x-npy' ? '?retain=false' : ''}`;
      const json = sent.file ? null : bodyOf(sent, mode);
      const response = await send(path, {
        method: 'POST', body: json ?? sent.file!.bytes, signal,
        headers: { 'Content-Type': json === null ? sent.file!.mediaType : 'application/json', Accept: 'application/json' },
      });
      const answer = (await response.json()) as TrainAnswer | InferenceAnswer;
      if (signal.aborted) return;
      show(mode, sent, answer, { origin: location.origin, path, json, given: sent, needsKey: storedKey() !== null });
      announce(`${mode} done`);
    } catch (error) {
      fail(error);
    } finally {
      for (const button of Object.values(buttons)) button.disabled = false;
    }
  }

  function show(mode: Mode, sent: GivenTensor, answer: TrainAnswer | InferenceAnswer, made: MadeCall): void {
    const y = answer.y as Exclude<Schemas['Tensor'], unknown[]>;
    const said = 'count' in answer
      ? `Train-step ${count(answer.num_batches_tracked)}: normalized with the statistics of this batch, ${count(answer.count)} values each, which have moved the running ones. The session is at version ${count(answer.version)} now.`
      : `Inference: normalized with the running statistics of version ${count(answer.version)}; nothing has changed.`;
    const warnings = answer.warnings ?? [];
    fill(result,
      h('section', { 'aria-labelledby': 'result' }, h('h2', { id: 'result' }, mode === 'inference' ? 'Inference' : 'Train-step'), h('p', {}, said),
        warnings.length === 0 ? null : h('ul', { class: 'findings' }, ...warnings.map((warning) => h('li', { class: 'finding' }, h('p', {}, warning.detail), h('p', { class: 'remedy' }, h('strong', {}, 'What to do: '), warning.remedy)))),
        h('h3', {}, 'Values of each channel'), spread(session!, sent.shape, sent.data, toNumbers(y.data)),
        h('details', {}, h('summary', {}, 'The answer'), h('pre', { tabindex: 0, 'aria-label': 'The answer' }, h('code', {}, excerpt(JSON.stringify(answer, null, 1)))))),
      callSection(made));
  }

  fill(root,
    h('p', { class: 'back' }, h('a', { href: name === '' ? toOverview : toSession(name) }, name === '' ? '← All sessions' : `← ${name}`)),
    h('h1', {}, `Try ${name}`),
    problem, drop, h('div', { class: 'buttons' }, buttons.inference, buttons['train-step'], h('span', { class: 'note' }, 'A train-step moves the session’s statistics; inference changes nothing.')), result);
  call('get', '/v1/sessions/{session}', { path: { session: name }, signal }).then((found) => {
    session = found;
    const width = found.normalized_shape ? found.normalized_shape.join(', ') : String(found.num_features);
    given.textContent = `${given.textContent ?? ''} This session takes ${found.normalized_shape ? `rows of [${width}]` : `${width} channels on ${found.channel_axis === -1 ? 'the last axis' : 'axis 1'}`}.`;
  }).catch(fail);
}

const excerpt = (text: string): string => (text.length > 4000 ? `${text.slice(0, 4000)}\n… ${count(text.length - 4000)} more characters` : text);

/** The same call as programs make it, each with a button that copies it. */
function callSection(made: MadeCall): HTMLElement {
  // Too long to be pasted: the body goes into a file.
  const isLong = made.json !== null && made.json.length > longestSnippet;
  const shown: MadeCall = isLong ? { ...made, json: null, given: { ...made.given, file: { bytes: new ArrayBuffer(0), mediaType: 'application/json', name: 'body.json' } } } : made;
  const tabs = h('div', { role: 'tablist', 'aria-label': 'Language', class: 'tabs' });
  const code = h('code');
  const panel = h('pre', { role: 'tabpanel', tabindex: 0, id: newId('snippet') }, code);
  const copy = h('button', { type: 'button' }, 'Copy');
  const languages = Object.keys(snippets);
  const choose = (language: string, focus: boolean): void => {
    for (const tab of tabs.querySelectorAll('button')) {
      const isChosen = tab.textContent === language;
      tab.setAttribute('aria-selected', String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      if (!isChosen) continue;
      panel.setAttribute('aria-labelledby', tab.id);
      if (focus) tab.focus();
    }
    code.textContent = snippets[language]!(shown);
    copy.textContent = 'Copy';
  };
  for (const language of languages) {
    const tab = h('button', { type: 'button', role: 'tab', id: newId('tab'), 'aria-controls': panel.id, onclick: () => choose(language, false) }, language);
    tabs.append(tab);
  }
  tabs.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    const at = languages.indexOf(tabs.querySelector('[aria-selected="true"]')?.textContent ?? '');
    choose(languages[(at + step + languages.length) % languages.length]!, true);
  });
  copy.addEventListener('click', () => {
    void copyText(code.textContent ?? '').then((isCopied) => {
      copy.textContent = isCopied ? 'Copied' : 'Select and copy it by hand';
      announce(copy.textContent);
    });
  });
  choose(languages[0]!, false);
  return h('section', { 'aria-labelledby': 'call' }, h('h2', { id: 'call' }, 'The same call'),
    isLong ? h('p', {}, 'The body is too long to paste: ', h('button', { type: 'button', onclick: () => download(made.json!) }, 'Save body.json'), ' and run the call beside it.') : null,
    h('div', { class: 'snippet' }, h('div', { class: 'inline' }, tabs, copy), panel));
}

// The clipboard is there on https and localhost alone.
async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h('textarea', { class: 'spoken', 'aria-hidden': 'true' });
    area.value = text;
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand('copy');
    area.remove();
    return isCopied;
  }
}

function download(json: string): void {
  const url = URL.createObjectURL(new Blob([json], { type: 'application/json' }));
  h('a', { href: url, download: 'body.json' }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
