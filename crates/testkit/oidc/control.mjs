// The endpoints below /test/, by which tests control the provider; bodies and answers are JSON.

import { readBody } from './body.mjs';
import { send } from './faults.mjs';

// Answers a request of a test. A request which is not valid is answered with status 400.
export async function handleControl(realm, request, response) {
  const action = ACTIONS[`${request.method} ${request.url}`];
  if (!action) return send(response, 404, JSON.stringify({ error: 'unknown endpoint' }));
  try {
    const text = await readBody(request);
    const answer = action(realm, text === '' ? {} : JSON.parse(text));
    return send(response, 200, JSON.stringify(answer ?? {}));
  } catch (error) {
    return send(response, 400, JSON.stringify({ error: error.message }));
  }
}

const ACTIONS = {
  'POST /test/tokens': (realm, request) => ({ token: realm.sign(request) }),
  'POST /test/rotate': (realm, options) => realm.rotate(options),
  'POST /test/clients': (realm, client) => realm.addClient(client),
  // What a provider needs to go on after a restart.
  'GET /test/state': (realm) => ({ keys: realm.keys, clients: realm.settings.clients }),
  'GET /test/fetches': (realm) => realm.faults.counts(),
  'POST /test/faults': (realm, fault) => realm.faults.set(fault),
  'DELETE /test/faults': (realm) => realm.faults.reset(),
};
