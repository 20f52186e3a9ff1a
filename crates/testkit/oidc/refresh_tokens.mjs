// Refresh tokens as JWTs around those of oidc-provider, which are random texts: clients of Keycloak
// read from the JWT how long they may use it.

import { createHmac, randomBytes } from 'node:crypto';
import * as querystring from 'node:querystring';

import { readBody } from './body.mjs';
import { PATHS } from './paths.mjs';

const SECRET = randomBytes(64);

// Middleware for the token endpoint, before and after that of oidc-provider.
export function rotatingTokens(issuer, settings) {
  return async (ctx, next) => {
    if (ctx.path !== PATHS.token || ctx.method !== 'POST') return next();
    const form = querystring.parse(await readBody(ctx.req));
    if (typeof form.refresh_token === 'string') form.refresh_token = unwrap(form.refresh_token);
    // A body which was read already is taken from here.
    ctx.req.body = form;
    await next();
    if (ctx.body?.refresh_token) {
      const life = settings.refresh_token_seconds;
      const refresh_token = wrap(issuer, life, ctx.body.refresh_token);
      ctx.body = { ...ctx.body, refresh_token, refresh_expires_in: life };
    }
    return undefined;
  };
}

function wrap(issuer, life, jti) {
  const now = Math.floor(Date.now() / 1000);
  const header = encode({ alg: 'HS512', typ: 'JWT' });
  const times = { iat: now, exp: now + life };
  const payload = encode({ ...times, jti, iss: issuer, aud: issuer, typ: 'Refresh' });
  return `${header}.${payload}.${signature(`${header}.${payload}`)}`;
}

// The token of oidc-provider; any other text becomes one which oidc-provider does not know.
function unwrap(token) {
  const [header, payload, found] = token.split('.');
  if (found === undefined || found !== signature(`${header}.${payload}`)) return 'unknown';
  return JSON.parse(Buffer.from(payload, 'base64url')).jti;
}

function encode(value) {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function signature(text) {
  return createHmac('sha512', SECRET).update(text).digest('base64url');
}
