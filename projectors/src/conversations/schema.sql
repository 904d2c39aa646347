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
  delivered_at             timestamptz
) WITH (fillfactor = 90);   -- room for the one update that most rows see, their receipt, without a new index entry

-- A conversation in its order, from either end; "where do the newest n begin" is answered without touching the table.
CREATE INDEX messages_in_order ON messages (conversation_id, recorded_at, position);
