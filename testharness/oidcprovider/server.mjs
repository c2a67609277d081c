// An OpenID Provider by another hand (npm oidc-provider), configured as far as it
// goes like the CIE's: signed request objects, PKCE, private_key_jwt, UserInfo
// signed and encrypted, iss in its answers. Everybody who
// comes is logged in as the one person told, and consents.
// Reads its configuration as JSON from stdin, writes {"issuer","jwks"} to stdout,
// ends when stdin does.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { Provider } from 'oidc-provider';

const lines = [];
let started = false;
process.stdin.setEncoding('utf8');
process.stdin.on('data', (text) => {
  lines.push(text);
  if (!started && text.includes('\n')) {
    started = true;
    start(JSON.parse(lines.join(''))).catch((err) => { console.error(err); process.exit(1); });
  }
});
process.stdin.on('end', () => process.exit(0));

async function start({ client, person, acr }) {
  const server = createServer((req, res) => handler(req, res));
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'independent-1' };
  const names = Object.keys(person);
  const provider = new Provider(issuer, {
    clients: [client],
    jwks: { keys: [key] },
    cookies: { keys: [randomUUID()] },
    acrValues: ['https://www.spid.gov.it/SpidL1', 'https://www.spid.gov.it/SpidL2', 'https://www.spid.gov.it/SpidL3'],
    scopes: ['openid'],
    claims: { acr: null, openid: ['sub', 'jti', 'at_hash'], attributes: names },
    // The CIE's ID Tokens have jti and at_hash; this provider's own, from the token
    // endpoint, have none. It does hash what it is given.
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({ accountId: id, claims: async (use) => ({ sub: id, ...(use === 'id_token' ? { jti: randomUUID(), at_hash: issued } : person) }) }),
    pkce: { required: () => true },
    enabledJWA: {
      requestObjectSigningAlgValues: ['RS256'], idTokenSigningAlgValues: ['RS256'], clientAuthSigningAlgValues: ['RS256'],
      userinfoSigningAlgValues: ['RS256'], userinfoEncryptionAlgValues: ['RSA-OAEP-256'], userinfoEncryptionEncValues: ['A256CBC-HS512'],
    },
    clientAuthMethods: ['private_key_jwt'],
    features: {
      devInteractions: { enabled: false },
      claimsParameter: { enabled: true },
      requestObjects: { enabled: true, requireSignedRequestObject: true },
      jwtUserinfo: { enabled: true },
      encryption: { enabled: true },
      revocation: { enabled: true },
    },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    renderError: (ctx, out) => { ctx.type = 'json'; ctx.body = out; console.error(JSON.stringify(out)); },
  });
  const { save } = provider.AccessToken.prototype;
  // The CIE's access tokens are JWTs that UserInfo takes; this provider's JWTs are
  // for other resources only. So each of its own travels in one of the CIE's form.
  const inside = new Map();
  provider.AccessToken.prototype.save = async function wrap(...args) {
    const own = await save.apply(this, args);
    const part = (v) => Buffer.from(JSON.stringify(v)).toString('base64url');
    const now = Math.floor(Date.now() / 1000);
    const text = `${part({ typ: 'at+jwt', alg: 'RS256', kid: key.kid })}.${part({
      iss: issuer, sub: this.accountId, client_id: this.clientId, aud: [`${issuer}/me`], scope: 'openid', iat: now, exp: now + 900, jti: randomUUID(),
    })}`;
    issued = `${text}.${sign('sha256', Buffer.from(text), privateKey).toString('base64url')}`;
    inside.set(`Bearer ${issued}`, `Bearer ${own}`);
    return issued;
  };
  provider.use((ctx, next) => {
    const own = inside.get(ctx.req.headers.authorization);
    if (own) ctx.req.headers.authorization = own;
    return next();
  });
  const callback = provider.callback();
  async function interaction(req, res) {
    const details = await provider.interactionDetails(req, res);
    const accountId = 'independent-subject';
    let grant = details.grantId ? await provider.Grant.find(details.grantId) : new provider.Grant({ accountId, clientId: details.params.client_id });
    grant.addOIDCScope('openid');
    grant.addOIDCClaims([...names, 'acr', 'jti']);
    const grantId = await grant.save();
    await provider.interactionFinished(req, res, { login: { accountId, acr }, consent: { grantId } }, { mergeWithLastSubmission: true });
  }
  handler = (req, res) => {
    if (req.url.startsWith('/interaction/')) {
      interaction(req, res).catch((err) => { console.error(err); res.statusCode = 500; res.end(); });
    } else {
      callback(req, res);
    }
  };
  process.stdout.write(`${JSON.stringify({ issuer, jwks: { keys: [{ kty: key.kty, n: key.n, e: key.e, use: 'sig', alg: 'RS256', kid: key.kid }] } })}\n`);
}

let issued; // the access token made last
let handler = (_, res) => { res.statusCode = 503; res.end(); };
