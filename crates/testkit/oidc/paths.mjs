// The paths of a realm of Keycloak, below its issuer.

const PROTOCOL = '/protocol/openid-connect';

export const PATHS = {
  discovery: '/.well-known/openid-configuration',
  authorization: `${PROTOCOL}/auth`,
  token: `${PROTOCOL}/token`,
  certs: `${PROTOCOL}/certs`,
  userinfo: `${PROTOCOL}/userinfo`,
  logout: `${PROTOCOL}/logout`,
  login: '/login-actions/authenticate/',
};
