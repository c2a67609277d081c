-- Notices of requests at another comune, to the comune of AIRE enrolment and to
-- the post, and what they answered (specs B.2.3, B.7 Q1).

-- +goose Up

-- clearances: one notice per request and office told. office_id is who was told
-- and stays when the request moves; asked_office where the card was asked for.
-- last_day is a day in Rome, until its end. closed_at: the request is over.
CREATE TABLE clearances (
    id           TEXT    NOT NULL PRIMARY KEY,
    request_id   TEXT    NOT NULL REFERENCES requests (id),
    office_id    TEXT    NOT NULL CHECK (office_id <> ''),
    told_as      TEXT    NOT NULL CHECK (told_as IN ('aire_comune', 'post')),
    asked_office TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    requested_at BIGINT  NOT NULL,
    told_at      BIGINT  NOT NULL,
    last_day     TEXT    NOT NULL CHECK (length(last_day) = 10),
    until        BIGINT  NOT NULL,
    rule         TEXT    NOT NULL DEFAULT '',
    answer       TEXT    NOT NULL DEFAULT '' CHECK (answer IN ('', 'none', 'objection', 'withdrawn')),
    ground       TEXT    NOT NULL DEFAULT '',
    answered_at  BIGINT  NOT NULL DEFAULT 0,
    actor        TEXT    NOT NULL DEFAULT '',
    overruled_at BIGINT  NOT NULL DEFAULT 0,
    closed_at    BIGINT  NOT NULL DEFAULT 0,
    version      BIGINT  NOT NULL DEFAULT 1,
    key_id       TEXT    NOT NULL DEFAULT '',
    private      BLOB,
    CHECK ((answer = '') = (answered_at = 0)),
    CHECK ((private IS NULL) = (key_id = ''))
);
CREATE INDEX clearances_request ON clearances (request_id);
CREATE INDEX clearances_office ON clearances (office_id, told_at, id);
CREATE INDEX clearances_open ON clearances (office_id, until, id) WHERE answer = '' AND closed_at = 0;
