-- The daily comparison with the issuance core: one row a day, with its report.
-- Reports name order keys, never anybody.

-- +goose Up

CREATE TABLE reconciliations (
    day         TEXT   NOT NULL PRIMARY KEY CHECK (length(day) = 10),
    begun_at    BIGINT NOT NULL,
    finished_at BIGINT NOT NULL DEFAULT 0,
    next_cursor TEXT   NOT NULL DEFAULT '',
    report      TEXT   NOT NULL DEFAULT ''
) WITHOUT ROWID;
