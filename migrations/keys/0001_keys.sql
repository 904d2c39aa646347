-- The key store: one data key per subject, wrapped. A destroyed key leaves a tombstone.
CREATE TABLE data_keys (
  subject      uuid NOT NULL CONSTRAINT data_keys_subject PRIMARY KEY,
  wrapped      bytea,                            -- nonce‖ciphertext‖tag under the wrapping key; NULL: destroyed
  destroyed_at timestamptz,
  CONSTRAINT data_keys_wrapped_or_destroyed CHECK ((wrapped IS NULL) <> (destroyed_at IS NULL))
);

-- What seals the data keys (its fingerprint; the key itself only when none is configured), and the key of look-up digests, wrapped. One row.
CREATE TABLE key_store (
  singleton    boolean NOT NULL DEFAULT true CONSTRAINT key_store_one_row PRIMARY KEY CHECK (singleton),
  fingerprint  bytea NOT NULL,
  wrapping_key bytea,
  digest_key   bytea NOT NULL
);
