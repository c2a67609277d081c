-- What deliveries need beside the requests: the rates that posts enter, and how
-- long cards took. Neither says anything of anybody.

-- +goose Up

-- consular_rates: units of a currency for one euro, as a post entered them for
-- a quarter. Never changed: a correction is a later row.
CREATE TABLE consular_rates (
    post       TEXT    NOT NULL CHECK (post <> ''),
    entered_at BIGINT  NOT NULL,
    currency   TEXT    NOT NULL CHECK (length(currency) = 3),
    year       INTEGER NOT NULL,
    quarter    INTEGER NOT NULL CHECK (quarter BETWEEN 1 AND 4),
    per_eur    TEXT    NOT NULL CHECK (per_eur <> ''),
    decimals   INTEGER NOT NULL CHECK (decimals BETWEEN 0 AND 3),
    entered_by TEXT    NOT NULL,
    PRIMARY KEY (post, entered_at)
) WITHOUT ROWID;

-- passages: how many cards of a month took how many days. Counts, not rows of
-- people; lane is country, delivery, outcome and month in one.
CREATE TABLE passages (
    lane     TEXT    NOT NULL,
    days     INTEGER NOT NULL CHECK (days >= 0),
    country  TEXT    NOT NULL CHECK (country <> ''),
    delivery TEXT    NOT NULL CHECK (delivery <> ''),
    outcome  TEXT    NOT NULL CHECK (outcome IN ('delivered', 'not_delivered')),
    month    TEXT    NOT NULL CHECK (length(month) = 7),
    cards    BIGINT  NOT NULL CHECK (cards >= 1),
    PRIMARY KEY (lane, days)
) WITHOUT ROWID;
