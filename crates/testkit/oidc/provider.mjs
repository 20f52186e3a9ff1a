// An OpenID Connect provider for tests on a port of 127.0.0.1: `node provider.mjs SETTINGS`, where
// SETTINGS is a JSON file (see settings.mjs). Once it listens, it prints one line of JSON with
// `issuer` and `port`. It ends with the process which started it.

import { createServer } from 'node:http';

import { handleControl } from './control.mjs';
import { send } from './faults.mjs';
import { handleLogin } from './login.mjs';
import { PATHS } from './paths.mjs';
import { Realm } from './realm.mjs';
import { readSettings } from './settings.mjs';

const FETCHED = ['discovery', 'certs', 'token'];
const PARENT_CHECK_MILLISECONDS = 200;

const settings = readSettings(process.argv[2]);
const base = `/realms/${settings.realm}`;
let realm;

const server = createServer((request, response) => {
  handle(request, response).catch((error) => {
    const text = JSON.stringify({ error: error.error_description ?? error.message });
    if (!response.headersSent) send(response, error.statusCode ?? 500, text);
  });
});
server.listen(settings.port, '127.0.0.1', () => {
  const { port } = server.address();
  const issuer = `http://127.0.0.1:${port}${base}`;
  realm = new Realm(issuer, settings);
  console.log(JSON.stringify({ issuer, port }));
});
endWithParent();

async function handle(request, response) {
  if (request.url.startsWith('/test/')) return handleControl(realm, request, response);
  if (!request.url.startsWith(`${base}/`)) return send(response, 404, '{"error":"unknown path"}');
  const url = request.url.slice(base.length);
  const { pathname } = new URL(url, 'http://localhost');
  if (pathname.startsWith(PATHS.login)) {
    return handleLogin(realm.provider, settings, request, response);
  }
  const endpoint = FETCHED.find((name) => PATHS[name] === pathname);
  const { faults, keys } = realm;
  if (endpoint && await faults.handle(endpoint, request, response, keys)) return undefined;
  // oidc-provider finds the path at which it is mounted by the difference of the two.
  request.originalUrl = request.url;
  request.url = url;
  return realm.callback(request, response);
}

// A test that is killed cannot stop its provider.
function endWithParent() {
  const parent = settings.parent ?? process.ppid;
  const check = () => { if (process.ppid !== parent) process.exit(0); };
  setInterval(check, PARENT_CHECK_MILLISECONDS).unref();
}
