// Faults of the endpoints which clients fetch without a user, and the counts of their requests.

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { newKey, publicHalf } from './keys.mjs';

// Larger than any document which a client may read.
const HUGE_BYTES = 100 * 1024 * 1024;
const PIECE = Buffer.alloc(64 * 1024, 'a');
// The query of a redirected request: it is answered without a fault.
const FOLLOWED = 'followed';

export class Faults {
  #faults = new Map();

  #counts = new Map();

  #hanging = [];

  // Sets the fault of one endpoint.
  set({ endpoint, ...fault }) {
    if (!['discovery', 'certs', 'token'].includes(endpoint)) {
      throw new Error(`expected endpoint discovery, certs or token, found ${endpoint}`);
    }
    if (!(fault.kind in KINDS) && fault.kind !== 'hang') {
      throw new Error(`unknown kind of fault ${fault.kind}`);
    }
    this.#faults.set(endpoint, fault);
  }

  // Ends all faults; requests which hang are answered.
  reset() {
    this.#faults.clear();
    this.#hanging.splice(0).forEach((proceed) => proceed());
  }

  // The numbers of requests by endpoint; `followed` counts redirects which a client followed.
  counts() {
    const zeros = { discovery: 0, certs: 0, token: 0, followed: 0 };
    return { ...zeros, ...Object.fromEntries(this.#counts) };
  }

  // Counts a request, and answers it if its endpoint has a fault. Returns whether it is answered.
  async handle(endpoint, request, response, keys) {
    const followed = new URL(request.url, 'http://localhost').searchParams.has(FOLLOWED);
    this.#count(endpoint);
    if (followed) this.#count('followed');
    const fault = followed ? undefined : this.#faults.get(endpoint);
    if (fault === undefined) return false;
    if (fault.kind === 'hang') {
      await new Promise((proceed) => { this.#hanging.push(proceed); });
      return false;
    }
    await KINDS[fault.kind]({ fault, request, response, keys });
    return true;
  }

  #count(endpoint) {
    this.#counts.set(endpoint, (this.#counts.get(endpoint) ?? 0) + 1);
  }
}

const KINDS = {
  // To the same document, so that a client which follows would succeed.
  redirect({ request, response }) {
    const mark = request.url.includes('?') ? '&' : '?';
    response.writeHead(302, { location: `${request.url}${mark}${FOLLOWED}`, 'content-length': 0 });
    response.end();
  },
  // Without a length, so that a client has to count the bytes. A client that has enough hangs up.
  async huge({ response }) {
    response.writeHead(200, { 'content-type': 'application/json' });
    await pipeline(Readable.from(hugeText()), response).catch(() => {});
  },
  malformed({ response }) {
    send(response, 200, '{"keys": [{');
  },
  // Any status and body.
  answer({ fault, response }) {
    send(response, fault.status ?? 200, fault.body ?? '');
  },
  // The connection ends before the end of the body.
  cut({ response }) {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 });
    response.write('{"keys": [', () => response.destroy());
  },
  // Before each key comes another key with the same id.
  duplicate_kids({ response, keys }) {
    const twins = keys.flatMap((key) => [newKey(key.alg, key.kid), key]);
    sendKeys(response, twins.map(publicHalf));
  },
  // Among keys which no client knows.
  unknown_kinds({ response, keys }) {
    const encrypting = { ...publicHalf(newKey('RS256')), use: 'enc', alg: 'RSA-OAEP' };
    const strange = [
      { kty: 'new', kid: 'new', alg: 'NEW256', use: 'sig' },
      { kty: 'oct', kid: 'secret', k: 'AAAA' },
      { kty: 'EC', crv: 'P-521', kid: 'p521', x: 'AA', y: 'AA' },
      { kty: 'OKP', crv: 'X25519', kid: 'x25519', x: 'AA' },
      encrypting, {}, null, 5, 'text', [],
    ];
    sendKeys(response, [...strange, ...keys.map(publicHalf)]);
  },
};

function* hugeText() {
  yield '{"keys":[],"padding":"';
  for (let sent = 0; sent < HUGE_BYTES; sent += PIECE.length) yield PIECE;
  yield '"}';
}

function sendKeys(response, keys) {
  send(response, 200, JSON.stringify({ keys }));
}

export function send(response, status, body, type = 'application/json') {
  const content = Buffer.from(body);
  response.writeHead(status, { 'content-type': type, 'content-length': content.length });
  response.end(content);
}
