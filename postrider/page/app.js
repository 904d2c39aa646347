// Which of the two screens is shown, and who is signed in. A session belongs to its window: two windows are two people.

import { Desk } from './desk.js';
import { welcome } from './start.js';

const KEPT = 'postrider';
let desk = null;

/** Whoever came by the link of a first window writes to the person who opened it. */
const invitedBy = new URLSearchParams(location.hash.slice(1)).get('with');

function enter(session) {
  sessionStorage.setItem(KEPT, JSON.stringify(session));
  desk = new Desk(session, {
    invitedBy,
    keep: (more) => sessionStorage.setItem(KEPT, JSON.stringify(Object.assign(session, more))),
    left: (why) => {
      sessionStorage.removeItem(KEPT);
      desk = null;
      begin(why);
    },
  });
  desk.open();
}

function begin(why = '') {
  welcome({ why, second: invitedBy !== null, signedIn: enter });
}

const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? 'null');
if (kept) enter(kept);
else begin();
