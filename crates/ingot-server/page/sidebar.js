// The list of chats, and the drawer it lies in on small screens.

import { byId, h } from './dom.js';

const small = matchMedia('(max-width: 800px)');

/**
 * Lists the chats.
 * @param {import('./chat.js').Chat[]} chats
 * @param {import('./chat.js').Chat} current
 * @param {(chat: import('./chat.js').Chat) => boolean} isWriting whether an answer is being written there
 */
export function list(chats, current, isWriting) {
  const rows = chats.map((chat) => {
    const link = h(
      'a',
      { href: `#${chat.id}`, 'aria-current': chat === current ? 'page' : null, dir: 'auto' },
      chat.title,
    );
    if (isWriting(chat)) link.append(h('span', { class: 'unseen' }, ', being answered'));
    return h('li', { class: isWriting(chat) ? 'writing' : null }, link);
  });
  const list = byId('chats');
  const at = [...list.children].findIndex((row) => row.contains(document.activeElement));
  list.replaceChildren(...rows);
  rows[at]?.firstChild.focus();
}

/** Opens or closes the list. */
export function toggle(open = document.body.dataset.sidebar !== 'open') {
  document.body.dataset.sidebar = open ? 'open' : 'closed';
  byId('toggle').setAttribute('aria-expanded', open);
  byId('sidebar').inert = !open;
  byId('main').inert = open && small.matches;
  if (open && small.matches) byId('new-chat').focus();
}

/** Closes the list if it lies over the chat; says whether it did. */
export function closeDrawer() {
  const open = small.matches && document.body.dataset.sidebar === 'open';
  if (open) toggle(false);
  return open;
}

/** Makes the drawer work. */
export function setUp() {
  byId('toggle').addEventListener('click', () => toggle());
  byId('backdrop').addEventListener('click', closeDrawer);
  byId('close-sidebar').addEventListener('click', closeDrawer);
  small.addEventListener('change', () => toggle(!small.matches));
  toggle(!small.matches);
}
