-- Who people are. Personal fields are NULL where there are none, and where they were erased.
CREATE TABLE users (
  user_id    uuid NOT NULL CONSTRAINT users_once PRIMARY KEY,
  email      text,
  username   text,
  full_name  text,
  public_key text,                               -- the active one
  role       text COLLATE "C" NOT NULL,
  is_active  boolean NOT NULL,
  created_at timestamptz NOT NULL
);

-- What people can be found by, folded (schemas::search), and its pieces: addresses apart from names, which nobody looks for in one question.
CREATE TABLE addresses (
  user_id uuid NOT NULL CONSTRAINT addresses_once PRIMARY KEY,
  term    text COLLATE "C" NOT NULL,
  pieces  integer[] NOT NULL
);
CREATE INDEX addresses_by_term ON addresses (term, user_id);
-- The list of what is still to be put in its place is short: whoever searches reads all of it. Without one, filling it would take ten times as long.
CREATE INDEX addresses_by_piece ON addresses USING gin (pieces) WITH (fastupdate = on, gin_pending_list_limit = 256);

CREATE TABLE names (
  user_id uuid NOT NULL,
  field   text COLLATE "C" NOT NULL,             -- username, full_name
  term    text COLLATE "C" NOT NULL,
  pieces  integer[] NOT NULL,
  CONSTRAINT names_once PRIMARY KEY (user_id, field)
);
CREATE INDEX names_by_term ON names (term, user_id);
CREATE INDEX names_by_piece ON names USING gin (pieces) WITH (fastupdate = on, gin_pending_list_limit = 256);
