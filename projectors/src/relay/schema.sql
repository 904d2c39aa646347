-- What waits for its recipient: sent, and not acknowledged. Readers ignore what has expired; removing it is housekeeping.
CREATE TABLE relay_pending (
  message_id            uuid NOT NULL CONSTRAINT relay_pending_once PRIMARY KEY,
  recipient_id          uuid NOT NULL,
  recorded_at           timestamptz NOT NULL,
  position              bigint NOT NULL,
  expires_at            timestamptz NOT NULL,
  sender_id             uuid NOT NULL,
  encrypted_content     text NOT NULL,
  encrypted_session_key text NOT NULL,
  crypto_version        text NOT NULL,
  encryption_algorithm  text NOT NULL,
  kdf_algorithm         text NOT NULL,
  signatures            json
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);   -- a queue: almost every row dies young

-- A recipient's queue, oldest first; what has expired, and how many there are of what, is told without touching the table.
CREATE INDEX relay_pending_in_order ON relay_pending (recipient_id, recorded_at, position) INCLUDE (expires_at);

-- How many messages were ever acknowledged, per slot of the keys.
CREATE TABLE relay_receipts (
  slot          integer NOT NULL CONSTRAINT relay_receipts_once PRIMARY KEY,
  last_position bigint NOT NULL,                 -- the last one that is counted
  receipts      bigint NOT NULL
) WITH (fillfactor = 50);
