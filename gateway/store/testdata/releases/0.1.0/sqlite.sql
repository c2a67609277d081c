CREATE TABLE goose_db_version (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
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
CREATE TABLE request_persons (
    person_digest TEXT NOT NULL CHECK (length(person_digest) = 32),
    request_id    TEXT NOT NULL REFERENCES requests (id),
    office_id     TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (person_digest, request_id)
) WITHOUT ROWID;
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
CREATE TABLE series (
    name       TEXT   NOT NULL PRIMARY KEY,
    value      BIGINT NOT NULL CHECK (value >= 1),
    updated_at BIGINT NOT NULL
);
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
CREATE TABLE audit_payloads (
    entry_id  BIGINT NOT NULL PRIMARY KEY,
    salt      TEXT   NOT NULL,
    payload   TEXT   NOT NULL,
    erased_at BIGINT NOT NULL DEFAULT 0
);
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
CREATE TABLE sessions (
    token_digest TEXT   NOT NULL PRIMARY KEY,
    key_id       TEXT   NOT NULL,
    private      BLOB   NOT NULL,
    expires_at   BIGINT NOT NULL
);
CREATE TABLE clients (
    id         TEXT    NOT NULL PRIMARY KEY,
    office_id  TEXT    NOT NULL CHECK (office_id <> ''),
    jwks       TEXT    NOT NULL,
    revoked_at BIGINT  NOT NULL DEFAULT 0,
    created_at BIGINT  NOT NULL
);
CREATE TABLE used_jti (
    jti_digest TEXT   NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE TABLE revocations (
    kind       TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    revoked_at BIGINT NOT NULL,
    PRIMARY KEY (kind, subject)
);
CREATE TABLE rule_sets (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    hash         TEXT    NOT NULL UNIQUE CHECK (hash LIKE 'sha256:%'),
    files        BLOB    NOT NULL,
    uploaded_by  TEXT    NOT NULL,
    uploaded_at  BIGINT  NOT NULL,
    effective_at BIGINT  NOT NULL DEFAULT 0,
    applied_at   BIGINT  NOT NULL DEFAULT 0
);
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
INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (1, 0, 1, '2026-11-22 01:32:41');
INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (2, 1, 1, '2026-11-22 01:32:42');
INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (3, 2, 1, '2026-11-22 01:32:42');
INSERT INTO meta (name, value) VALUES ('environment', 'simulation');
INSERT INTO meta (name, value) VALUES ('key_check', '1903d576020af6b27d7833c9b18b1e17');
INSERT INTO meta (name, value) VALUES ('feed_cursor', 'cursor-1');
INSERT INTO requests (id, office_id, state, version, applicant_digest, surname_digest, tracker_digest, key_namespace, key_digest, body_digest, created_at, updated_at, work_step, work_due, work_lease, work_fence, work_tries, mark_kind, mark_code, mark_due, mark_tries, mark_detail) VALUES ('R26-000000000', 'comune:054013', 'submitted', 1, '2c187117bef7b0310dfb35a8beb348bf', 'f58d020f6f73ef566e8c03c021ab45c7', 'b62c7c7a2e9391b30cc6ba49a4e1338c', '8751bf2ee11af864f520d471b7970988', '9735a83d4750bf72560742c732042b6d', '0', 1795251600000000, 1795251600000000, 'check', 1795251600000000, 0, 0, 0, '', '', 0, 0, '');
INSERT INTO requests (id, office_id, state, version, applicant_digest, surname_digest, tracker_digest, key_namespace, key_digest, body_digest, created_at, updated_at, work_step, work_due, work_lease, work_fence, work_tries, mark_kind, mark_code, mark_due, mark_tries, mark_detail) VALUES ('R26-000000001', 'comune:054013', 'prechecked', 3, 'b7533a359eed26411460e6fb05750c3a', 'f58d020f6f73ef566e8c03c021ab45c7', '48cd73b61c455de15218c23c37e1a326', '8751bf2ee11af864f520d471b7970988', 'c55c8b91ec943e132fb1035b00e2de33', '1', 1795251600000000, 1795251600000000, 'decide', 1795251600000000, 0, 1, 0, '', '', 0, 0, '');
INSERT INTO requests (id, office_id, state, version, applicant_digest, surname_digest, tracker_digest, key_namespace, key_digest, body_digest, created_at, updated_at, work_step, work_due, work_lease, work_fence, work_tries, mark_kind, mark_code, mark_due, mark_tries, mark_detail) VALUES ('R26-000000002', 'comune:054013', 'submitted', 1, 'aba88f921b2b2769ee44559be2df083f', 'f58d020f6f73ef566e8c03c021ab45c7', 'afc2f0fec5614d646b1d33f7e9769901', '8751bf2ee11af864f520d471b7970988', '886bf33f8aaf1ca619f8da8107e9e194', '2', 1795251600000000, 1795251600000000, 'check', 1795251600000000, 0, 0, 0, '', '', 0, 0, '');
INSERT INTO requests (id, office_id, state, version, applicant_digest, surname_digest, tracker_digest, key_namespace, key_digest, body_digest, created_at, updated_at, work_step, work_due, work_lease, work_fence, work_tries, mark_kind, mark_code, mark_due, mark_tries, mark_detail) VALUES ('R26-000000003', 'comune:054013', 'submitted', 1, 'a302c666f7c80ed1df6bc69df3de592d', 'f58d020f6f73ef566e8c03c021ab45c7', 'b3c4375260bfc35d2793efc813908a1b', '8751bf2ee11af864f520d471b7970988', 'db4828182ee2adb47fb8a195ff3c200e', '3', 1795251600000000, 1795251600000000, 'check', 1795251600000000, 0, 0, 0, '', '', 0, 0, '');
INSERT INTO request_persons (person_digest, request_id, office_id) VALUES ('2c187117bef7b0310dfb35a8beb348bf', 'R26-000000000', 'comune:054013');
INSERT INTO request_persons (person_digest, request_id, office_id) VALUES ('a302c666f7c80ed1df6bc69df3de592d', 'R26-000000003', 'comune:054013');
INSERT INTO request_persons (person_digest, request_id, office_id) VALUES ('aba88f921b2b2769ee44559be2df083f', 'R26-000000002', 'comune:054013');
INSERT INTO request_persons (person_digest, request_id, office_id) VALUES ('b7533a359eed26411460e6fb05750c3a', 'R26-000000001', 'comune:054013');
INSERT INTO events (request_id, seq, office_id, type, to_state, at, actor, data, key_id, private, private_digest, erased_at) VALUES ('R26-000000000', 1, 'comune:054013', 'submitted', 'submitted', 1795251600000000, '{"kind":"client","id":"c"}', '', 'k1', X'7653225F950E8444F47A4A2B03DA237A934C293D9DB4820D5152440E43C00F8A1E7AEF', 'a4f5a65b59773e8e2ec696d7f08d66ee79cd631d119d6e3503d836a613ac721d', 0);
INSERT INTO events (request_id, seq, office_id, type, to_state, at, actor, data, key_id, private, private_digest, erased_at) VALUES ('R26-000000001', 1, 'comune:054013', 'submitted', 'submitted', 1795251600000000, '{"kind":"client","id":"c"}', '', 'k1', X'21CE39C35114D3DAD15BA1D5D6D5A887370D6C30C35F25B218BE54F5A60C711C7855F6', 'ffe4cf753632b28a081a3c9270eebf9617c1df3a6967827a8108a78f5789ec19', 0);
INSERT INTO events (request_id, seq, office_id, type, to_state, at, actor, data, key_id, private, private_digest, erased_at) VALUES ('R26-000000002', 1, 'comune:054013', 'submitted', 'submitted', 1795251600000000, '{"kind":"client","id":"c"}', '', 'k1', X'65519062742F1BBA59D47D8AE664ADC5DB068D927653C192267490699A14D2D553C35A', 'e58e91637b7926db49f06cdfc1e5c1a453b9db3e9985890c6ac4085bd724ad3c', 0);
INSERT INTO events (request_id, seq, office_id, type, to_state, at, actor, data, key_id, private, private_digest, erased_at) VALUES ('R26-000000003', 1, 'comune:054013', 'submitted', 'submitted', 1795251600000000, '{"kind":"client","id":"c"}', '', 'k1', X'8F012C0E3354B4048054430B38D02831F1541A1DC46E071F5D15D99F395B07535D03AF', '7c81e0eabe05f04bfed779c9005b610b8d3864d564fb4a777929452b03fb1b12', 0);
INSERT INTO events (request_id, seq, office_id, type, to_state, at, actor, data, key_id, private, private_digest, erased_at) VALUES ('R26-000000001', 2, 'comune:054013', 'checked', 'submitted', 1795251600000000, '{"kind":"","id":""}', '{}', 'k1', X'D260EC99B141E47CF5EEB8115FA6C5953E14B3A003C7B21E1AD9DDDBD434D2A4B58E21905DF412BAB2C4050C325223BBBB79C505', 'ba6d3a00e9eef3066b8899d21c03344955335dd15c503c823211e679582ad0f1', 0);
INSERT INTO events (request_id, seq, office_id, type, to_state, at, actor, data, key_id, private, private_digest, erased_at) VALUES ('R26-000000001', 3, 'comune:054013', 'aligned', 'prechecked', 1795251600000000, '{"kind":"","id":""}', '', '', NULL, '', 0);
INSERT INTO outbox (id, request_id, office_id, order_key, kind, act_key, key_id, private, actor, status, due, lease, fence, tries, code, detail, created_at, settled_at) VALUES (1, 'R26-000000001', 'comune:054013', 'R26-000000001.1', 'submission', 'k', 'k1', X'5DB62AD40087589908C16A110D8E094FAD8EB655D7170979F3626A1204F0FBB59536A3643D1012418A', '{"kind":"","id":""}', 'open', 1795251600000000, 0, 0, 0, '', '', 1795251600000000, 0);
INSERT INTO core_events (order_key, seq, event_id, request_id, office_id, nun, type, at, details, status, code, received_at) VALUES ('R26-000000001.1', 1, 'event-1', 'R26-000000001', 'comune:054013', 'CA00000AA', 'cnsd_certified', 1795251600000000, '{}', 'pending', '', 1795251600000000);
INSERT INTO halves (order_key, request_id, office_id, key_id, private, stored_at, printed_at, wiped_at) VALUES ('R26-000000001.1', 'R26-000000001', 'comune:054013', 'k1', X'9959B4787F8C8A5455E027AD7DF5C5563A5917284E8B633CCA40FF4CCD23186E5FFE02D9F14D6DAA75609FFAF8F95F392569E1FD950F74', 1795251600000000, 0, 0);
INSERT INTO series (name, value, updated_at) VALUES ('anpr', 1, 1795251600000000);
INSERT INTO audit_entries (id, at, office_id, actor, act, subject, event_seq, content_digest) VALUES (1, 1795251600000000, 'comune:054013', '{"kind":"client","id":"c"}', 'submitted', 'R26-000000000', 1, '82a349f029d4185a6cc1197b35e7a40b81b6255445bcc2793a069c67d4927050');
INSERT INTO audit_entries (id, at, office_id, actor, act, subject, event_seq, content_digest) VALUES (2, 1795251600000000, 'comune:054013', '{"kind":"","id":""}', 'look', '', 0, '998da928696eb9730ec7947040d94d00039329f5fcdfe40cfd57b16998df044a');
INSERT INTO audit_entries (id, at, office_id, actor, act, subject, event_seq, content_digest) VALUES (3, 1795251600000000, 'comune:054013', '{"kind":"client","id":"c"}', 'submitted', 'R26-000000001', 1, 'ab3bc76c7fd9db78dacddc866e3eccb545e717e9a671e631030bac2dc4cb170c');
INSERT INTO audit_entries (id, at, office_id, actor, act, subject, event_seq, content_digest) VALUES (4, 1795251600000000, 'comune:054013', '{"kind":"","id":""}', 'look', '', 0, 'bbd70773cdc1008ccb6670251384c3a7fce0273118e1456167f2acbb75677398');
INSERT INTO audit_entries (id, at, office_id, actor, act, subject, event_seq, content_digest) VALUES (5, 1795251600000000, 'comune:054013', '{"kind":"client","id":"c"}', 'submitted', 'R26-000000002', 1, '452938a1f53e452ec434c5cd81871056292c9a8a548766ad24cb4c0b00ce972f');
INSERT INTO audit_entries (id, at, office_id, actor, act, subject, event_seq, content_digest) VALUES (6, 1795251600000000, 'comune:054013', '{"kind":"","id":""}', 'look', '', 0, '37594f01e3b9a798fdcb70c367aedf01f7f75a14bfc1b84a3a39738cca838329');
INSERT INTO audit_entries (id, at, office_id, actor, act, subject, event_seq, content_digest) VALUES (7, 1795251600000000, 'comune:054013', '{"kind":"client","id":"c"}', 'submitted', 'R26-000000003', 1, 'cd51427da9678450c854d23dacec35e31983b5846ad3ddb368ee41d453aa1250');
INSERT INTO audit_entries (id, at, office_id, actor, act, subject, event_seq, content_digest) VALUES (8, 1795251600000000, 'comune:054013', '{"kind":"","id":""}', 'look', '', 0, '0f9e6095ddf9b2aefafa13110cea15097c5b30e354dabd1c08b12e42351bb0e1');
INSERT INTO audit_entries (id, at, office_id, actor, act, subject, event_seq, content_digest) VALUES (9, 1795251600000000, 'comune:054013', '{"kind":"","id":""}', 'checked', 'R26-000000001', 2, '0ba95d62b7c39a54e68f296d8e3f68e0fb9e84fa78927377eb67f00635d1bf7f');
INSERT INTO audit_entries (id, at, office_id, actor, act, subject, event_seq, content_digest) VALUES (10, 1795251600000000, 'comune:054013', '{"kind":"","id":""}', 'aligned', 'R26-000000001', 3, '89c3c16c786c8203eb1d992e3b3e924389a8627dee928f7438044e6b27f9f2b4');
INSERT INTO audit_entries (id, at, office_id, actor, act, subject, event_seq, content_digest) VALUES (11, 1795251600000000, '', '{"kind":"","id":""}', 'rules_uploaded', '', 0, '');
INSERT INTO audit_payloads (entry_id, salt, payload, erased_at) VALUES (2, '581c16057c6093d2b121ff938d51a414', '{"n":"0"}', 0);
INSERT INTO audit_payloads (entry_id, salt, payload, erased_at) VALUES (4, '7af6f444078b8880d15996215058d5f6', '{"n":"1"}', 0);
INSERT INTO audit_payloads (entry_id, salt, payload, erased_at) VALUES (6, '9e59ca74c2f3f1b7ab7e0a2a0e96efa5', '{"n":"2"}', 0);
INSERT INTO audit_payloads (entry_id, salt, payload, erased_at) VALUES (8, 'd9606099582d90aacc0a724ff78d8cb4', '{"n":"3"}', 0);
INSERT INTO audit_blocks (block_no, first_id, last_id, entries, seals, head, mac, sealed_at) VALUES (1, 1, 11, 11, X'0000000000000001EAD735B81D6202BAC810FFF08517FE6745B8AE6E3C1FB67284F9F63CE1BF92110000000000000002D0292F8261C3CDFCB3048F3D4B044F634FEDEA065055336752A9A407FAB946ED000000000000000338E6D885E7AA13CFFF7AA828A8569E41BF32A1A58AFCD6336941D47DDFA06B230000000000000004285F3F02B0892C080471B47108F7C0691EB27E53208D0EFA6F26E95C8C6595480000000000000005B46C5B340FA1FC794F1039D32B26996AC08191A1B207FF9503EFBA6C9A5E193F0000000000000006C775235B5E734E77DE14CA630776DFA825850D1DF413AFE84E0C0E1F35EAC2550000000000000007608FE2DD65343C932247B9E20D9F43DAB32D17C88369ECF288F55E9272B333F800000000000000080175E7B9E687ED2C66FD506196F51A74C8882FBA0E1A3586CFF4D3B60EA372ED0000000000000009CCA7C46B6AA02FF878B32C6010E9E8BC5D930A4583BF0E8C292FF89FDFB11A4C000000000000000A23E904CC762103A86DE1405BC25DC45E751AD8A2DB43A8E64CFD6B6976F50F2E000000000000000BB209E0092DD7826609528A6A96EFE797339716351C01EB68147F63A81707A504', 'b209e0092dd7826609528a6a96efe797339716351c01eb68147f63a81707a504', '8964db70fb76ec591270f4a8100aeb7bb6e5f0185935798dba1d10edc7e234a4', 1795251600000000);
INSERT INTO sessions (token_digest, key_id, private, expires_at) VALUES ('48a9f17aaa97da5151994e7fb5417b1b', 'k1', X'643CAA1E5B32407594793912A16097DB6F59EE558486B6CCCCC27B9AE04658E1', 1795255200000000);
INSERT INTO clients (id, office_id, jwks, revoked_at, created_at) VALUES ('client-1', 'comune:054013', '{"keys":[]}', 0, 1795251600000000);
INSERT INTO used_jti (jti_digest, expires_at) VALUES ('5c094a4f4c0e8cf5a3fd6fffede7ead9', 1795255200000000);
INSERT INTO revocations (kind, subject, revoked_at) VALUES ('operator', 'op-9', 1795251600000000);
INSERT INTO rule_sets (id, hash, files, uploaded_by, uploaded_at, effective_at, applied_at) VALUES (1, 'sha256:00', X'66696C6573', '{"kind":"operator","id":"op-1"}', 1795251600000000, 1795251600000000, 0);
INSERT INTO rule_approvals (rule_set, owner, actor_id, actor, jws, at) VALUES ('sha256:00', 'interior', 'op-1', '{"kind":"operator","id":"op-1"}', 'a..b', 1795251600000000);
CREATE UNIQUE INDEX requests_key ON requests (key_namespace, key_digest);
CREATE UNIQUE INDEX requests_open_person ON requests (applicant_digest) WHERE state IN (
    'submitted', 'prechecked', 'misaligned', 'in_enquiry', 'suspended', 'forms_ready', 'signed', 'relayed',
    'rejected_cnsd', 'certified', 'in_production', 'production_defect', 'shipped', 'out_for_delivery',
    'on_hold_post', 'at_comune', 'at_consulate', 'returned', 'reshipped');
CREATE INDEX requests_office ON requests (office_id, created_at, id, state);
CREATE INDEX requests_surname ON requests (office_id, surname_digest, created_at, id) WHERE surname_digest <> '';
CREATE INDEX requests_work ON requests (work_due, id) WHERE work_step <> '';
CREATE INDEX requests_mark ON requests (office_id, mark_kind, created_at, id) WHERE mark_kind <> '';
CREATE INDEX request_persons_request ON request_persons (request_id);
CREATE UNIQUE INDEX outbox_act ON outbox (kind, act_key);
CREATE INDEX outbox_order ON outbox (request_id, id);
CREATE INDEX outbox_due ON outbox (due, id) WHERE status = 'open';
CREATE INDEX core_events_pending ON core_events (order_key, seq) WHERE status = 'pending';
CREATE INDEX core_events_request ON core_events (request_id);
CREATE INDEX halves_request ON halves (request_id);
CREATE INDEX halves_kept ON halves (stored_at) WHERE wiped_at = 0;
CREATE INDEX audit_blocks_last ON audit_blocks (last_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);
CREATE INDEX used_jti_expiry ON used_jti (expires_at);
