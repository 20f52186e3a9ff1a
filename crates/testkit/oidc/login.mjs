// Sign-in: automatic, or by a form with the login and no password.

import { readBody } from './body.mjs';
import { idOf } from './claims.mjs';
import { send } from './faults.mjs';
import { accountOf, defaultAccount } from './settings.mjs';

// The page to which the provider sends a browser that has to sign in. Consent is never asked for.
export async function handleLogin(provider, settings, request, response) {
  const { prompt, params } = await provider.interactionDetails(request, response);
  if (prompt.name !== 'login') throw new Error(`unexpected prompt ${prompt.name}`);
  if (!settings.interactive) {
    const named = params.login_hint && accountOf(settings, params.login_hint);
    return finish(provider, request, response, named || defaultAccount(settings));
  }
  if (request.method !== 'POST') return send(response, 200, form(), 'text/html; charset=utf-8');
  const login = new URLSearchParams(await readBody(request)).get('login');
  const account = accountOf(settings, login);
  if (account) return finish(provider, request, response, account);
  return send(response, 401, form('Unknown login'), 'text/html; charset=utf-8');
}

function finish(provider, request, response, account) {
  if (!account) throw new Error('there is no account which could sign in');
  const result = { login: { accountId: idOf(account) } };
  return provider.interactionFinished(request, response, result);
}

function form(fault = '') {
  return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Sign in</title></head><body>
<h1>Sign in</h1><p id="fault">${fault}</p>
<form method="post"><label>Login <input type="text" name="login" autofocus required></label>
<button type="submit">Sign in</button></form>
</body></html>
`;
}
