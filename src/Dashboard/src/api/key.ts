// The caller's key: in session storage, which ends with the tab, and nowhere else.
import { h } from '../dom';

const name = 'bnservice.key';

export const storedKey = (): string | null => sessionStorage.getItem(name);
export const forgetKey = (): void => sessionStorage.removeItem(name);

let asking: Promise<void> | null = null;

/** Asks for a key, once for all calls that wait for it. Done when there is one to try. */
export function askForKey(reason: string): Promise<void> {
  asking ??= new Promise<void>((given) => {
    const input = h('input', { type: 'password', id: 'key', name: 'key', autocomplete: 'off', spellcheck: 'false', required: true, placeholder: 'bn_…' });
    const dialog = h(
      'dialog',
      { 'aria-labelledby': 'key-title', class: 'asks' },
      h(
        'form',
        {
          method: 'dialog',
          onsubmit: () => {
            sessionStorage.setItem(name, input.value.trim());
            given();
          },
        },
        h('h2', { id: 'key-title' }, 'This service asks for a key'),
        h('p', { role: 'alert' }, reason),
        h('label', { for: 'key' }, 'API key'),
        input,
        h('p', { class: 'note' }, 'It is kept in this tab until you close it, and sent in a header only.'),
        h('div', { class: 'buttons' }, h('button', { class: 'primary', type: 'submit' }, 'Use this key')),
      ),
    );
    // Without a key there is nothing to look at: the question stays.
    dialog.addEventListener('cancel', (event) => event.preventDefault());
    dialog.addEventListener('close', () => {
      dialog.remove();
      if (!storedKey()) queueMicrotask(() => void askForKey(reason));
    });
    document.body.append(dialog);
    dialog.showModal();
  }).finally(() => {
    asking = null;
  });
  return asking;
}
