// A client of ANPR's e-services (door A) with node's own crypto and fetch only,
// written from the OpenAPI documents in ../openapi. It asks C030 for the
// national id of a fiscal code, then C020 for the residence by that id.
//
//   airegw sim anpr > sim.json &
//   node client.mjs sim.json FRRLCU86D57Z600N
//
// sim.json is the line the simulator prints; client_file in it is the client
// with its private key. Against the real register only those values change.
import { createHash, createPrivateKey, randomInt, randomUUID, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'

const [simFile, fiscalCode] = process.argv.slice(2)
if (!simFile || !fiscalCode) {
  console.error('usage: node client.mjs SIM.json FISCAL_CODE')
  process.exit(2)
}
const sim = JSON.parse(readFileSync(simFile, 'utf8'))
const client = JSON.parse(readFileSync(sim.client_file, 'utf8'))
const key = createPrivateKey({ key: client.private_jwk, format: 'jwk' })

const now = () => Math.floor(Date.now() / 1000)
const b64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')

// A compact JWS, RS256, typ JWT, with the kid PDND knows the key by.
function jws(claims) {
  const input = `${b64url({ alg: 'RS256', typ: 'JWT', kid: client.kid })}.${b64url(claims)}`
  return `${input}.${sign('RSA-SHA256', Buffer.from(input), key).toString('base64url')}`
}

const identity = (aud, seconds) => ({
  iss: client.client_id, sub: client.client_id, aud, jti: randomUUID(), iat: now(), exp: now() + seconds,
})

// The evidence says who asks and from where. It goes with one voucher only: the
// voucher carries the digest of this very string. Keep the two together.
async function voucherFor(service) {
  const evidence = jws({
    ...identity(sim.audiences[service], 600),
    purposeId: client.purposes[service], dnonce: String(randomInt(1e12, 1e13 - 1)).padStart(13, '1'),
    userID: 'operatore-1', userLocation: 'POSTAZIONE-1', LoA: 'LoA3',
  })
  const assertion = jws({
    ...identity(sim.assertion_audience, 120),
    purposeId: client.purposes[service],
    digest: { alg: 'SHA256', value: createHash('sha256').update(evidence).digest('hex') },
  })
  const answer = await fetch(sim.token_url, {
    method: 'POST',
    body: new URLSearchParams({
      client_id: client.client_id, grant_type: 'client_credentials', client_assertion: assertion,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    }),
  })
  if (answer.status !== 200) throw new Error(`no voucher: ${answer.status} ${await answer.text()}`)
  return { evidence, voucher: (await answer.json()).access_token }
}

let counter = 0
const operationID = () => new Date().toISOString().replace(/\D/g, '') + String(++counter).padStart(6, '0')

async function ask(service, criteria) {
  const { evidence, voucher } = await voucherFor(service)
  const body = Buffer.from(JSON.stringify({
    idOperazioneClient: operationID(), criteriRicerca: criteria,
    datiRichiesta: {
      dataRiferimentoRichiesta: new Date().toISOString().slice(0, 10), motivoRichiesta: 'PROVA-1', casoUso: service,
    },
  }))
  // Digest and signature are over these exact bytes; Content-Type is signed
  // too, so it must be sent as it is written here.
  const digest = 'SHA-256=' + createHash('sha256').update(body).digest('base64')
  const answer = await fetch(sim.services[service], {
    method: 'POST', body, redirect: 'manual',
    headers: {
      'content-type': 'application/json', digest, authorization: `Bearer ${voucher}`,
      'agid-jwt-trackingevidence': evidence,
      'agid-jwt-signature': jws({
        ...identity(sim.audiences[service], 120),
        signed_headers: [{ digest }, { 'content-type': 'application/json' }],
      }),
    },
  })
  const text = await answer.text()
  let reply
  try {
    reply = JSON.parse(text)
  } catch {
    throw new Error(`${service}: ${answer.status}, not JSON: the front end is in trouble, ask again later`)
  }
  const errors = (reply.listaErrori ?? []).filter((e) => e.tipoErroreAnomalia === 'E')
  // Only EN122 says that the citizen is not there: a 404 alone may be a wrong address.
  if (errors.some((e) => e.codiceErroreAnomalia === 'EN122')) return []
  if (answer.status !== 200 || errors.length > 0) {
    throw new Error(`${service}: ${answer.status} ${reply.title ?? errors.map((e) => e.codiceErroreAnomalia).join(' ')}`)
  }
  return reply.listaSoggetti.datiSoggetto
}

try {
  const people = await ask('C030', { codiceFiscale: fiscalCode })
  if (people.length !== 1) throw new Error(`${people.length} subjects for this fiscal code: a person must decide`)
  const idANPR = people[0].identificativi.idANPR
  const [subject] = await ask('C020', { idANPR })
  console.log(JSON.stringify({ idANPR, residenza: subject.residenza }))
} catch (error) {
  console.error(error.message)
  process.exit(1)
}
