-- What citizens report about their card, and which sessions a person has open.

-- +goose Up

-- card_reports: thefts and losses. person_digest is of the holder, form_digest
-- of the form's key: sending it twice reports once. told_at: when whoever is to
-- be told of card events took it (0: not yet).
CREATE TABLE card_reports (
    id            TEXT   NOT NULL PRIMARY KEY,
    person_digest TEXT   NOT NULL,
    form_digest   TEXT   NOT NULL UNIQUE,
    body_digest   TEXT   NOT NULL,
    kind          TEXT   NOT NULL CHECK (kind IN ('theft', 'loss')),
    actor         TEXT   NOT NULL,
    at            BIGINT NOT NULL,
    told_at       BIGINT NOT NULL DEFAULT 0,
    key_id        TEXT   NOT NULL,
    private       BLOB   NOT NULL
);
CREATE INDEX card_reports_person ON card_reports (person_digest, at);
CREATE INDEX card_reports_untold ON card_reports (at, id) WHERE told_at = 0;

-- session_list: one row per session that was opened, so that a person can see
-- and end the own ones. A session whose row has ended is worth nothing. The
-- data (browser, login) is personal and encrypted.
CREATE TABLE session_list (
    id           TEXT   NOT NULL PRIMARY KEY,
    owner_digest TEXT   NOT NULL,
    started_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    ended_at     BIGINT NOT NULL DEFAULT 0,
    key_id       TEXT   NOT NULL,
    private      BLOB   NOT NULL
);
CREATE INDEX session_list_owner ON session_list (owner_digest, started_at);
CREATE INDEX session_list_expiry ON session_list (expires_at);
