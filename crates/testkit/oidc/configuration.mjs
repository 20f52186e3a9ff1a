// oidc-provider, configured to look like a realm of Keycloak: its paths, JWT access tokens with
// roles, refresh tokens without `offline_access`, no question for consent.

import { randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';

import { accountClaims, idOf, keycloakFormat, roleClaims } from './claims.mjs';
import { PATHS } from './paths.mjs';
import { rotatingTokens } from './refresh_tokens.mjs';
import { accountOf } from './settings.mjs';
import { Storage } from './storage.mjs';

// The resource of all access tokens; clients need not name it.
const RESOURCE = 'urn:coredock:api';
const RESOURCE_SCOPE = 'openid profile email';

const ROUTES = {
  authorization: PATHS.authorization,
  token: PATHS.token,
  jwks: PATHS.certs,
  userinfo: PATHS.userinfo,
  end_session: PATHS.logout,
};

// Cookies stay valid when the provider is created again with other keys or clients.
const COOKIE_KEYS = [randomBytes(32).toString('hex')];

// A provider with these keys. All providers of a process share sessions and tokens.
export function newProvider(issuer, settings, keys) {
  const { pathname } = new URL(issuer);
  const provider = new Provider(issuer, {
    ...tokens(settings),
    adapter: Storage,
    routes: ROUTES,
    interactions: { url: (_ctx, { uid }) => `${pathname}${PATHS.login}${uid}` },
    cookies: { keys: COOKIE_KEYS },
    jwks: { keys },
    clients: settings.clients.map(clientMetadata),
    clientDefaults: { id_token_signed_response_alg: settings.algorithm },
    pkce: { required: () => true },
    features: features(settings),
    findAccount: (_ctx, id) => findAccount(settings, id),
    loadExistingGrant: grantEverything,
    renderError(ctx, out) { ctx.body = out; },
  });
  // Tests show the answer when they fail, and their output does not contain the log.
  provider.on('server_error', explain);
  provider.on('grant.error', explain);
  provider.use(signOutWithoutForm);
  if (settings.refresh_tokens === 'jwt') provider.use(rotatingTokens(issuer, settings));
  return provider;
}

function tokens(settings) {
  const { access_token_seconds: access, refresh_token_seconds: refresh } = settings;
  return {
    scopes: ['openid', 'profile', 'email', 'offline_access'],
    claims: {
      openid: ['sub'],
      profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'],
    },
    // ID tokens contain name and e-mail address, as those of Keycloak do.
    conformIdTokenClaims: false,
    extraTokenClaims: (_ctx, token) => roleClaims(settings, token),
    formats: { customizers: { jwt: keycloakFormat(settings) } },
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    ttl: {
      AccessToken: access,
      ClientCredentials: access,
      IdToken: access,
      RefreshToken: refresh,
      AuthorizationCode: 60,
      Interaction: 600,
      Session: 36_000,
      Grant: 36_000,
    },
  };
}

function features(settings) {
  const resource = {
    scope: RESOURCE_SCOPE,
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: settings.algorithm } },
    // Replaced by the setting, which may be a list, when the token is made.
    audience: RESOURCE,
  };
  return {
    devInteractions: { enabled: false },
    rpInitiatedLogout: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => RESOURCE,
      useGrantedResource: () => true,
      getResourceServerInfo: () => resource,
    },
  };
}

// A client with redirect URIs signs users in; every client with a secret has its own tokens too.
function clientMetadata({ id, secret, redirect_uris: uris = [], ...client }) {
  const user = uris.length > 0 ? ['authorization_code', 'refresh_token'] : [];
  const own = secret === undefined ? [] : ['client_credentials'];
  return {
    client_id: id,
    ...(secret === undefined ? {} : { client_secret: secret }),
    token_endpoint_auth_method: secret === undefined ? 'none' : 'client_secret_basic',
    grant_types: [...user, ...own],
    response_types: user.length > 0 ? ['code'] : [],
    redirect_uris: uris,
    post_logout_redirect_uris: client.post_logout_redirect_uris ?? [],
  };
}

function findAccount(settings, id) {
  const account = accountOf(settings, id);
  if (!account) return undefined;
  return { accountId: idOf(account), claims: () => accountClaims(account) };
}

// Consent to all that the client asks for. A session keeps its grant, because tokens of another
// grant would end.
async function grantEverything(ctx) {
  const { client, params, provider, session } = ctx.oidc;
  const { clientId } = client;
  const known = session.grantIdFor(clientId);
  const found = known && await provider.Grant.find(known);
  const grant = found || new provider.Grant({ clientId, accountId: session.accountId });
  grant.addOIDCScope(params.scope);
  grant.addResourceScope(RESOURCE, RESOURCE_SCOPE);
  await grant.save();
  return grant;
}

// Adds the reason, which oidc-provider conceals, to the answer.
function explain(ctx, { message, error_detail: detail }) {
  if (typeof ctx.body === 'object') ctx.body = { ...ctx.body, error_detail: detail ?? message };
}

// Ends the session at once, without the form by which the user would confirm it.
async function signOutWithoutForm(ctx, next) {
  await next();
  if (ctx.oidc?.route !== 'end_session' || ctx.status !== 200) return;
  const { session } = ctx.oidc;
  const { postLogoutRedirectUri, state } = session.state;
  const target = new URL(postLogoutRedirectUri ?? ctx.oidc.urlFor('end_session_success'));
  if (postLogoutRedirectUri && state) target.searchParams.set('state', state);
  await session.destroy();
  ctx.redirect(target.href);
}
