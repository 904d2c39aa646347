-- How people present themselves, as far as the auth service shows them to themselves. Personal fields are NULL where they were cleared, and where they were erased.
CREATE TABLE portraits (
  user_id       uuid NOT NULL CONSTRAINT portraits_once PRIMARY KEY,
  full_name_set boolean NOT NULL,                -- whether full_name stands in the place of the one given at registration
  full_name     text,
  bio           text,
  avatar_url    text
);
