// The signing keys, and tokens of any content signed by them. Signatures are made here and not by a
// library of tokens, because such libraries refuse to make the faulty tokens which tests need.

import {
  constants, createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes,
  randomUUID, sign,
} from 'node:crypto';

// What makes a key of an algorithm (RFC 7518, RFC 8037) and a signature by it.
const ALGORITHMS = {
  RS256: { kind: 'rsa', options: { modulusLength: 2048 }, digest: 'sha256' },
  RS384: { kind: 'rsa', options: { modulusLength: 2048 }, digest: 'sha384' },
  RS512: { kind: 'rsa', options: { modulusLength: 2048 }, digest: 'sha512' },
  PS256: { kind: 'rsa', options: { modulusLength: 2048 }, digest: 'sha256', pss: true },
  ES256: { kind: 'ec', options: { namedCurve: 'P-256' }, digest: 'sha256' },
  ES384: { kind: 'ec', options: { namedCurve: 'P-384' }, digest: 'sha384' },
  EdDSA: { kind: 'ed25519', options: {}, digest: null },
};
const HMACS = { HS256: 'sha256', HS384: 'sha384', HS512: 'sha512' };
// What a JWK has beyond its public half.
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi'];

// A new private key as a JWK.
export function newKey(alg, kid = `${alg}-${randomBytes(8).toString('hex')}`) {
  const { kind, options } = algorithm(alg);
  const { privateKey } = generateKeyPairSync(kind, options);
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg, kid };
}

export function publicHalf(key) {
  return Object.fromEntries(
    Object.entries(key).filter(([member]) => !PRIVATE_MEMBERS.includes(member)),
  );
}

function algorithm(alg) {
  const found = ALGORITHMS[alg];
  if (!found) throw new Error(`unknown algorithm ${alg}`);
  return found;
}

// A token as the request describes it:
// - `alg`: the algorithm, also `none` and HS256 (whose secret is the public RSA key);
// - `key`: `provider`, or `foreign` for a key which is not published;
// - `kid`: another key id for the header; null leaves it out;
// - `header`, `claims`: members to add or replace; null removes a member;
// - `payload`: the whole payload instead, as JSON or, if it is a text, as it is.
export function signToken(request, keys, { issuer, audience, algorithm: preferred }) {
  const { alg = preferred, key: owner = 'provider', payload } = request;
  const key = owner === 'foreign' && alg in ALGORITHMS ? newKey(alg) : published(keys, alg);
  const kid = request.kid === undefined ? key.kid : request.kid;
  const header = merged({ alg, typ: 'JWT', kid }, request.header);
  const content = payload ?? merged(usualClaims(issuer, audience), request.claims);
  const text = typeof content === 'string' ? content : JSON.stringify(content);
  const signed = `${base64url(JSON.stringify(header))}.${base64url(text)}`;
  return `${signed}.${signature(alg, key, signed).toString('base64url')}`;
}

function published(keys, alg) {
  const signs = alg in ALGORITHMS ? (key) => key.alg === alg : (key) => key.kty === 'RSA';
  const found = keys.find(signs);
  if (!found) throw new Error(`the provider has no key for ${alg}`);
  return found;
}

function usualClaims(issuer, audience) {
  const now = Math.floor(Date.now() / 1000);
  const times = { iat: now, exp: now + 300 };
  return { ...times, jti: randomUUID(), iss: issuer, aud: audience, typ: 'Bearer' };
}

function merged(members, changes = {}) {
  const all = Object.entries({ ...members, ...changes });
  return Object.fromEntries(all.filter(([, value]) => value !== null));
}

function signature(alg, jwk, text) {
  if (alg === 'none') return Buffer.alloc(0);
  const key = createPrivateKey({ key: jwk, format: 'jwk' });
  if (alg in HMACS) {
    const secret = createPublicKey(key).export({ type: 'spki', format: 'pem' });
    return createHmac(HMACS[alg], secret).update(text).digest();
  }
  const { digest, pss } = algorithm(alg);
  const padding = pss
    ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
    : {};
  return sign(digest, Buffer.from(text), { key, dsaEncoding: 'ieee-p1363', ...padding });
}

function base64url(text) {
  return Buffer.from(text).toString('base64url');
}
