// What tokens say of users and clients.

import { accountOf } from './settings.mjs';

export function idOf({ sub, login }) {
  return sub ?? login;
}

// The claims of a user; those of absent members are left out.
export function accountClaims(account) {
  const { login, name, email } = account;
  const verified = email === undefined ? undefined : true;
  return { sub: idOf(account), preferred_username: login, name, email, email_verified: verified };
}

// `azp`, the roles, and name and e-mail address, which Keycloak adds to access tokens. Tokens of a
// client without a user have the roles of the client.
export function roleClaims(settings, { accountId, clientId }) {
  const account = accountId && accountOf(settings, accountId);
  const client = settings.clients.find(({ id }) => id === clientId);
  const { realm_roles: realm, resource_roles: resource } = account || client || {};
  const { sub: _sub, ...personal } = account ? accountClaims(account) : {};
  const claims = { azp: clientId, typ: 'Bearer', ...personal };
  if (realm) claims.realm_access = { roles: realm };
  if (resource) claims.resource_access = resourceAccess(resource);
  return claims;
}

function resourceAccess(roles) {
  return Object.fromEntries(Object.entries(roles).map(([id, names]) => [id, { roles: names }]));
}

// The header and audience of access tokens.
export function keycloakFormat(settings) {
  return (_ctx, _token, jwt) => {
    jwt.header = { typ: 'JWT' };
    jwt.payload.aud = settings.audience;
  };
}
