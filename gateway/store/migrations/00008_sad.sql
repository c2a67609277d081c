-- The dialogue with a comune's own registry (SAD 2.8), where it is on.

-- +goose Up

-- registry_dialogues: one question per request, opened with the counter's
-- dossier. office_id is the comune that is asked and stays when the request
-- moves on. due 0: nothing to do any more.
CREATE TABLE registry_dialogues (
    request_id  TEXT    NOT NULL PRIMARY KEY REFERENCES requests (id),
    office_id   TEXT    NOT NULL,
    status      TEXT    NOT NULL CHECK (status IN ('open', 'answered', 'failed')),
    code        TEXT    NOT NULL DEFAULT '',
    tries       INTEGER NOT NULL DEFAULT 0,
    due         BIGINT  NOT NULL DEFAULT 0,
    opened_at   BIGINT  NOT NULL,
    answered_at BIGINT  NOT NULL DEFAULT 0,
    key_id      TEXT    NOT NULL DEFAULT '',
    private     BLOB,
    CHECK ((private IS NULL) = (key_id = ''))
);
CREATE INDEX registry_dialogues_due ON registry_dialogues (due, request_id) WHERE status = 'open';
