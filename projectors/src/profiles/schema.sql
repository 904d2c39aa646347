-- How people present themselves, and what they want. Who has said nothing has no row and the defaults. Personal fields are NULL where they were cleared, and where
-- they were erased.
CREATE TABLE profiles (
  user_id       uuid NOT NULL CONSTRAINT profiles_once PRIMARY KEY,
  full_name_set boolean NOT NULL DEFAULT false,  -- whether full_name stands in the place of the one given at registration
  full_name     text,
  bio           text,
  avatar_url    text,
  read_receipts boolean NOT NULL DEFAULT true,
  last_seen     text COLLATE "C" NOT NULL DEFAULT 'everybody',
  discoverable  boolean NOT NULL DEFAULT true,
  language      text,
  time_zone     text
);

-- Apart from the profile, which is read far more often than these are.
CREATE TABLE key_backups (
  user_id               uuid NOT NULL CONSTRAINT key_backups_once PRIMARY KEY,
  encrypted_private_key text NOT NULL
);

-- What people can be found by, folded (schemas::search), and its pieces.
CREATE TABLE full_names (
  user_id uuid NOT NULL CONSTRAINT full_names_once PRIMARY KEY,
  term    text COLLATE "C" NOT NULL,
  pieces  integer[] NOT NULL
);
CREATE INDEX full_names_by_term ON full_names (term, user_id);
-- The list of what is still to be put in its place is short: whoever searches reads all of it. Without one, filling it would take ten times as long.
CREATE INDEX full_names_by_piece ON full_names USING gin (pieces) WITH (fastupdate = on, gin_pending_list_limit = 256);
