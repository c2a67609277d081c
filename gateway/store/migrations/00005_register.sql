-- The register's quota memory, the daily tracing PDND asks for, and the tasks
-- by which the register is put right.

-- +goose Up

-- Who asked for the step that waits: an actor as JSON, '' when a worker goes on
-- by itself. It is the audit identity of the question to the register.
ALTER TABLE requests ADD COLUMN work_actor TEXT NOT NULL DEFAULT '';

-- corrections: one row per request, person and finding; it is opened again when
-- the finding comes back. office_id is who has to act ('' nobody of ours), which
-- need not be the office of the request.
CREATE TABLE corrections (
    id         TEXT    NOT NULL PRIMARY KEY,
    request_id TEXT    NOT NULL REFERENCES requests (id),
    office_id  TEXT    NOT NULL DEFAULT '',
    person     INTEGER NOT NULL DEFAULT 0,
    code       TEXT    NOT NULL CHECK (code <> ''),
    who        TEXT    NOT NULL DEFAULT '',
    operation  TEXT    NOT NULL DEFAULT '',
    args       TEXT    NOT NULL DEFAULT '',
    status     TEXT    NOT NULL CHECK (status IN ('open', 'asking', 'asked', 'answered', 'closed')),
    answer     TEXT    NOT NULL DEFAULT '',
    reference  TEXT    NOT NULL DEFAULT '',
    actor      TEXT    NOT NULL DEFAULT '',
    due        BIGINT  NOT NULL DEFAULT 0,
    tries      INTEGER NOT NULL DEFAULT 0,
    version    BIGINT  NOT NULL DEFAULT 1,
    opened_at  BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL,
    closed_at  BIGINT  NOT NULL DEFAULT 0,
    key_id     TEXT    NOT NULL DEFAULT '',
    private    BLOB,
    CHECK ((status = 'closed') = (closed_at <> 0)),
    CHECK ((private IS NULL) = (key_id = ''))
);
CREATE INDEX corrections_request ON corrections (request_id);
CREATE INDEX corrections_office ON corrections (office_id, opened_at, id) WHERE status <> 'closed';
CREATE INDEX corrections_due ON corrections (due, id) WHERE status = 'asking';

-- register_usage: calls of a service on a day (Europe/Rome), failed ones too.
CREATE TABLE register_usage (
    service    TEXT    NOT NULL,
    day        TEXT    NOT NULL,
    used       INTEGER NOT NULL CHECK (used >= 0),
    updated_at BIGINT  NOT NULL,
    PRIMARY KEY (service, day)
);

-- register_stops: until when a service is not asked, and why.
CREATE TABLE register_stops (
    service  TEXT   NOT NULL PRIMARY KEY,
    code     TEXT   NOT NULL,
    since    BIGINT NOT NULL,
    until    BIGINT NOT NULL,
    probe_at BIGINT NOT NULL DEFAULT 0
);

-- register_tracing: what was answered, as PDND's daily tracing wants it; id is
-- day, purpose, status and token. status 0: no whole answer came.
CREATE TABLE register_tracing (
    id             TEXT    NOT NULL PRIMARY KEY,
    day            TEXT    NOT NULL,
    purpose_id     TEXT    NOT NULL,
    status         INTEGER NOT NULL,
    token_id       TEXT    NOT NULL,
    requests_count INTEGER NOT NULL CHECK (requests_count >= 1)
);
CREATE INDEX register_tracing_day ON register_tracing (day, id);
