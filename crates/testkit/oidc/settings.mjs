// The settings of the provider: one JSON object, whose missing members have the defaults below.

import { readFileSync } from 'node:fs';

const DEFAULTS = {
  // 0 chooses a free port.
  port: 0,
  // The id of the process with which the provider ends; without it, its parent at the start.
  parent: null,
  realm: 'coredock',
  // One text or a list: `aud` of access tokens.
  audience: 'coredock',
  // Signs access tokens and ID tokens.
  algorithm: 'RS256',
  // The published keys, one for each algorithm.
  algorithms: ['RS256', 'ES256', 'EdDSA'],
  // Private keys (JWK) instead of new ones.
  keys: null,
  // With a sign-in form instead of an automatic sign-in of the default account.
  interactive: false,
  // `login` of the account; without it, the first account.
  default_account: null,
  // "jwt" as of Keycloak, with `exp`, or "opaque".
  refresh_tokens: 'jwt',
  // Lifetimes in seconds.
  access_token_seconds: 300,
  refresh_token_seconds: 1800,
  // [{login, sub, name, email, realm_roles, resource_roles}]
  accounts: [],
  // [{id, secret, redirect_uris, post_logout_redirect_uris, realm_roles, resource_roles}]
  clients: [],
};

// Reads the settings from a file; `-` is standard input.
export function readSettings(path) {
  const given = JSON.parse(readFileSync(path === '-' ? 0 : path, 'utf8'));
  const unknown = Object.keys(given).filter((name) => !(name in DEFAULTS));
  if (unknown.length > 0) throw new Error(`unknown settings: ${unknown.join(', ')}`);
  const settings = { ...DEFAULTS, ...given };
  if (!settings.algorithms.includes(settings.algorithm)) {
    settings.algorithms = [settings.algorithm, ...settings.algorithms];
  }
  const { audience } = settings;
  // As Keycloak does: a list only if there are several.
  if (Array.isArray(audience) && audience.length === 1) [settings.audience] = audience;
  return settings;
}

// The account with this login or `sub`.
export function accountOf(settings, name) {
  return settings.accounts.find(({ login, sub }) => login === name || sub === name);
}

// The account which signs in without a form.
export function defaultAccount(settings) {
  const { default_account: login, accounts } = settings;
  return login === null ? accounts[0] : accountOf(settings, login);
}

// Adds a client, or replaces the client with its id.
export function addClient(settings, client) {
  if (typeof client?.id !== 'string') throw new Error('expected a client with an id');
  settings.clients = [...settings.clients.filter(({ id }) => id !== client.id), client];
}
