-- Direct messages as their two participants see them.
CREATE TABLE messages (
  message_id               uuid NOT NULL CONSTRAINT messages_once PRIMARY KEY,
  conversation_id          uuid NOT NULL,
  recorded_at              timestamptz NOT NULL,
  position                 bigint NOT NULL,
  sender_id                uuid NOT NULL,
  recipient_id             uuid NOT NULL,
  encrypted_content        text NOT NULL,
  encrypted_session_key    text NOT NULL,
  sender_encrypted_content text,
  crypto_version           text NOT NULL,
  encryption_algorithm     text NOT NULL,
  kdf_algorithm            text NOT NULL,
  signatures               json,
  reply_to                 uuid,
  delivered_at             timestamptz,
  read_at                  timestamptz
) WITH (fillfactor = 90);   -- room for the one update that most rows see, their receipt, without a new index entry

-- A conversation in its order, from either end; "where do the newest n begin" is answered without touching the table.
CREATE INDEX messages_in_order ON messages (conversation_id, recorded_at, position);

-- What its recipient has not read: counted when somebody asks, kept nowhere. Up to a position it is found for "read up to".
CREATE INDEX messages_unread ON messages (recipient_id, conversation_id, position) WHERE read_at IS NULL;

-- Where a deleted message stood, and nothing of what it said: a reader who pages from it goes on from there.
CREATE TABLE messages_deleted (
  message_id      uuid NOT NULL CONSTRAINT messages_deleted_once PRIMARY KEY,
  conversation_id uuid NOT NULL,
  recorded_at     timestamptz NOT NULL,
  position        bigint NOT NULL
);

-- Who talks to whom, and when something was last said (deleted since or not). The moving columns stand in no index, so that a message costs no new entry.
CREATE TABLE inbox (
  conversation_id uuid NOT NULL CONSTRAINT inbox_once PRIMARY KEY,
  low_id          uuid NOT NULL,
  high_id         uuid NOT NULL,
  last_at         timestamptz NOT NULL,
  last_position   bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
CREATE INDEX inbox_of_low ON inbox (low_id);
CREATE INDEX inbox_of_high ON inbox (high_id);
