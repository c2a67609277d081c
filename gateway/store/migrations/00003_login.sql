-- Logins: attempts under way, the transaction register, tokens to be revoked,
-- operators' smart cards.

-- +goose Up

-- login_attempts: one per `state`, spent when used_at is set; the secrets go with
-- it. Rows outlive their end by a day, so that a late answer is told apart from
-- one that nobody asked for.
CREATE TABLE login_attempts (
    state_digest TEXT   NOT NULL PRIMARY KEY CHECK (length(state_digest) = 32),
    reference    TEXT   NOT NULL UNIQUE CHECK (reference <> ''),
    door         TEXT   NOT NULL CHECK (door IN ('citizen', 'operator')),
    key_id       TEXT   NOT NULL DEFAULT '',
    private      BLOB,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    used_at      BIGINT NOT NULL DEFAULT 0,
    CHECK ((private IS NULL) = (key_id = '')),
    CHECK ((private IS NULL) = (used_at <> 0))
);
CREATE INDEX login_attempts_expiry ON login_attempts (expires_at);

-- login_records: the transaction register, insert-only, kept 24 months and more.
-- digest is over the record and the digest before it in the same login; the last
-- of each writing is in the audit entry audit_id, which the audit chain holds.
-- Content that many logins share (trust chains) lies in login_shared.
CREATE TABLE login_records (
    reference      TEXT    NOT NULL,
    seq            INTEGER NOT NULL CHECK (seq >= 1),
    kind           TEXT    NOT NULL CHECK (kind <> ''),
    at             BIGINT  NOT NULL,
    key_id         TEXT    NOT NULL DEFAULT '',
    private        BLOB,
    shared_digest  TEXT    NOT NULL DEFAULT '',
    content_digest TEXT    NOT NULL CHECK (length(content_digest) = 64),
    digest         TEXT    NOT NULL CHECK (length(digest) = 64),
    audit_id       BIGINT  NOT NULL DEFAULT 0,
    PRIMARY KEY (reference, seq),
    CHECK ((private IS NULL) = (key_id = '')),
    CHECK ((private IS NULL) = (shared_digest <> ''))
) WITHOUT ROWID;
CREATE INDEX login_records_at ON login_records (at);

CREATE TABLE login_shared (
    digest   TEXT   NOT NULL PRIMARY KEY CHECK (length(digest) = 64),
    key_id   TEXT   NOT NULL,
    private  BLOB   NOT NULL,
    first_at BIGINT NOT NULL
);

-- login_tokens: access tokens until they end; wanted_at is when the person left.
CREATE TABLE login_tokens (
    reference  TEXT   NOT NULL PRIMARY KEY,
    key_id     TEXT   NOT NULL DEFAULT '',
    private    BLOB,
    expires_at BIGINT NOT NULL,
    wanted_at  BIGINT NOT NULL DEFAULT 0,
    CHECK ((private IS NULL) = (key_id = ''))
);
CREATE INDEX login_tokens_wanted ON login_tokens (wanted_at) WHERE wanted_at <> 0 AND key_id <> '';

-- operator_cards: certificates of operators' smart cards (SCO).
CREATE TABLE operator_cards (
    fingerprint  TEXT   NOT NULL PRIMARY KEY CHECK (length(fingerprint) = 64),
    operator_id  TEXT   NOT NULL CHECK (operator_id <> ''),
    office_id    TEXT   NOT NULL CHECK (office_id <> ''),
    state        TEXT   NOT NULL CHECK (state IN ('issued', 'active', 'revoked')),
    not_after    BIGINT NOT NULL,
    issued_at    BIGINT NOT NULL,
    activated_at BIGINT NOT NULL DEFAULT 0,
    revoked_at   BIGINT NOT NULL DEFAULT 0,
    CHECK ((state = 'revoked') = (revoked_at <> 0))
);
CREATE INDEX operator_cards_office ON operator_cards (office_id, issued_at);
