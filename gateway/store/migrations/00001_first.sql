-- The first schema. Times are microseconds since 1970 UTC, 0 for none. Digests
-- are lower-case hexadecimal. SQL is the common subset of SQLite and
-- PostgreSQL but for the words BLOB, WITHOUT ROWID and
-- INTEGER PRIMARY KEY AUTOINCREMENT, which the second engine's file replaces.

-- +goose Up

-- meta: what belongs to the whole database (environment for life, key check).
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- requests: one row per request, derived from its events. The idempotency key
-- and the open person are guarded by indexes, not by reading before writing.
CREATE TABLE requests (
    id               TEXT    NOT NULL PRIMARY KEY,
    office_id        TEXT    NOT NULL DEFAULT '',
    state            TEXT    NOT NULL,
    version          INTEGER NOT NULL CHECK (version >= 1),
    applicant_digest TEXT    NOT NULL CHECK (length(applicant_digest) = 32),
    surname_digest   TEXT    NOT NULL DEFAULT '',
    tracker_digest   TEXT    NOT NULL DEFAULT '',
    key_namespace    TEXT    NOT NULL CHECK (length(key_namespace) = 32),
    key_digest       TEXT    NOT NULL CHECK (length(key_digest) = 32),
    body_digest      TEXT    NOT NULL,
    created_at       BIGINT  NOT NULL,
    updated_at       BIGINT  NOT NULL,
    work_step        TEXT    NOT NULL DEFAULT '' CHECK (work_step IN ('', 'check', 'decide', 'route')),
    work_due         BIGINT  NOT NULL DEFAULT 0,
    work_lease       BIGINT  NOT NULL DEFAULT 0,
    work_fence       BIGINT  NOT NULL DEFAULT 0,
    work_tries       INTEGER NOT NULL DEFAULT 0,
    mark_kind        TEXT    NOT NULL DEFAULT '' CHECK (mark_kind IN ('', 'waiting', 'parked')),
    mark_code        TEXT    NOT NULL DEFAULT '',
    mark_due         BIGINT  NOT NULL DEFAULT 0,
    mark_tries       INTEGER NOT NULL DEFAULT 0,
    mark_detail      TEXT    NOT NULL DEFAULT '',
    CONSTRAINT requests_state CHECK (state IN (
        'submitted', 'prechecked', 'misaligned', 'in_enquiry', 'suspended', 'forms_ready', 'signed', 'relayed',
        'rejected_cnsd', 'certified', 'in_production', 'production_defect', 'shipped', 'out_for_delivery',
        'on_hold_post', 'at_comune', 'at_consulate', 'returned', 'reshipped', 'unclaimed', 'delivered', 'refused',
        'cancelled', 'abandoned', 'destroyed'))
) WITHOUT ROWID;
CREATE UNIQUE INDEX requests_key ON requests (key_namespace, key_digest);
-- One person has at most one open request, across channels and offices.
CREATE UNIQUE INDEX requests_open_person ON requests (applicant_digest) WHERE state IN (
    'submitted', 'prechecked', 'misaligned', 'in_enquiry', 'suspended', 'forms_ready', 'signed', 'relayed',
    'rejected_cnsd', 'certified', 'in_production', 'production_defect', 'shipped', 'out_for_delivery',
    'on_hold_post', 'at_comune', 'at_consulate', 'returned', 'reshipped');
-- state is in the index of the offices' lists, so that counting needs no rows.
CREATE INDEX requests_office ON requests (office_id, created_at, id, state);
CREATE INDEX requests_surname ON requests (office_id, surname_digest, created_at, id) WHERE surname_digest <> '';
CREATE INDEX requests_work ON requests (work_due, id) WHERE work_step <> '';
CREATE INDEX requests_mark ON requests (office_id, mark_kind, created_at, id) WHERE mark_kind <> '';

-- request_persons: who may see a request as a citizen (applicant, parents).
CREATE TABLE request_persons (
    person_digest TEXT NOT NULL CHECK (length(person_digest) = 32),
    request_id    TEXT NOT NULL REFERENCES requests (id),
    office_id     TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (person_digest, request_id)
) WITHOUT ROWID;
CREATE INDEX request_persons_request ON request_persons (request_id);

-- events: the truth. Never updated, but for office_id when a request is routed
-- (it says who sees the row, not what happened) and for the private side when
-- it is erased or moved to a newer key.
CREATE TABLE events (
    request_id     TEXT    NOT NULL REFERENCES requests (id),
    seq            INTEGER NOT NULL CHECK (seq >= 1),
    office_id      TEXT    NOT NULL DEFAULT '',
    type           TEXT    NOT NULL CHECK (type <> ''),
    to_state       TEXT    NOT NULL,
    at             BIGINT  NOT NULL,
    actor          TEXT    NOT NULL,
    data           TEXT    NOT NULL DEFAULT '',
    key_id         TEXT    NOT NULL DEFAULT '',
    private        BLOB,
    private_digest TEXT    NOT NULL DEFAULT '',
    erased_at      BIGINT  NOT NULL DEFAULT 0,
    PRIMARY KEY (request_id, seq),
    CONSTRAINT events_state CHECK (to_state IN (
        'submitted', 'prechecked', 'misaligned', 'in_enquiry', 'suspended', 'forms_ready', 'signed', 'relayed',
        'rejected_cnsd', 'certified', 'in_production', 'production_defect', 'shipped', 'out_for_delivery',
        'on_hold_post', 'at_comune', 'at_consulate', 'returned', 'reshipped', 'unclaimed', 'delivered', 'refused',
        'cancelled', 'abandoned', 'destroyed')),
    CHECK ((private IS NULL) = (key_id = ''))
);

-- outbox: intents to tell the core, stored before it is told.
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT    NOT NULL REFERENCES requests (id),
    office_id  TEXT    NOT NULL DEFAULT '',
    order_key  TEXT    NOT NULL CHECK (order_key <> ''),
    kind       TEXT    NOT NULL CHECK (kind IN ('submission', 'cancellation', 'delivery_change')),
    act_key    TEXT    NOT NULL CHECK (act_key <> ''),
    key_id     TEXT    NOT NULL DEFAULT '',
    private    BLOB,
    actor      TEXT    NOT NULL,
    status     TEXT    NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'parked', 'settled')),
    due        BIGINT  NOT NULL,
    lease      BIGINT  NOT NULL DEFAULT 0,
    fence      BIGINT  NOT NULL DEFAULT 0,
    tries      INTEGER NOT NULL DEFAULT 0,
    code       TEXT    NOT NULL DEFAULT '',
    detail     TEXT    NOT NULL DEFAULT '',
    created_at BIGINT  NOT NULL,
    settled_at BIGINT  NOT NULL DEFAULT 0,
    CHECK ((status = 'settled') = (settled_at <> 0))
);
CREATE UNIQUE INDEX outbox_act ON outbox (kind, act_key);
CREATE INDEX outbox_order ON outbox (request_id, id);
CREATE INDEX outbox_due ON outbox (due, id) WHERE status = 'open';

-- core_events: the core's word, verified and kept before it is applied.
CREATE TABLE core_events (
    order_key   TEXT    NOT NULL,
    seq         INTEGER NOT NULL CHECK (seq >= 1),
    event_id    TEXT    NOT NULL UNIQUE,
    request_id  TEXT    NOT NULL DEFAULT '',
    office_id   TEXT    NOT NULL DEFAULT '',
    nun         TEXT    NOT NULL DEFAULT '',
    type        TEXT    NOT NULL,
    at          BIGINT  NOT NULL,
    details     TEXT    NOT NULL DEFAULT '',
    status      TEXT    NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'applied', 'parked')),
    code        TEXT    NOT NULL DEFAULT '',
    received_at BIGINT  NOT NULL,
    PRIMARY KEY (order_key, seq)
);
CREATE INDEX core_events_pending ON core_events (order_key, seq) WHERE status = 'pending';
CREATE INDEX core_events_request ON core_events (request_id);

-- halves: first halves of PIN and PUK until they are wiped. A row without
-- content is the mark that they were, and when they had been printed.
CREATE TABLE halves (
    order_key  TEXT   NOT NULL PRIMARY KEY,
    request_id TEXT   NOT NULL REFERENCES requests (id),
    office_id  TEXT   NOT NULL DEFAULT '',
    key_id     TEXT   NOT NULL DEFAULT '',
    private    BLOB,
    stored_at  BIGINT NOT NULL,
    printed_at BIGINT NOT NULL DEFAULT 0,
    wiped_at   BIGINT NOT NULL DEFAULT 0,
    CHECK ((private IS NULL) = (wiped_at <> 0)),
    CHECK ((private IS NULL) = (key_id = ''))
);
CREATE INDEX halves_request ON halves (request_id);
CREATE INDEX halves_kept ON halves (stored_at) WHERE wiped_at = 0;

-- series: numbers that only grow (operation ids of the register).
CREATE TABLE series (
    name       TEXT   NOT NULL PRIMARY KEY,
    value      BIGINT NOT NULL CHECK (value >= 1),
    updated_at BIGINT NOT NULL
);

-- audit_entries: who did what to what, insert-only. The digest is of the event
-- row (event_seq > 0) or of the payload, which lives apart.
CREATE TABLE audit_entries (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    at             BIGINT  NOT NULL,
    office_id      TEXT    NOT NULL DEFAULT '',
    actor          TEXT    NOT NULL,
    act            TEXT    NOT NULL CHECK (act <> ''),
    subject        TEXT    NOT NULL DEFAULT '',
    event_seq      INTEGER NOT NULL DEFAULT 0,
    content_digest TEXT    NOT NULL DEFAULT ''
);

-- audit_payloads: erasable; the salt goes with the payload, so that its digest
-- in the chain says nothing once it is gone.
CREATE TABLE audit_payloads (
    entry_id  BIGINT NOT NULL PRIMARY KEY,
    salt      TEXT   NOT NULL,
    payload   TEXT   NOT NULL,
    erased_at BIGINT NOT NULL DEFAULT 0
);

-- audit_blocks: the chain, one block per sealing. seals holds 8 bytes of entry
-- id and 32 bytes of chain value for each entry, in commit order.
CREATE TABLE audit_blocks (
    block_no  BIGINT NOT NULL PRIMARY KEY,
    first_id  BIGINT NOT NULL,
    last_id   BIGINT NOT NULL,
    entries   INTEGER NOT NULL CHECK (entries >= 1),
    seals     BLOB   NOT NULL,
    head      TEXT   NOT NULL,
    mac       TEXT   NOT NULL,
    sealed_at BIGINT NOT NULL
);
CREATE INDEX audit_blocks_last ON audit_blocks (last_id);

-- sessions: web sessions, found by keyed digest of the token.
CREATE TABLE sessions (
    token_digest TEXT   NOT NULL PRIMARY KEY,
    key_id       TEXT   NOT NULL,
    private      BLOB   NOT NULL,
    expires_at   BIGINT NOT NULL
);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- clients: machine clients, each bound to one office.
CREATE TABLE clients (
    id         TEXT    NOT NULL PRIMARY KEY,
    office_id  TEXT    NOT NULL CHECK (office_id <> ''),
    jwks       TEXT    NOT NULL,
    revoked_at BIGINT  NOT NULL DEFAULT 0,
    created_at BIGINT  NOT NULL
);

-- used_jti: token ids that were used, until they would have expired anyway.
CREATE TABLE used_jti (
    jti_digest TEXT   NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX used_jti_expiry ON used_jti (expires_at);

-- revocations: operators (or sessions) whose access was taken away.
CREATE TABLE revocations (
    kind       TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    revoked_at BIGINT NOT NULL,
    PRIMARY KEY (kind, subject)
);
