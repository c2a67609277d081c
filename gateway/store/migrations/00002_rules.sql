-- Rule sets and the two owners' approvals. Nothing here is ever deleted: a
-- decision of any day must be replayable with the rules of that day.

-- +goose Up

-- rule_sets: files is the archive of the rule files, hash is their content hash.
-- effective_at 0: since ever. applied_at: when the requests before signature
-- were sent to be decided again.
CREATE TABLE rule_sets (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    hash         TEXT    NOT NULL UNIQUE CHECK (hash LIKE 'sha256:%'),
    files        BLOB    NOT NULL,
    uploaded_by  TEXT    NOT NULL,
    uploaded_at  BIGINT  NOT NULL,
    effective_at BIGINT  NOT NULL DEFAULT 0,
    applied_at   BIGINT  NOT NULL DEFAULT 0
);

-- rule_approvals: one per owner, and never the same person for both.
CREATE TABLE rule_approvals (
    rule_set TEXT   NOT NULL REFERENCES rule_sets (hash),
    owner    TEXT   NOT NULL CHECK (owner IN ('interior', 'maeci')),
    actor_id TEXT   NOT NULL CHECK (actor_id <> ''),
    actor    TEXT   NOT NULL,
    jws      TEXT   NOT NULL CHECK (jws <> ''),
    at       BIGINT NOT NULL,
    PRIMARY KEY (rule_set, owner),
    CONSTRAINT rule_approvals_two_people UNIQUE (rule_set, actor_id)
);
