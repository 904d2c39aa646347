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
