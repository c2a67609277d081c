-- What is erased when its time is over, with a record of it; and notices of lost
-- and stolen cards from offices outside.

-- +goose Up

-- requests.erased_at: when the personal data of an ended request were erased.
ALTER TABLE requests ADD COLUMN erased_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX requests_ended ON requests (updated_at) WHERE erased_at = 0 AND state IN (
    'delivered', 'refused', 'cancelled', 'abandoned', 'destroyed');

-- erasures: proof of deletion, insert-only, in the same commit as what it is
-- proof of. digest is over the names of the rows erased and the digests of what
-- they held; the same numbers stand in the audit trail.
CREATE TABLE erasures (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    class   TEXT    NOT NULL CHECK (class <> ''),
    at      BIGINT  NOT NULL,
    cutoff  BIGINT  NOT NULL,
    entries INTEGER NOT NULL CHECK (entries >= 1),
    digest  TEXT    NOT NULL CHECK (length(digest) = 64)
);
CREATE INDEX erasures_class ON erasures (class, id);

-- card_notices: what the police or another office says of a card. The number is
-- found by keyed digest; the notice as signed is encrypted.
CREATE TABLE card_notices (
    source      TEXT   NOT NULL CHECK (source <> ''),
    notice_id   TEXT   NOT NULL CHECK (notice_id <> ''),
    kind        TEXT   NOT NULL CHECK (kind IN ('lost', 'stolen', 'blocked', 'found')),
    card_digest TEXT   NOT NULL CHECK (length(card_digest) = 32),
    key_id      TEXT   NOT NULL,
    private     BLOB   NOT NULL,
    happened_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (source, notice_id)
);
CREATE INDEX card_notices_card ON card_notices (card_digest, happened_at);
CREATE INDEX card_notices_received ON card_notices (received_at);

-- opens_from: a program that knows the schema from this version on may open a
-- newer one, since migrations only add. The next release raises it.
INSERT INTO meta (name, value) VALUES ('opens_from', '2');
